//! The conformance suites over every back end, and damage done from outside.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    reason = "child processes and the server to test against are named by the environment"
)]

mod full_disk;
#[cfg(feature = "postgres")]
mod postgres;
mod processes;
mod sqlite;

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
