//! Several processes, and several stores, on one SQLite file: each waits its turn; a process that is killed takes nothing
//! with it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use mlops_core::{
    ErrorKind,
    testing::{SplitMix64, acknowledge, run_and_kill},
};
use mlops_store::{MetaStore as _, MetaStoreExt as _, SqliteMetaStore, SqliteSettings, params};

const HOME: &str = "MLOPS_STORE_PROCESSES_HOME";
const WRITER: &str = "MLOPS_STORE_PROCESSES_WRITER";
/// Transactions of each process that is left to finish.
const ROWS: i64 = 60;

async fn open(path: &Path) -> SqliteMetaStore {
    let store = SqliteMetaStore::open(path, SqliteSettings::default()).await.unwrap();
    let tables = "CREATE TABLE IF NOT EXISTS t (writer BIGINT, number BIGINT, PRIMARY KEY (writer, number))";
    store.execute(tables, &[]).await.unwrap();
    let count = "CREATE TABLE IF NOT EXISTS counter (id BIGINT PRIMARY KEY, value BIGINT)";
    store.execute(count, &[]).await.unwrap();
    store.execute("INSERT INTO counter VALUES (1, 0) ON CONFLICT DO NOTHING", &[]).await.unwrap();
    store
}

/// Reads, writes and counts in one transaction.
async fn write(store: &SqliteMetaStore, writer: i64, number: i64) {
    let mut tx = store.begin().await.unwrap();
    let value: i64 = tx.query("SELECT value FROM counter", &[]).await.unwrap()[0].get("value").unwrap();
    tx.execute("INSERT INTO t VALUES ($1, $2)", params![writer, number]).await.unwrap();
    tx.execute("UPDATE counter SET value = $1", params![value + 1]).await.unwrap();
    tx.commit().await.unwrap();
}

async fn numbers(store: &SqliteMetaStore, writer: i64) -> Vec<i64> {
    let rows = store.query("SELECT number FROM t WHERE writer = $1 ORDER BY number", params![writer]).await.unwrap();
    rows.iter().map(|row| row.get("number").unwrap()).collect()
}

async fn counted(store: &SqliteMetaStore) -> i64 {
    store.query_one("SELECT value FROM counter", &[]).await.unwrap().get("value").unwrap()
}

/// The child. Writer 0 goes on until it is killed, the others write their rows and end. Does nothing when run as a test.
#[test]
fn child() {
    let (Ok(home), Ok(writer)) = (std::env::var(HOME), std::env::var(WRITER)) else { return };
    let writer = writer.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open(Path::new(&home)).await;
        let from = numbers(&store, writer).await.last().map_or(1, |last| last + 1);
        let to = if writer == 0 { 100_000 } else { ROWS };
        for number in from..=to {
            write(&store, writer, number).await;
            acknowledge(number.unsigned_abs());
        }
    });
}

fn start(path: &Path, writer: i64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["processes::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(HOME, path)
        .env(WRITER, writer.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_write_and_a_fourth_is_killed_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    // None has made the file: they race for that too.
    let children: Vec<Child> = (1..4).map(|writer| start(&path, writer)).collect();
    let random = SplitMix64::new(20_261_125);
    let mut acknowledged = 0;
    for round in 0..4 {
        let envs = [(HOME, path.to_str().unwrap()), (WRITER, "0")];
        let acks = 1 + usize::try_from(random.bits(round) % 20).unwrap();
        acknowledged = run_and_kill("processes::child", &envs, acks, random.bits(round + 100) % 20_000).unwrap();
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }

    let store = open(&path).await;
    let killed = numbers(&store, 0).await;
    assert_eq!(killed, (1..=i64::try_from(killed.len()).unwrap()).collect::<Vec<_>>());
    assert!(
        acknowledged <= killed.len() as u64 && killed.len() as u64 <= acknowledged + 1,
        "{acknowledged} acknowledged"
    );
    for writer in 1..4 {
        assert_eq!(numbers(&store, writer).await, (1..=ROWS).collect::<Vec<_>>());
    }
    assert_eq!(counted(&store).await, 3 * ROWS + i64::try_from(killed.len()).unwrap(), "each counted once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_waits_while_another_writes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let (first, second) = (open(&path).await, open(&path).await);
    let tx = first.begin().await.unwrap();
    let waiting = tokio::spawn(async move {
        write(&second, 2, 1).await;
        second
    });
    write_in(tx).await;
    assert_eq!(numbers(&waiting.await.unwrap(), 2).await, [1]);
    assert_eq!(numbers(&first, 1).await, [1]);
}

async fn write_in(mut tx: Box<dyn mlops_store::Transaction>) {
    tx.execute("INSERT INTO t VALUES ($1, $2)", params![1, 1]).await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_lock_that_is_not_given_up_is_unavailable_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let first = open(&path).await;
    let settings = SqliteSettings { busy_timeout_ms: 20, ..SqliteSettings::default() };
    let second = SqliteMetaStore::open(&path, settings).await.unwrap();
    let tx = first.begin().await.unwrap();
    let error = second.begin().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("waited 20 ms"), "{error}");
    write_in(tx).await;
    write(&second, 2, 1).await;
    assert_eq!(numbers(&second, 2).await, [1]);
}
