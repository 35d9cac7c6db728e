//! What cannot be seen from outside: which bytes were on disk when a commit was acknowledged, a disk that fails to
//! sync, and how long the log grows.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use mlops_core::ErrorKind;
use rusqlite::StatementStatus;
use tokio::task::JoinHandle;

use super::{checkpoint::Limits, *};
use crate::{MetaStoreExt as _, Work, params};

fn store(path: &Path, limits: Limits, sync: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> SqliteMetaStore {
    // However slow the machine is, what waits together shares a round.
    store_with(path, limits, SqliteSettings { round_ms: 3_600_000, ..SqliteSettings::default() }, sync)
}

fn store_with(
    path: &Path,
    limits: Limits,
    settings: SqliteSettings,
    sync: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) -> SqliteMetaStore {
    let file = File::new(path, settings);
    let connection = file.writer().unwrap();
    let log = file.log(&connection).unwrap();
    let checkpoint = Checkpoint::new(file.clone(), Some(Arc::new(log)), limits);
    SqliteMetaStore::with_parts(file, settings, connection, GroupSync::new(sync), checkpoint)
}

fn log_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// A disk that keeps what was synced: at each sync a copy of both files as they are when it begins.
#[derive(Default)]
struct Kept {
    acknowledged: Mutex<Vec<i64>>,
    /// The copy of each sync, with what had been acknowledged when the next one began.
    copies: Mutex<Vec<(PathBuf, Vec<i64>)>>,
}

impl Kept {
    fn note_acknowledged(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, Vec<i64>)>> {
        let mut copies = self.copies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = copies.last_mut() {
            last.1 = self.acknowledged.lock().unwrap().clone();
        }
        copies
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut copies = self.note_acknowledged();
        let copy = path.with_file_name(format!("copy-{}.db", copies.len()));
        std::fs::copy(path, &copy)?;
        std::fs::copy(log_of(path), log_of(&copy))?;
        copies.push((copy, Vec::new()));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn after_a_loss_of_power_every_acknowledged_row_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let kept = Arc::new(Kept::default());
    let (disk, at) = (Arc::clone(&kept), path.clone());
    let store = store(&path, LIMITS, move || disk.sync(&at));
    store.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)", &[]).await.unwrap();
    let tasks: Vec<_> = (0..8).map(|task| tokio::spawn(insert(store.clone(), Arc::clone(&kept), task))).collect();
    for task in tasks {
        task.await.unwrap();
    }

    let copies = std::mem::take(&mut *kept.note_acknowledged());
    assert_eq!(copies.last().unwrap().1.len(), 160);
    assert!(copies.len() <= 161, "at most one sync for each commit");
    for (copy, acknowledged) in copies {
        let store = SqliteMetaStore::open(&copy, SqliteSettings::default()).await.unwrap();
        let rows = store.query("SELECT id FROM t", &[]).await.unwrap();
        let there: Vec<i64> = rows.iter().map(|row| row.get("id").unwrap()).collect();
        assert!(acknowledged.iter().all(|id| there.contains(id)), "{acknowledged:?} acknowledged, {there:?} on disk");
    }
}

async fn insert(store: SqliteMetaStore, kept: Arc<Kept>, task: i64) {
    for number in 0..20 {
        let id = task * 100 + number;
        store.execute("INSERT INTO t VALUES ($1)", params![id]).await.unwrap();
        kept.acknowledged.lock().unwrap().push(id);
    }
}

#[tokio::test]
async fn after_a_sync_that_failed_nothing_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&broken);
    let sync = move || if flag.load(Ordering::SeqCst) { Err(io::Error::other("bad sector")) } else { Ok(()) };
    let store = store(&dir.path().join("meta.db"), LIMITS, sync);
    store.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)", &[]).await.unwrap();
    broken.store(true, Ordering::SeqCst);
    let insert = "INSERT INTO t VALUES ($1)";
    let error = store.execute(insert, params![1]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(error.message().contains("bad sector"), "{error}");
    broken.store(false, Ordering::SeqCst);
    assert_eq!(store.execute(insert, params![2]).await.unwrap_err().kind(), ErrorKind::DataLoss, "not even later");
    assert_eq!(store.query("SELECT id FROM t", &[]).await.unwrap().len(), 1, "what is there can be read");
}

/// What a reader saw before it was on disk must be on disk when a transaction that builds on it is acknowledged.
#[tokio::test]
async fn a_transaction_that_only_reads_waits_for_what_it_has_read() {
    let dir = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&syncs);
    let store = store(&dir.path().join("meta.db"), LIMITS, move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let mut tx = store.begin().await.unwrap();
    tx.query("SELECT 1", &[]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_log_stays_short_under_writers_that_never_pause() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let limits = Limits { pages: 64, pages_max: 256 };
    let store = store(&path, limits, || Ok(()));
    store.execute("CREATE TABLE t (raw BLOB)", &[]).await.unwrap();
    for _ in 0..200 {
        store.execute("INSERT INTO t VALUES ($1)", params![vec![7_u8; 40_000]]).await.unwrap();
    }
    let log = std::fs::metadata(log_of(&path)).unwrap().len();
    let file = std::fs::metadata(&path).unwrap().len();
    assert!(log < 3 * 1024 * 1024, "8 MB were written, {log} bytes are in the log");
    assert!(6_000_000 < file, "{file} bytes are in the file");
}

/// Inserts a row, having waited until it may, or panics.
struct Insert(i64);

#[async_trait]
impl Work for Insert {
    type Output = ();

    async fn run(&self, tx: &mut dyn Transaction) -> Result<()> {
        assert!(self.0 >= 0, "a bug in some work");
        tx.execute("INSERT INTO t VALUES ($1)", params![self.0]).await.map(drop)
    }
}

/// Hands works over that wait, in their order, for a connection that somebody else has.
async fn hand_over<W: Work>(
    store: &SqliteMetaStore,
    works: impl IntoIterator<Item = W>,
) -> Vec<JoinHandle<Result<W::Output>>> {
    let mut tasks = Vec::new();
    for work in works {
        let own = store.clone();
        tasks.push(tokio::spawn(async move { own.carry_out(&Arc::new(work)).await }));
        while store.queue.waiting() < tasks.len() {
            tokio::task::yield_now().await;
        }
    }
    tasks
}

#[tokio::test]
async fn work_that_waits_together_shares_a_sync_and_a_panic_is_its_own_failure() {
    let dir = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&syncs);
    let store = store(&dir.path().join("meta.db"), LIMITS, move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    store.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)", &[]).await.unwrap();
    let before = syncs.load(Ordering::SeqCst);
    let tx = store.begin().await.unwrap();
    let tasks = hand_over(&store, (-1..20).map(Insert)).await;
    drop(tx);
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    assert!(outcomes[0].as_ref().unwrap_err().message().contains("panicked"));
    assert!(outcomes[1..].iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(syncs.load(Ordering::SeqCst), before + 1, "one sync for all of them");
    assert_eq!(store.query("SELECT id FROM t", &[]).await.unwrap().len(), 20);
}

/// Inserts rows, then runs a statement.
struct Steps(&'static [i64], &'static str);

#[async_trait]
impl Work for Steps {
    type Output = ();

    async fn run(&self, tx: &mut dyn Transaction) -> Result<()> {
        for id in self.0 {
            tx.execute("INSERT INTO t VALUES ($1)", params![*id]).await?;
        }
        tx.execute(self.1, &[]).await.map(drop)
    }
}

#[tokio::test]
async fn work_that_fails_takes_only_itself_with_it_unless_all_of_it_is_undone() {
    const NOTHING: &str = "DELETE FROM t WHERE id < 0";
    let store = SqliteMetaStore::in_memory().await.unwrap();
    store.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)", &[]).await.unwrap();
    let together = async |round: [Steps; 3]| {
        let tx = store.begin().await.unwrap();
        let tasks = hand_over(&store, round).await;
        drop(tx);
        let mut outcomes = Vec::new();
        for task in tasks {
            outcomes.push(task.await.unwrap().map_err(|error| error.kind()));
        }
        let rows = store.query("SELECT id FROM t ORDER BY id", &[]).await.unwrap();
        (outcomes, rows.iter().map(|row| row.get("id").unwrap()).collect::<Vec<i64>>())
    };
    let round = [Steps(&[1], NOTHING), Steps(&[2, 1], NOTHING), Steps(&[3], NOTHING)];
    let (outcomes, ids) = together(round).await;
    assert_eq!((outcomes, ids), (vec![Ok(()), Err(ErrorKind::AlreadyExists), Ok(())], vec![1, 3]));
    // The first of a round has no savepoint.
    let round = [Steps(&[4, 1], NOTHING), Steps(&[5], NOTHING), Steps(&[6, 3], NOTHING)];
    let (outcomes, ids) = together(round).await;
    let taken = Err(ErrorKind::AlreadyExists);
    assert_eq!((outcomes, ids), (vec![taken, Ok(()), taken], vec![1, 3, 5]));
    // As SQLite does when a disk is full: nobody is told of success whose work is gone, and whoever comes later begins anew.
    let round = [Steps(&[7], NOTHING), Steps(&[8], "ROLLBACK"), Steps(&[9], NOTHING)];
    let (outcomes, ids) = together(round).await;
    let undone = Err(ErrorKind::FailedPrecondition);
    assert_eq!((outcomes, ids), (vec![undone, undone, Ok(())], vec![1, 3, 5, 9]));
}

#[tokio::test]
async fn work_whose_caller_has_gone_is_not_done() {
    let store = SqliteMetaStore::in_memory().await.unwrap();
    store.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)", &[]).await.unwrap();
    let tx = store.begin().await.unwrap();
    let mut tasks = hand_over(&store, (0..3).map(Insert)).await;
    let last = tasks.pop().unwrap();
    for task in tasks {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    drop(tx);
    last.await.unwrap().unwrap();
    let rows = store.query("SELECT id FROM t", &[]).await.unwrap();
    let ids: Vec<i64> = rows.iter().map(|row| row.get("id").unwrap()).collect();
    assert_eq!(ids, [2]);
}

#[tokio::test]
async fn work_that_waits_together_for_another_process_gives_up_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let settings = SqliteSettings { busy_timeout_ms: 100, ..SqliteSettings::default() };
    let store = SqliteMetaStore::open(&path, settings).await.unwrap();
    store.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)", &[]).await.unwrap();
    let tx = store.begin().await.unwrap();
    let tasks = hand_over(&store, (0..3).map(Insert)).await;
    drop(tx);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut other = Some(other);
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.message().contains("locked by another process"), "{error}");
        // One that waited for its own turn would get the lock now.
        drop(other.take());
    }
    store.carry_out(&Arc::new(Insert(9))).await.unwrap();
    assert_eq!(store.query("SELECT id FROM t", &[]).await.unwrap().len(), 1);
}

#[test]
fn a_runtime_that_shuts_down_leaves_the_store_to_others() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let store = first.block_on(SqliteMetaStore::in_memory()).unwrap();
    first.block_on(store.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)", &[])).unwrap();
    // One transaction keeps the connection, so that the round of the other never begins in the first runtime.
    let tx = first.block_on(store.begin()).unwrap();
    let waiting = first.spawn({
        let store = store.clone();
        async move { store.carry_out(&Arc::new(Insert(1))).await }
    });
    first.block_on(async {
        while store.queue.waiting() == 0 {
            tokio::task::yield_now().await;
        }
    });
    drop((waiting, first));
    drop(tx);
    second.block_on(store.carry_out(&Arc::new(Insert(2)))).unwrap();
    let rows = second.block_on(store.query("SELECT id FROM t", &[])).unwrap();
    assert_eq!(rows.len(), 1, "what was refused was not done");
}

/// Awaits something that is not the transaction.
struct Idle;

#[async_trait]
impl Work for Idle {
    type Output = ();

    async fn run(&self, _: &mut dyn Transaction) -> Result<()> {
        tokio::task::yield_now().await;
        Ok(())
    }
}

#[tokio::test]
async fn work_that_awaits_something_else_is_refused() {
    let store = SqliteMetaStore::in_memory().await.unwrap();
    let error = store.carry_out(&Arc::new(Idle)).await.unwrap_err();
    assert!(error.message().contains("awaited something else"), "{error}");
    store.execute("CREATE TABLE t (id BIGINT)", &[]).await.unwrap();
}

#[test]
fn a_statement_is_prepared_once_whatever_it_is_bound_to() {
    let connection = Connection::open_in_memory().unwrap();
    file::prepare(&connection).unwrap();
    connection.execute_batch("CREATE TABLE t (a TEXT); CREATE INDEX i ON t (a)").unwrap();
    let mut statement = connection.prepare("SELECT a FROM t WHERE a GLOB $1").unwrap();
    for pattern in ["a*", "b*", "*c"] {
        assert!(statement.query([pattern]).unwrap().next().unwrap().is_none());
    }
    assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
}

/// In one round, what undoes all of it takes the others along.
#[tokio::test]
async fn a_round_ends_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let settings = SqliteSettings { round_ms: 0, ..SqliteSettings::default() };
    let store = store_with(&dir.path().join("meta.db"), LIMITS, settings, || Ok(()));
    store.execute("CREATE TABLE t (id BIGINT PRIMARY KEY)", &[]).await.unwrap();
    let tx = store.begin().await.unwrap();
    let nothing = "DELETE FROM t WHERE id < 0";
    let works = [Steps(&[1], nothing), Steps(&[2], "ROLLBACK"), Steps(&[3], nothing)];
    let tasks = hand_over(&store, works).await;
    drop(tx);
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap().is_ok());
    }
    assert_eq!(outcomes, [true, false, true]);
    assert_eq!(store.query("SELECT id FROM t", &[]).await.unwrap().len(), 2);
}
