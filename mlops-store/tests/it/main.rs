//! The conformance suites over every back end, and damage done from outside.

use futures::StreamExt as _;
use mlops_core::ErrorKind;
use mlops_store::{BlobStore, MetaStoreExt as _, SqliteMetaStore, SqliteSettings, conformance, params};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_file_keeps_the_promises() {
    let dir = tempfile::tempdir().unwrap();
    let counter = std::sync::atomic::AtomicU32::new(0);
    let fresh = async || {
        let n = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        SqliteMetaStore::open(&dir.path().join(format!("{n}.db")), SqliteSettings::default()).await.unwrap()
    };
    conformance::meta_store(fresh).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_in_memory_keeps_the_promises() {
    conformance::meta_store(async || SqliteMetaStore::in_memory().await.unwrap()).await;
}

/// Each fresh store is a schema of its own in the database that `MLOPS_TEST_POSTGRES` names.
#[cfg(feature = "postgres")]
#[allow(clippy::disallowed_methods, reason = "the server to test against is named by the environment")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_keeps_the_promises() {
    let Ok(url) = std::env::var("MLOPS_TEST_POSTGRES") else {
        println!("skipped: MLOPS_TEST_POSTGRES names no server");
        return;
    };
    let admin = mlops_store::PostgresMetaStore::connect(&url, 1).await.unwrap();
    let counter = std::sync::atomic::AtomicU32::new(0);
    let fresh = async || {
        let n = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let schema = format!("suite_{}_{n}", std::process::id());
        admin.execute(&format!("CREATE SCHEMA {schema}"), &[]).await.unwrap();
        let join = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{join}options=-csearch_path%3D{schema}");
        mlops_store::PostgresMetaStore::connect(&url, 4).await.unwrap()
    };
    conformance::meta_store(fresh).await;
}

#[tokio::test]
async fn blobs_keep_the_promises_in_memory_in_a_directory_and_by_url() {
    let dir = tempfile::tempdir().unwrap();
    conformance::blob_store(BlobStore::in_memory()).await;
    conformance::blob_store(BlobStore::local(&dir.path().join("a")).unwrap()).await;
    let url = format!("file://{}/b", dir.path().display());
    conformance::blob_store(BlobStore::from_url(&url).unwrap()).await;
    assert!(BlobStore::from_url("no url").unwrap_err().message().contains("\"no url\""));
}

#[tokio::test]
async fn a_damaged_blob_is_data_loss_not_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobStore::local(dir.path()).unwrap();
    let digest = blobs.put("abc".into()).await.unwrap();
    let text = digest.to_string();
    std::fs::write(dir.path().join("sha256").join(&text[..2]).join(&text[2..]), "abd").unwrap();
    assert_eq!(blobs.get(&digest).await.unwrap_err().kind(), ErrorKind::DataLoss);
    let pieces: Vec<_> = blobs.get_stream(&digest).await.unwrap().collect().await;
    assert_eq!(pieces.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::DataLoss);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    std::fs::write(
        &path,
        "this is a text file, not a database, and long enough to have a header of a hundred bytes......",
    )
    .unwrap();
    let error = SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap_err();
    assert!(error.message().contains("meta.db"), "{error}");
}

#[tokio::test]
async fn committed_rows_are_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta.db");
    let store = SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap();
    store.execute("CREATE TABLE t (id BIGINT)", &[]).await.unwrap();
    store.execute("INSERT INTO t VALUES ($1)", params![7]).await.unwrap();
    drop(store);
    let store = SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap();
    assert_eq!(store.query_one("SELECT id FROM t", &[]).await.unwrap().get::<i64>("id").unwrap(), 7);
}
