//! SQLite's own cases: statements as its dialect reads them, transactions that end half-way, a disk that is full.

use futures::FutureExt as _;
use mlops_core::ErrorKind;
use mlops_store::{MetaStore as _, MetaStoreExt as _, SqliteMetaStore, SqliteSettings, TransactionExt as _, params};

async fn fresh(table: &str) -> SqliteMetaStore {
    let store = SqliteMetaStore::in_memory().await.unwrap();
    store.execute(table, &[]).await.unwrap();
    store
}

#[tokio::test]
async fn numbered_parameters_may_stand_in_any_order_and_repeat() {
    let store = SqliteMetaStore::in_memory().await.unwrap();
    let row = store.query_one("SELECT $2 AS b, $1 AS a, $2 AS c", params![1, "x"]).await.unwrap();
    assert_eq!(row.get::<i64>("a").unwrap(), 1);
    assert_eq!((row.get::<String>("b").unwrap(), row.get::<String>("c").unwrap()), ("x".to_owned(), "x".to_owned()));
    let error = store.query("SELECT $3", params![1, 2]).await.unwrap_err();
    assert_eq!(error.message(), "metadata statement wants parameter $3, 2 were given");
}

#[tokio::test]
async fn only_rows_that_changed_are_counted() {
    let store = fresh("CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT)").await;
    let mut tx = store.begin().await.unwrap();
    let returning = "INSERT INTO t VALUES ($1, 0), ($2, 0) RETURNING id";
    assert_eq!(tx.execute(returning, params![1, 2]).await.unwrap(), 2);
    assert_eq!(tx.execute("CREATE TABLE other (id BIGINT)", &[]).await.unwrap(), 0);
    assert_eq!(tx.execute("UPDATE t SET v = 1 WHERE id = 9", &[]).await.unwrap(), 0);
    assert_eq!(tx.execute("SELECT * FROM t", &[]).await.unwrap(), 0);
    assert_eq!(tx.execute("INSERT INTO t VALUES (5, 0); DELETE FROM t; -- all", &[]).await.unwrap(), 3);
    tx.commit().await.unwrap();
    assert!(store.query("SELECT * FROM t", &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_column_added_later_is_in_the_rows_of_a_statement_prepared_before() {
    let store = fresh("CREATE TABLE t (id BIGINT)").await;
    store.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    store.query_one("SELECT * FROM t", &[]).await.unwrap();
    store.execute("ALTER TABLE t ADD COLUMN name TEXT DEFAULT 'x'", &[]).await.unwrap();
    assert_eq!(store.query_one("SELECT * FROM t", &[]).await.unwrap().get::<String>("name").unwrap(), "x");
}

#[tokio::test]
async fn a_statement_that_was_given_up_undoes_the_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteMetaStore::open(&dir.path().join("meta.db"), SqliteSettings::default()).await.unwrap();
    store.execute("CREATE TABLE t (id BIGINT)", &[]).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    // Long enough that no thread has done it before the first look at its answer.
    let long = "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) SELECT i FROM n";
    assert!(tx.execute(long, &[]).now_or_never().is_none(), "it runs on another thread");
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    // The next one begins only when the statement has ended.
    let mut tx = store.begin().await.unwrap();
    assert_eq!(tx.query_one("SELECT COUNT(*) AS n FROM t", &[]).await.unwrap().get::<i64>("n").unwrap(), 0);
}

#[tokio::test]
async fn a_full_disk_is_resource_exhausted_and_nothing_is_half_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteMetaStore::open(&dir.path().join("meta.db"), SqliteSettings::default()).await.unwrap();
    store.execute("CREATE TABLE t (raw BLOB)", &[]).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    tx.query("PRAGMA max_page_count = 20", &[]).await.unwrap();
    tx.execute("INSERT INTO t VALUES ($1)", params![vec![1_u8; 10_000]]).await.unwrap();
    let error = tx.execute("INSERT INTO t VALUES ($1)", params![vec![1_u8; 200_000]]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error}");
    drop(tx);
    assert!(store.query("SELECT * FROM t", &[]).await.unwrap().is_empty());

    let mut tx = store.begin().await.unwrap();
    tx.execute("INSERT INTO t VALUES ($1)", params![vec![1_u8; 10_000]]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.query("SELECT * FROM t", &[]).await.unwrap().len(), 1, "there is room for a small one");
}

#[tokio::test]
async fn what_follows_the_undoing_of_a_transaction_is_refused() {
    let store = fresh("CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    let mut tx = store.begin().await.unwrap();
    tx.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    // As SQLite does by itself when the disk fills in the middle of a statement.
    tx.execute("INSERT OR ROLLBACK INTO t VALUES (1)", &[]).await.unwrap_err();
    let error = tx.execute("INSERT INTO t VALUES (2)", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    assert!(store.query("SELECT * FROM t", &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let store = SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap();
    store.execute("CREATE TABLE t (id BIGINT)", &[]).await.unwrap();
    store.query("SELECT * FROM t", &[]).await.unwrap();
    store.close().await;
    store.close().await;
    assert_eq!(store.begin().await.unwrap_err().message(), "metadata database is closed");
    assert!(!path.with_extension("db-wal").exists(), "all of the log is in the file");
}
