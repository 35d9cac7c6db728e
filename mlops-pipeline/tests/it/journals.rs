//! The conformance suites over every database.

use std::sync::Arc;

use mlops_pipeline::{SqlJournal, conformance};
use mlops_store::{SqliteMetaStore, SqliteSettings};

async fn keeps_the_promises(fresh: impl AsyncFn() -> SqlJournal) {
    conformance::journal(&fresh).await;
    conformance::firing_journal(&fresh).await;
    conformance::decision_journal(&fresh).await;
}

#[tokio::test]
async fn in_memory() {
    keeps_the_promises(async || SqlJournal::open(Arc::new(SqliteMetaStore::in_memory().await.unwrap())).await.unwrap())
        .await;
}

#[tokio::test]
async fn in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let counter = std::sync::atomic::AtomicU32::new(0);
    let fresh = async || {
        let n = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = dir.path().join(format!("{n}.db"));
        let meta = SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap();
        SqlJournal::open(Arc::new(meta)).await.unwrap()
    };
    keeps_the_promises(fresh).await;
}

/// Each fresh journal is a schema of its own in the database that `MLOPS_TEST_POSTGRES` names.
#[cfg(feature = "postgres")]
#[allow(clippy::disallowed_methods, reason = "the server to test against is named by the environment")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_postgres() {
    use mlops_store::{MetaStoreExt as _, PostgresMetaStore};
    let Ok(url) = std::env::var("MLOPS_TEST_POSTGRES") else {
        println!("skipped: MLOPS_TEST_POSTGRES names no server");
        return;
    };
    let admin = PostgresMetaStore::connect(&url, 1).await.unwrap();
    let counter = std::sync::atomic::AtomicU32::new(0);
    let fresh = async || {
        let n = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let schema = format!("journal_{}_{n}", std::process::id());
        admin.execute(&format!("CREATE SCHEMA {schema}"), &[]).await.unwrap();
        let join = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{join}options=-csearch_path%3D{schema}");
        SqlJournal::open(Arc::new(PostgresMetaStore::connect(&url, 4).await.unwrap())).await.unwrap()
    };
    keeps_the_promises(fresh).await;
}
