//! PostgreSQL, where the environment names a server: the promises, and connections that break.

use mlops_core::ErrorKind;
use mlops_store::{MetaStore as _, MetaStoreExt as _, PostgresMetaStore, TransactionExt as _, conformance, params};

fn server() -> Option<String> {
    let url = std::env::var("MLOPS_TEST_POSTGRES").ok();
    if url.is_none() {
        println!("skipped: MLOPS_TEST_POSTGRES names no server");
    }
    url
}

/// Each fresh store is a schema of its own in the database that `MLOPS_TEST_POSTGRES` names.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_keeps_the_promises() {
    let Some(url) = server() else { return };
    let admin = PostgresMetaStore::connect(&url, 1).await.unwrap();
    let counter = std::sync::atomic::AtomicU32::new(0);
    let fresh = async || {
        let n = counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let schema = format!("suite_{}_{n}", std::process::id());
        admin.execute(&format!("CREATE SCHEMA {schema}"), &[]).await.unwrap();
        let join = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{join}options=-csearch_path%3D{schema}");
        PostgresMetaStore::connect(&url, 4).await.unwrap()
    };
    conformance::meta_store(fresh).await;
}

/// What a restart does to those connected: the server ends every connection of the store, one of them within a
/// transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_connections_that_broke_are_replaced() {
    let Some(url) = server() else { return };
    let admin = PostgresMetaStore::connect(&url, 1).await.unwrap();
    let name = format!("broken_{}", std::process::id());
    let join = if url.contains('?') { '&' } else { '?' };
    let store = PostgresMetaStore::connect(&format!("{url}{join}application_name={name}"), 2).await.unwrap();
    store.execute(&format!("CREATE TABLE {name} (id BIGINT PRIMARY KEY)"), &[]).await.unwrap();
    let insert = format!("INSERT INTO {name} VALUES ($1)");

    let mut tx = store.begin().await.unwrap();
    tx.execute(&insert, params![1]).await.unwrap();
    let end = "SELECT COUNT(pg_terminate_backend(pid, 5000)) AS n FROM pg_stat_activity WHERE application_name = $1";
    let ended: i64 = admin.query_one(end, params![name.as_str()]).await.unwrap().get("n").unwrap();
    assert!(1 <= ended, "no connection of the store was found");
    assert_eq!(tx.execute(&insert, params![2]).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Unavailable);

    store.execute(&insert, params![3]).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let row = tx.query_one(&format!("SELECT COUNT(*) AS n, MIN(id) AS id FROM {name}"), &[]).await.unwrap();
    assert_eq!((row.get::<i64>("n").unwrap(), row.get::<i64>("id").unwrap()), (1, 3));
    tx.execute(&format!("DROP TABLE {name}"), &[]).await.unwrap();
    tx.commit().await.unwrap();
}
