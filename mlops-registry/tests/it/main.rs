//! The conformance suites over every back end, the audit row, and damage done from outside.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test and its helpers fail by panicking"
)]
#![allow(clippy::disallowed_methods, reason = "the environment names the server to test against, and a child's home")]

mod auth;
mod bundle;
mod clock;
mod crash;
mod crash_governance;
mod export;
mod full_disk;
mod fuzz_seeds;
mod gateway;
mod governance;
mod import;
mod import_server;
mod mlflow;
mod offline;
#[cfg(feature = "postgres")]
mod postgres_restart;
mod remote;
mod rewrap;
mod traces;
mod webhooks;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mlops_core::{
    Alias, AuditEntry, DataType, Error, ErrorKind, ModelName, ModelPackage, ModelSource as _, Result, Signature,
    TensorSpec, Version,
};
use mlops_registry::{
    Actor, CreateModel, CreateVersion, ModelRegistry as _, MoveAlias, SqlEvaluationStore, SqlLoggedModelStore,
    SqlModelRegistry, SqlTraceStore, SqlTrackingStore, conformance,
    tracking::tail::{LiveTail, TailSettings},
};
use mlops_store::{BlobStore, MetaStore, SqliteMetaStore, SqliteSettings, Transaction, TransactionalAudit};

async fn tracking(meta: Arc<dyn MetaStore>) -> SqlTrackingStore {
    SqlTrackingStore::builder(meta).build().await.unwrap()
}

async fn registry(meta: Arc<dyn MetaStore>) -> SqlModelRegistry {
    SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await.unwrap()
}

/// A tracking store and the logged models of its runs.
async fn logged(meta: Arc<dyn MetaStore>) -> (SqlTrackingStore, SqlLoggedModelStore) {
    let tracking = tracking(Arc::clone(&meta)).await;
    let models = SqlLoggedModelStore::builder(meta, Arc::new(tracking.clone())).build().await.unwrap();
    (tracking, models)
}

async fn traces(meta: Arc<dyn MetaStore>) -> SqlTraceStore {
    SqlTraceStore::builder(meta).build().await.unwrap()
}

async fn evaluation(meta: Arc<dyn MetaStore>) -> SqlEvaluationStore {
    SqlEvaluationStore::builder(meta).build().await.unwrap()
}

async fn in_memory() -> Arc<dyn MetaStore> {
    Arc::new(SqliteMetaStore::in_memory().await.unwrap())
}

async fn in_file(directory: &Path, counter: &AtomicU32) -> Arc<dyn MetaStore> {
    let path = directory.join(format!("{}.db", counter.fetch_add(1, Ordering::SeqCst)));
    Arc::new(SqliteMetaStore::open(&path, SqliteSettings::default()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_in_memory_keeps_the_promises() {
    conformance::tracking_store(async || tracking(in_memory().await).await).await;
    let live = async || LiveTail::new(Arc::new(tracking(in_memory().await).await), TailSettings::default()).unwrap();
    conformance::tracking_store(live).await;
    conformance::model_registry(async || registry(in_memory().await).await).await;
    conformance::logged_model_store(async || logged(in_memory().await).await).await;
    conformance::trace_store(async || traces(in_memory().await).await).await;
    conformance::evaluation_store(async || evaluation(in_memory().await).await).await;
    conformance::gateway_store(async || gateway::store(in_memory().await).await).await;
    conformance::approvals(async || registry(in_memory().await).await).await;
    conformance::trash(async || registry(in_memory().await).await).await;
    conformance::transfer(async || registry(in_memory().await).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_file_keeps_the_promises() {
    let (dir, counter) = (tempfile::tempdir().unwrap(), AtomicU32::new(0));
    conformance::tracking_store(async || tracking(in_file(dir.path(), &counter).await).await).await;
    conformance::model_registry(async || registry(in_file(dir.path(), &counter).await).await).await;
    conformance::logged_model_store(async || logged(in_file(dir.path(), &counter).await).await).await;
    conformance::trace_store(async || traces(in_file(dir.path(), &counter).await).await).await;
    conformance::evaluation_store(async || evaluation(in_file(dir.path(), &counter).await).await).await;
    conformance::gateway_store(async || gateway::store(in_file(dir.path(), &counter).await).await).await;
    conformance::approvals(async || registry(in_file(dir.path(), &counter).await).await).await;
    conformance::trash(async || registry(in_file(dir.path(), &counter).await).await).await;
    conformance::transfer(async || registry(in_file(dir.path(), &counter).await).await).await;
}

/// Each fresh store is a schema of its own in the database that `MLOPS_TEST_POSTGRES` names.
#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_keeps_the_promises() {
    use mlops_store::{MetaStoreExt as _, PostgresMetaStore};

    let Ok(url) = std::env::var("MLOPS_TEST_POSTGRES") else {
        println!("skipped: MLOPS_TEST_POSTGRES names no server");
        return;
    };
    let admin = PostgresMetaStore::connect(&url, 1).await.unwrap();
    let counter = AtomicU32::new(0);
    let fresh = async || {
        let n = counter.fetch_add(1, Ordering::SeqCst);
        let schema = format!("registry_{}_{n}", std::process::id());
        admin.execute(&format!("CREATE SCHEMA {schema}"), &[]).await.unwrap();
        let join = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{join}options=-csearch_path%3D{schema}");
        let meta: Arc<dyn MetaStore> = Arc::new(PostgresMetaStore::connect(&url, 4).await.unwrap());
        meta
    };
    conformance::tracking_store(async || tracking(fresh().await).await).await;
    conformance::model_registry(async || registry(fresh().await).await).await;
    conformance::logged_model_store(async || logged(fresh().await).await).await;
    conformance::trace_store(async || traces(fresh().await).await).await;
    conformance::evaluation_store(async || evaluation(fresh().await).await).await;
    conformance::gateway_store(async || gateway::store(fresh().await).await).await;
    conformance::approvals(async || registry(fresh().await).await).await;
    conformance::trash(async || registry(fresh().await).await).await;
    conformance::transfer(async || registry(fresh().await).await).await;
}

fn package() -> ModelPackage {
    let signature = Signature::new([], [TensorSpec::column("score", DataType::Float64)]).unwrap();
    ModelPackage::new("constant", signature).with_file("model.json", "{\"value\":0.5}")
}

/// An audit log that is out of order.
#[derive(Debug)]
struct Refusing;

#[async_trait]
impl TransactionalAudit for Refusing {
    async fn append_in(&self, _: &mut dyn Transaction, _: &AuditEntry) -> Result<()> {
        Err(Error::unavailable("the audit log is out of order"))
    }
}

#[tokio::test]
async fn an_alias_does_not_move_without_its_audit_row() {
    let (meta, blobs) = (in_memory().await, BlobStore::in_memory());
    let open = SqlModelRegistry::builder(Arc::clone(&meta), blobs.clone()).build().await.unwrap();
    let audited = SqlModelRegistry::builder(meta, blobs).with_audit(Arc::new(Refusing)).build().await.unwrap();
    let (fraud, champion) = (ModelName::new("fraud").unwrap(), Alias::new("champion").unwrap());
    open.create_model(&fraud, CreateModel::default()).await.unwrap();
    open.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap();

    assert!(audited.set_alias(&fraud, &champion, Version(1), MoveAlias::default()).await.is_err());
    assert_eq!(open.alias(&fraud, &champion).await.unwrap_err().kind(), ErrorKind::NotFound);
    open.set_alias(&fraud, &champion, Version(1), MoveAlias::default()).await.unwrap();
    assert!(audited.delete_alias(&fraud, &champion, MoveAlias::default()).await.is_err());
    assert_eq!(open.alias(&fraud, &champion).await.unwrap(), Version(1));
}

#[tokio::test]
async fn nothing_governed_happens_without_its_audit_row() {
    let (meta, blobs) = (in_memory().await, BlobStore::in_memory());
    let open = SqlModelRegistry::builder(Arc::clone(&meta), blobs.clone()).build().await.unwrap();
    let audited = SqlModelRegistry::builder(meta, blobs).with_audit(Arc::new(Refusing)).build().await.unwrap();
    let (fraud, actor) = (ModelName::new("fraud").unwrap(), Actor::default());
    open.create_model(&fraud, CreateModel::default()).await.unwrap();
    open.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap();

    assert!(audited.create_version(&fraud, &package(), CreateVersion::default()).await.is_err());
    assert!(audited.create_version_from_uri(&fraud, "s3://b/m", CreateVersion::default()).await.is_err());
    assert!(audited.delete_version(&fraud, Version(1), &actor).await.is_err());
    assert!(audited.delete_model(&fraud, &actor).await.is_err());
    let model = open.model(&fraud).await.unwrap();
    assert_eq!(model.last_version, 1, "a refused registration takes no number");
    open.version(&fraud, Version(1)).await.unwrap();
}

#[tokio::test]
async fn a_tampered_blob_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobStore::local(dir.path()).unwrap();
    let registry = SqlModelRegistry::builder(in_memory().await, blobs.clone()).build().await.unwrap();
    let fraud = ModelName::new("fraud").unwrap();
    registry.create_model(&fraud, CreateModel::default()).await.unwrap();
    registry.create_version(&fraud, &package(), CreateVersion::default()).await.unwrap();
    let found = registry.resolve(&"fraud/1".parse().unwrap()).await.unwrap();
    let listed: Vec<_> = blobs.list().try_collect().await.unwrap();
    assert!(listed.len() >= 2, "a manifest and a file");
    for entry in listed {
        let text = entry.digest.to_string();
        let path = dir.path().join("sha256").join(&text[..2]).join(&text[2..]);
        let intact = std::fs::read(&path).unwrap();
        let mut damaged = intact.clone();
        damaged[0] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        assert_eq!(registry.fetch(&found).await.unwrap_err().kind(), ErrorKind::DataLoss);
        std::fs::write(&path, intact).unwrap();
    }
    assert_eq!(registry.fetch(&found).await.unwrap(), package());
}
