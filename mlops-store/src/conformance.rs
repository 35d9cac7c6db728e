//! The promises of this crate's traits, one function each, for every back end.
//!
//! Each function takes a fresh, empty store.

#![allow(clippy::expect_used, reason = "a broken promise is reported by a panic that names it")]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mlops_core::{Digest, Error, ErrorKind};

use crate::{
    BlobStore, Dialect, MetaStore, MetaStoreExt as _, Migration, Migrations, Transaction, TransactionExt as _, Value,
    Work, params,
};

/// Runs every promise of [`MetaStore`]; `fresh` gives an empty database each time.
///
/// # Panics
/// When a promise is broken.
pub async fn meta_store<S: MetaStore>(fresh: impl AsyncFn() -> S) {
    values_round_trip(fresh().await).await;
    dropped_transaction_leaves_nothing(fresh().await).await;
    transaction_reads_its_own_writes(fresh().await).await;
    many_rows_go_in_by_one_call(fresh().await).await;
    taken_key_is_already_exists(fresh().await).await;
    concurrent_increments_all_count(fresh().await).await;
    work_is_done_whole_or_not_at_all(fresh().await).await;
    concurrent_work_all_counts(fresh().await).await;
    migrations_run_once_and_refuse_strangers(fresh().await).await;
}

async fn table<S: MetaStore>(store: &S) {
    let sql = "CREATE TABLE item (id BIGINT PRIMARY KEY, whole BIGINT, ratio DOUBLE PRECISION, name TEXT, raw {blob})";
    store.execute(&store.dialect().translate(sql), &[]).await.expect("a table can be created");
}

async fn values_round_trip<S: MetaStore>(store: S) {
    table(&store).await;
    let insert = "INSERT INTO item VALUES ($1, $2, $3, $4, $5)";
    let full: &[Value] = params![1, i64::MIN, 0.1, "naïve \u{1F980}", vec![0_u8, 255]];
    store.execute(insert, full).await.expect("every type can be written");
    let nulls: &[Value] = params![2, None::<i64>, None::<f64>, None::<String>, None::<Vec<u8>>];
    store.execute(insert, nulls).await.expect("nulls of every type can be written");

    let row = store.query_one("SELECT * FROM item WHERE id = $1", params![1]).await.expect("one row");
    assert_eq!(row.get::<i64>("whole").expect("integer"), i64::MIN);
    assert_eq!(row.get::<f64>("ratio").expect("real").to_bits(), 0.1_f64.to_bits());
    assert_eq!(row.get::<String>("name").expect("text"), "naïve \u{1F980}");
    assert_eq!(row.get::<Vec<u8>>("raw").expect("blob"), [0, 255]);
    let row = store.query_one("SELECT * FROM item WHERE id = $1", params![2]).await.expect("one row");
    assert_eq!(row.get::<Option<i64>>("whole").expect("null"), None);
    assert_eq!(row.get::<Option<Vec<u8>>>("raw").expect("null"), None);
    assert!(store.query_opt("SELECT * FROM item WHERE id = $1", params![3]).await.expect("no row").is_none());
}

async fn dropped_transaction_leaves_nothing<S: MetaStore>(store: S) {
    table(&store).await;
    let mut tx = store.begin().await.expect("begins");
    tx.execute("INSERT INTO item (id) VALUES ($1)", params![1]).await.expect("inserts");
    drop(tx);
    let rows = store.query("SELECT id FROM item", &[]).await.expect("reads");
    assert!(rows.is_empty(), "a dropped transaction left {} rows", rows.len());
}

async fn transaction_reads_its_own_writes<S: MetaStore>(store: S) {
    table(&store).await;
    let mut tx = store.begin().await.expect("begins");
    let changed = tx.execute("INSERT INTO item (id) VALUES ($1), ($2)", params![1, 2]).await.expect("inserts");
    assert_eq!(changed, 2);
    let row = tx.query_one("SELECT COUNT(*) AS n FROM item", &[]).await.expect("counts");
    assert_eq!(row.get::<i64>("n").expect("integer"), 2);
    tx.commit().await.expect("commits");
    assert_eq!(store.query("SELECT id FROM item", &[]).await.expect("reads").len(), 2);
}

async fn many_rows_go_in_by_one_call<S: MetaStore>(store: S) {
    table(&store).await;
    let insert = "INSERT INTO item (whole, id) VALUES ($2, $1)";
    let rows = |ids: [i64; 3]| ids.map(|id| params![id, 10 * id].to_vec()).to_vec();
    let mut tx = store.begin().await.expect("begins");
    assert_eq!(tx.execute_many(insert, rows([1, 2, 3])).await.expect("inserts"), 3);
    assert_eq!(tx.execute_many(insert, Vec::new()).await.expect("inserts nothing"), 0);
    tx.commit().await.expect("commits");
    let mut tx = store.begin().await.expect("begins");
    let error = tx.execute_many(insert, rows([4, 1, 5])).await.expect_err("one of the keys is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    drop(tx);
    let found = store.query("SELECT id, whole FROM item ORDER BY id", &[]).await.expect("reads");
    let found: Vec<i64> = found.iter().map(|row| row.get("whole").expect("integer")).collect();
    assert_eq!(found, [10, 20, 30]);
}

async fn taken_key_is_already_exists<S: MetaStore>(store: S) {
    table(&store).await;
    let insert = "INSERT INTO item (id) VALUES ($1)";
    store.execute(insert, params![1]).await.expect("first insert");
    let error = store.execute(insert, params![1]).await.expect_err("second insert of one key");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

async fn concurrent_increments_all_count<S: MetaStore>(store: S) {
    table(&store).await;
    store.execute("INSERT INTO item (id, whole) VALUES ($1, $2)", params![1, 0]).await.expect("inserts");
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(increment(Arc::clone(&store)))).collect();
    for task in tasks {
        task.await.expect("no increment panics");
    }
    let row = store.query_one("SELECT whole FROM item", &[]).await.expect("one row");
    assert_eq!(row.get::<i64>("whole").expect("integer"), 8);
}

/// Read, then write; a conflict is retried as the contract tells callers to.
async fn increment<S: MetaStore>(store: Arc<S>) {
    for _ in 0..1000 {
        let attempt = async {
            let mut tx = store.begin().await?;
            let row = tx.query_one("SELECT whole FROM item WHERE id = $1", params![1]).await?;
            let next = row.get::<i64>("whole")? + 1;
            tx.execute("UPDATE item SET whole = $1 WHERE id = $2", params![next, 1]).await?;
            tx.commit().await
        };
        match attempt.await {
            Ok(()) => return,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
        }
    }
    panic!("no progress after 1000 conflicts");
}

/// Inserts an item and then fails, if it is to.
struct Insert {
    id: i64,
    fails: bool,
}

#[async_trait]
impl Work for Insert {
    type Output = i64;

    async fn run(&self, tx: &mut dyn Transaction) -> Result<i64, Error> {
        tx.execute("INSERT INTO item (id) VALUES ($1)", params![self.id]).await?;
        if self.fails {
            return Err(Error::invalid_argument("it was to fail"));
        }
        tx.query_one("SELECT COUNT(*) AS n FROM item", &[]).await?.get("n")
    }
}

async fn work_is_done_whole_or_not_at_all<S: MetaStore>(store: S) {
    table(&store).await;
    let work = |id, fails| Arc::new(Insert { id, fails });
    assert_eq!(store.carry_out(&work(1, false)).await.expect("inserts"), 1);
    let error = store.carry_out(&work(2, true)).await.expect_err("it fails after its insert");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = store.carry_out(&work(1, false)).await.expect_err("the key is taken");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    // Together with one that fails, and beside a transaction that is open when it begins.
    let mut tx = store.begin().await.expect("begins");
    tx.execute("INSERT INTO item (id) VALUES ($1)", params![9]).await.expect("inserts");
    let (three, four, five) = (work(3, false), work(4, true), work(5, false));
    let together = async { tokio::join!(store.carry_out(&three), store.carry_out(&four), store.carry_out(&five)) };
    let committed = async {
        tokio::task::yield_now().await;
        tx.commit().await
    };
    let ((three, four, five), committed) = tokio::join!(together, committed);
    committed.expect("commits");
    assert!(four.is_err());
    let rows = store.query("SELECT id FROM item ORDER BY id", &[]).await.expect("reads");
    let ids: Vec<i64> = rows.iter().map(|row| row.get("id").expect("integer")).collect();
    assert!(ids.contains(&1) && ids.contains(&9) && !ids.contains(&2) && !ids.contains(&4), "{ids:?}");
    for (id, outcome) in [(3, three), (5, five)] {
        assert_eq!(ids.contains(&id), outcome.is_ok(), "item {id}: {outcome:?}, and there are {ids:?}");
        // A back end with optimistic transactions may find that the open one was faster.
        assert!(outcome.map_or_else(|error| error.kind() == ErrorKind::Conflict, |_| true));
    }
}

/// The increment of [`concurrent_increments_all_count`] as work.
struct Increment;

#[async_trait]
impl Work for Increment {
    type Output = ();

    async fn run(&self, tx: &mut dyn Transaction) -> Result<(), Error> {
        let row = tx.query_one("SELECT whole FROM item WHERE id = $1", params![1]).await?;
        let next = row.get::<i64>("whole")? + 1;
        tx.execute("UPDATE item SET whole = $1 WHERE id = $2", params![next, 1]).await.map(drop)
    }
}

async fn concurrent_work_all_counts<S: MetaStore>(store: S) {
    table(&store).await;
    store.execute("INSERT INTO item (id, whole) VALUES ($1, $2)", params![1, 0]).await.expect("inserts");
    let store = Arc::new(store);
    // Half of them the one way and half the other.
    let mut tasks: Vec<_> = (0..8).map(|_| tokio::spawn(increment(Arc::clone(&store)))).collect();
    tasks.extend((0..8).map(|_| tokio::spawn(increment_by_work(Arc::clone(&store)))));
    for task in tasks {
        task.await.expect("no increment panics");
    }
    let row = store.query_one("SELECT whole FROM item", &[]).await.expect("one row");
    assert_eq!(row.get::<i64>("whole").expect("integer"), 16);
}

async fn increment_by_work<S: MetaStore>(store: Arc<S>) {
    let work = Arc::new(Increment);
    for _ in 0..1000 {
        match store.carry_out(&work).await {
            Ok(()) => return,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
        }
    }
    panic!("no progress after 1000 conflicts");
}

const FIRST: Migration = Migration {
    version: 1,
    name: "begin",
    sql: "CREATE TABLE a (id {auto_id}, raw {blob});\nCREATE TABLE b (id BIGINT);\n",
};
const SECOND: Migration = Migration {
    version: 2,
    name: "widen",
    sql: "ALTER TABLE b ADD COLUMN name TEXT;\n{sqlite}CREATE TABLE d (id BIGINT PRIMARY KEY) WITHOUT ROWID;\n",
};
const EDITED: Migration = Migration { version: 1, name: "begin", sql: "CREATE TABLE c (id BIGINT)" };

async fn migrations_run_once_and_refuse_strangers<S: MetaStore>(store: S) {
    let old = Migrations { namespace: "suite", steps: &[FIRST] };
    let new = Migrations { namespace: "suite", steps: &[FIRST, SECOND] };
    for migrations in [&old, &old, &new, &new] {
        store.migrate(migrations).await.expect("migrates forward, again and again");
    }
    store.execute("INSERT INTO b (id, name) VALUES ($1, $2)", params![1, "x"]).await.expect("both steps ran");
    store.execute("INSERT INTO a (raw) VALUES ($1)", params![vec![1_u8]]).await.expect("ids count by themselves");
    let of_sqlite = store.execute("INSERT INTO d (id) VALUES ($1)", params![1]).await;
    assert_eq!(of_sqlite.is_ok(), store.dialect() == Dialect::Sqlite, "a statement for SQLite ran there alone");
    let newer = store.migrate(&old).await.expect_err("an older program on a newer database");
    assert_eq!(newer.kind(), ErrorKind::FailedPrecondition);
    let edited = Migrations { namespace: "suite", steps: &[EDITED, SECOND] };
    assert!(store.migrate(&edited).await.expect_err("edited").message().contains("another text"));
}

/// Runs every promise of [`BlobStore`] on a fresh store.
///
/// # Panics
/// When a promise is broken.
pub async fn blob_store(blobs: BlobStore) {
    let digest = blobs.put("abc".into()).await.expect("stores");
    assert_eq!(blobs.put("abc".into()).await.expect("stores again"), digest);
    assert_eq!(blobs.get(&digest).await.expect("reads"), "abc");
    assert!(blobs.contains(&digest).await.expect("looks"));
    let empty = blobs.put("".into()).await.expect("stores nothing at all");
    let listed: Vec<_> = blobs.list().try_collect().await.expect("lists");
    let mut listed: Vec<_> = listed.iter().map(|entry| (entry.digest, entry.bytes)).collect();
    listed.sort_unstable();
    let mut expected = [(digest, 3), (empty, 0)];
    expected.sort_unstable();
    assert_eq!(listed, expected);
    blobs.delete(&digest).await.expect("deletes");
    blobs.delete(&digest).await.expect("deletes what is gone");
    assert!(!blobs.contains(&digest).await.expect("looks"));
    let error = blobs.get(&digest).await.expect_err("reads what is gone");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    pieces_are_verified_both_ways(&blobs).await;
}

async fn pieces_are_verified_both_ways(blobs: &BlobStore) {
    let pieces = || stream::iter(["ab", "", "c"].map(|piece| Ok(Bytes::from(piece)))).boxed();
    let (right, wrong) = (Digest::of(b"abc"), Digest::of(b"abd"));
    let error = blobs.put_stream(&wrong, pieces()).await.expect_err("bytes with another digest");
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(!blobs.contains(&wrong).await.expect("looks"), "nothing is stored under a digest it does not have");
    assert_eq!(blobs.put_stream(&right, pieces()).await.expect("stores"), Some(3));
    assert_eq!(blobs.put_stream(&right, pieces()).await.expect("is there already"), None);
    let read: Vec<Bytes> = blobs.get_stream(&right).await.expect("opens").try_collect().await.expect("reads");
    assert_eq!(read.concat(), b"abc");
    let torn = stream::iter([Ok(Bytes::from("x")), Err(Error::unavailable("torn"))]).boxed();
    let error = blobs.put_stream(&Digest::of(b"xy"), torn).await.expect_err("the source fails");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    large_blobs_go_in_parts(blobs).await;
}

async fn large_blobs_go_in_parts(blobs: &BlobStore) {
    let piece = |n: u8| Bytes::from(vec![n; 1 << 20]);
    let whole: Vec<u8> = (0..20).flat_map(|n| piece(n).to_vec()).collect();
    let pieces = || stream::iter((0..20).map(piece).map(Ok)).boxed();
    let (right, wrong) = (Digest::of(&whole), Digest::of(b"wrong"));
    let error = blobs.put_stream(&wrong, pieces()).await.expect_err("bytes with another digest");
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert!(!blobs.contains(&wrong).await.expect("looks"), "nothing is stored under a digest it does not have");
    assert_eq!(blobs.put_stream(&right, pieces()).await.expect("stores"), Some(20 << 20));
    assert_eq!(blobs.get(&right).await.expect("reads"), whole);
}
