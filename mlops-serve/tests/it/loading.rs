//! What the repository does with packages that cannot be loaded, and with those that came while it runs.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc::{Sender, channel},
};

use axum::http::StatusCode;
use mlops_core::{
    DataType, Error, ErrorKind, Model, ModelName, ModelPackage, ModelRef, Result, Selector, Signature, TensorSpec,
    Version,
};
use mlops_serve::{ClosureModel, DirectorySource, ModelConfig, ModelRepository, Runtime, Runtimes, Server};
use serde_json::json;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
};

use crate::client::{call, protocols};

#[tokio::test]
async fn a_package_that_fails_is_not_loaded_again_until_it_changes_or_somebody_asks() {
    let root = tempfile::tempdir().unwrap();
    let source = DirectorySource::new(root.path());
    let name: ModelName = "churn".parse().unwrap();
    let column = TensorSpec::column("x", DataType::Float64);
    let package = |flavor: &str| ModelPackage::new(flavor, Signature::new([column.clone()], [column.clone()]).unwrap());
    source.write(&name, Version(1), &package("broken")).unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let runtimes = Runtimes::new()
        .with("broken", move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Err(Error::data_loss("a tree has no root"))
        })
        .with("echo", |package: &ModelPackage| {
            Ok(Arc::new(ClosureModel::new(package.manifest.signature.clone(), |batch| Ok(batch.clone()))))
        });
    let repository = ModelRepository::with_source(Arc::new(source.clone()), runtimes);
    repository.add(ModelConfig::new(ModelRef { name: name.clone(), selector: Selector::Latest })).unwrap();
    for _ in 0..3 {
        let failed = repository.sync().await.failed;
        assert_eq!((failed.len(), failed[0].1.kind()), (1, ErrorKind::DataLoss));
        assert!(failed[0].1.message().contains("a tree has no root"), "{}", failed[0].1);
        assert_eq!(loads.load(Ordering::SeqCst), 1);
    }
    assert_eq!(repository.load(&name).await.unwrap_err().kind(), ErrorKind::DataLoss);
    assert_eq!(loads.load(Ordering::SeqCst), 2, "who asks for it gets another try");
    source.write(&name, Version(2), &package("echo")).unwrap();
    assert_eq!(repository.sync().await.into_result().unwrap(), [(name, Version(2))]);
}

/// Fails once, as a server that refuses us once.
#[derive(Debug, Default)]
struct Elsewhere(AtomicUsize);

impl Runtime for Elsewhere {
    fn flavors(&self) -> Vec<String> {
        vec!["elsewhere".into()]
    }

    fn load(&self, package: &ModelPackage) -> Result<Arc<dyn Model>> {
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            return Err(Error::failed_precondition("it answered 401"));
        }
        Ok(Arc::new(ClosureModel::new(package.manifest.signature.clone(), |batch| Ok(batch.clone()))))
    }

    fn depends_on_others(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn what_depends_on_others_is_loaded_again_at_the_next_synchronisation() {
    let root = tempfile::tempdir().unwrap();
    let source = DirectorySource::new(root.path());
    let name: ModelName = "churn".parse().unwrap();
    let column = TensorSpec::column("x", DataType::Float64);
    let package = ModelPackage::new("elsewhere", Signature::new([column.clone()], [column]).unwrap());
    source.write(&name, Version(1), &package).unwrap();
    let runtimes = Runtimes::new().with_runtime(Arc::new(Elsewhere::default()));
    let repository = ModelRepository::with_source(Arc::new(source), runtimes);
    repository.add(ModelConfig::new(ModelRef { name: name.clone(), selector: Selector::Latest })).unwrap();
    assert_eq!(repository.sync().await.failed[0].1.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(repository.sync().await.into_result().unwrap(), [(name, Version(1))]);
}

#[tokio::test]
async fn a_model_that_came_into_the_source_since_is_loaded_by_its_name() {
    let root = tempfile::tempdir().unwrap();
    let source = DirectorySource::new(root.path());
    let column = TensorSpec::column("x", DataType::Float64);
    let package = |flavor: &str| ModelPackage::new(flavor, Signature::new([column.clone()], [column.clone()]).unwrap());
    let runtimes = Runtimes::new().with("broken", |_| Err(Error::data_loss("a tree has no root"))).with(
        "echo",
        |package: &ModelPackage| {
            Ok(Arc::new(ClosureModel::new(package.manifest.signature.clone(), |batch| Ok(batch.clone()))))
        },
    );
    let repository = Arc::new(ModelRepository::with_source(Arc::new(source.clone()), runtimes));
    let settings = mlops_serve::ServerSettings {
        repository_api: true,
        protocols: protocols("late"),
        ..mlops_serve::ServerSettings::default()
    };
    let router = Server::builder(Arc::clone(&repository)).with_settings(settings).build().unwrap().into_router();
    let load = async |path: &str| call(&router, "POST", path, "").await.0;
    assert_eq!(load("/v2/repository/models/late/load").await, StatusCode::NOT_FOUND);

    source.write(&"late".parse().unwrap(), Version(1), &package("echo")).unwrap();
    source.write(&"later".parse().unwrap(), Version(1), &package("echo")).unwrap();
    source.write(&"bad".parse().unwrap(), Version(1), &package("broken")).unwrap();
    assert_eq!(repository.names(), [], "nobody asked for them");
    assert_eq!(load("/v2/repository/models/late/load").await, StatusCode::OK);
    assert_eq!(load("/models?url=/opt/ml/models/later.mar").await, StatusCode::OK);
    for name in ["late", "later"] {
        let answer = call(&router, "POST", &format!("/predictions/{name}"), "[1.5]").await;
        assert_eq!(answer, (StatusCode::OK, serde_json::json!([1.5])), "{name}");
    }
    assert_eq!(load("/models?url=later").await, StatusCode::CONFLICT);
    let load_with = async |config: &str| {
        let body = json!({"parameters": {"config": config}}).to_string();
        call(&router, "POST", "/v2/repository/models/set/load", body).await.0
    };
    assert_eq!(load_with("{}").await, StatusCode::NOT_FOUND);
    source.write(&"set".parse().unwrap(), Version(1), &package("echo")).unwrap();
    assert_eq!(load_with(r#"{"name":"another"}"#).await, StatusCode::BAD_REQUEST);
    assert_eq!(load("/v2/models/set/infer").await, StatusCode::NOT_FOUND, "what its version refuses is not kept");
    assert_eq!(load_with(r#"{"max_batch_size":4}"#).await, StatusCode::OK);
    assert_eq!(call(&router, "GET", "/v2/models/set/config", "").await.1["max_batch_size"], 4);
    assert_eq!(load("/v2/repository/models/bad/load").await, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(load("/v2/models/bad/infer").await, StatusCode::NOT_FOUND, "what does not load is not kept");
    assert!(repository.is_ready());
}

/// A repository whose source has a model "slow", the loads of which begin and wait until they are told how they end.
struct Held {
    _root: tempfile::TempDir,
    repository: Arc<ModelRepository>,
    begun: UnboundedReceiver<()>,
    end: Sender<Result<()>>,
}

fn same(package: &ModelPackage) -> Arc<dyn Model> {
    Arc::new(ClosureModel::new(package.manifest.signature.clone(), |batch| Ok(batch.clone())))
}

fn slow() -> ModelName {
    "slow".parse().unwrap()
}

fn held_package() -> ModelPackage {
    let column = TensorSpec::column("x", DataType::Float64);
    ModelPackage::new("held", Signature::new([column.clone()], [column]).unwrap())
}

impl Held {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let source = DirectorySource::new(root.path());
        source.write(&slow(), Version(1), &held_package()).unwrap();
        let ((begin, begun), (end, ends)) = (unbounded_channel(), channel::<Result<()>>());
        let ends = Mutex::new(ends);
        let runtimes = Runtimes::new().with("held", move |package: &ModelPackage| {
            begin.send(()).unwrap();
            ends.lock().unwrap().recv().unwrap()?;
            Ok(same(package))
        });
        Self { _root: root, repository: Arc::new(ModelRepository::with_source(Arc::new(source), runtimes)), begun, end }
    }

    fn load(&self) -> JoinHandle<Result<()>> {
        let repository = Arc::clone(&self.repository);
        tokio::spawn(async move { repository.load(&slow()).await })
    }

    /// The versions that are served, with their states.
    fn index(&self) -> Vec<(Option<Version>, &'static str)> {
        self.repository.index().into_iter().map(|line| (line.version, line.state)).collect()
    }
}

#[tokio::test]
async fn a_client_that_does_not_wait_for_a_new_model_leaves_nothing_and_nobody_is_unready_meanwhile() {
    let mut held = Held::new();
    let load = held.load();
    held.begun.recv().await.unwrap();
    assert!(held.repository.is_ready() && held.index().is_empty());
    load.abort();
    assert!(load.await.unwrap_err().is_cancelled());
    held.end.send(Ok(())).unwrap();
    assert!(held.repository.is_ready() && held.index().is_empty());
    assert_eq!(held.repository.sync().await.into_result().unwrap(), []);
}

#[tokio::test]
async fn of_two_clients_that_load_a_new_model_one_may_fail_and_the_other_has_it() {
    let mut held = Held::new();
    let (first, second) = (held.load(), held.load());
    held.begun.recv().await.unwrap();
    held.end.send(Err(Error::data_loss("a tree has no root"))).unwrap();
    held.begun.recv().await.unwrap();
    held.end.send(Ok(())).unwrap();
    let outcomes = [first.await.unwrap(), second.await.unwrap()];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    assert_eq!(held.index(), [(Some(Version(1)), "READY")]);
}

#[tokio::test]
async fn what_the_application_registers_while_a_client_loads_the_name_stays() {
    for end in [Ok(()), Err(Error::data_loss("a tree has no root"))] {
        let mut held = Held::new();
        let load = held.load();
        held.begun.recv().await.unwrap();
        held.repository.register(&slow(), Version(7), same(&held_package())).unwrap();
        let expected = end.as_ref().err().map_or(ErrorKind::AlreadyExists, Error::kind);
        held.end.send(end).unwrap();
        assert_eq!(load.await.unwrap().unwrap_err().kind(), expected);
        assert_eq!(held.index(), [(Some(Version(7)), "READY")]);
    }
}
