//! What becomes of requests when something beside them fails: the source of the models, the models themselves, the
//! feature store. A killed process is in `rollouts`, a full memory in `budget`, another server that fails in `remote`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use mlops_core::{
    DataType, Error, ErrorKind, FeatureReader, FeatureRef, ModelName, ModelPackage, ModelRef, ModelSource,
    ModelVersionId, Result, Selector, Signature, TensorSpec, Timestamp, Version,
    arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, cast::AsArray, types::Float64Type},
    testing::{ManualClock, RecordingSink},
};
use mlops_serve::{
    ClosureModel, DirectorySource, FeatureLookup, InferOptions, ModelConfig, ModelRepository, Runtimes, Server,
    ServerSettings, WhenUnavailable,
};
use serde_json::json;

use crate::{
    client::{self, call, post},
    support::in_time,
};

fn name(name: &str) -> ModelName {
    name.parse().unwrap()
}

fn column(name: &str) -> TensorSpec {
    TensorSpec::column(name, DataType::Float64)
}

fn numbers(name: &str, values: &[f64]) -> RecordBatch {
    RecordBatch::try_from_iter([(name, Arc::new(Float64Array::from(values.to_vec())) as ArrayRef)]).unwrap()
}

/// What a registry does when it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Registry {
    Works,
    CannotBeReached,
    LosesPackages,
    Hangs,
}

/// A source that fails as it is told to.
#[derive(Debug)]
struct Flaky {
    inner: DirectorySource,
    now: std::sync::Mutex<Registry>,
}

impl Flaky {
    fn turns(&self, now: Registry) {
        *self.now.lock().unwrap() = now;
    }

    fn now(&self) -> Registry {
        *self.now.lock().unwrap()
    }
}

#[async_trait::async_trait]
impl ModelSource for Flaky {
    async fn resolve(&self, reference: &ModelRef) -> Result<ModelVersionId> {
        match self.now() {
            Registry::CannotBeReached => Err(Error::unavailable("the registry cannot be reached")),
            Registry::Hangs => std::future::pending().await,
            _ => self.inner.resolve(reference).await,
        }
    }

    async fn fetch(&self, id: &ModelVersionId) -> Result<ModelPackage> {
        match self.now() {
            Registry::LosesPackages => Err(Error::data_loss("the package is not what its digest says")),
            _ => self.inner.fetch(id).await,
        }
    }
}

/// Models by flavor: `echo` works; `panics_loading`, `panics`, `lies` (about its output) and `breaks` do not.
fn runtimes() -> Runtimes {
    let closure = |package: &ModelPackage, predict: fn(&RecordBatch) -> Result<RecordBatch>| {
        Ok(Arc::new(ClosureModel::new(package.manifest.signature.clone(), predict)) as _)
    };
    Runtimes::new()
        .with("echo", move |package: &ModelPackage| closure(package, |batch| Ok(batch.clone())))
        .with("panics", move |package: &ModelPackage| closure(package, |_| panic!("a tree has no root")))
        .with("lies", move |package: &ModelPackage| closure(package, |batch| Ok(batch.slice(0, 0))))
        .with("breaks", |_: &ModelPackage| Err(Error::data_loss("a tree has no root")))
        .with("panics_loading", |_: &ModelPackage| panic!("a tree has no root"))
}

fn package(flavor: &str) -> ModelPackage {
    ModelPackage::new(flavor, Signature::new([column("x")], [column("x")]).unwrap())
}

async fn version_in_service(server: &Server) -> Version {
    server.infer(&name("m"), numbers("x", &[1.0]), InferOptions::default()).await.unwrap().version
}

#[tokio::test]
async fn the_last_good_version_answers_whatever_becomes_of_the_registry_and_its_packages() {
    let root = tempfile::tempdir().unwrap();
    let inner = DirectorySource::new(root.path());
    inner.write(&name("m"), Version(1), &package("echo")).unwrap();
    let source = Arc::new(Flaky { inner: inner.clone(), now: Registry::Works.into() });
    let repository = Arc::new(ModelRepository::with_source(Arc::<Flaky>::clone(&source), runtimes()));
    repository.add(ModelConfig::new(ModelRef { name: name("m"), selector: Selector::Latest })).unwrap();
    repository.sync().await.into_result().unwrap();
    let server = Server::builder(Arc::clone(&repository)).build().unwrap();

    inner.write(&name("m"), Version(2), &package("echo")).unwrap();
    for (registry, kind) in
        [(Registry::CannotBeReached, ErrorKind::Unavailable), (Registry::LosesPackages, ErrorKind::DataLoss)]
    {
        source.turns(registry);
        let failed = repository.sync().await.failed;
        assert_eq!((failed.len(), failed[0].1.kind()), (1, kind), "{registry:?}");
        assert_eq!(version_in_service(&server).await, Version(1), "{registry:?}");
        assert!(server.is_ready(), "{registry:?}: a registry that is away makes no server unready");
    }
    // A registry that says nothing keeps nobody waiting but who asked it.
    source.turns(Registry::Hangs);
    let waiting = tokio::spawn({
        let repository = Arc::clone(&repository);
        async move { repository.sync().await }
    });
    tokio::task::yield_now().await;
    assert_eq!(in_time(version_in_service(&server)).await, Version(1));
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());

    source.turns(Registry::Works);
    for (version, package, text) in [
        (3, package("breaks"), "a tree has no root"),
        (4, package("panics_loading"), "panicked"),
        (5, package("panics"), "panicked"),
        (6, package("lies"), "rows"),
        (7, package("unheard_of"), "unheard_of"),
    ] {
        inner.write(&name("m"), Version(version), &package).unwrap();
        let failed = repository.sync().await.failed;
        assert_eq!(failed.len(), 1, "version {version}");
        assert!(failed[0].1.to_string().contains(text), "version {version}: {}", failed[0].1);
        assert_eq!(version_in_service(&server).await, Version(1), "version {version}");
    }
    inner.write(&name("m"), Version(8), &package("echo")).unwrap();
    repository.sync().await.into_result().unwrap();
    assert_eq!(version_in_service(&server).await, Version(8));
}

/// A model that panics above 100, gives NaN below 0, and infinity for 0.
fn moody() -> ClosureModel<impl Fn(&RecordBatch) -> Result<RecordBatch>> {
    ClosureModel::new(Signature::new([column("x")], [column("y")]).unwrap(), |batch: &RecordBatch| {
        let mood = |x: &f64| match *x {
            x if x > 100.0 => panic!("a secret of row {x}"),
            x if x < 0.0 => f64::NAN,
            x => 1.0 / x,
        };
        let values = batch["x"].as_primitive::<Float64Type>().values();
        Ok(numbers("y", &values.iter().map(mood).collect::<Vec<_>>()))
    })
}

fn moody_server(inline_below_us: u64) -> (Server, Arc<RecordingSink>) {
    let repository = Arc::new(ModelRepository::new());
    repository.register(&name("moody"), Version(1), Arc::new(moody())).unwrap();
    let settings = ServerSettings {
        workers: 1,
        inline_below_us,
        protocols: client::protocols("moody"),
        ..ServerSettings::default()
    };
    let sink = Arc::new(RecordingSink::default());
    let server = Server::builder(repository).with_settings(settings);
    (server.with_predictions(Arc::<RecordingSink>::clone(&sink)).build().unwrap(), sink)
}

fn asked(values: &[f64]) -> String {
    let input = json!({"name": "x", "shape": [values.len()], "datatype": "FP64", "data": values});
    json!({"inputs": [input], "outputs": [{"name": "y"}]}).to_string()
}

#[tokio::test]
async fn a_model_that_panics_fails_that_request_alone_and_tells_nothing() {
    // On a worker, and on the thread that answers.
    for inline_below_us in [0, 1_000_000] {
        let router = moody_server(inline_below_us).0.into_router();
        let infer = "/v2/models/moody/infer";
        post(&router, infer, &asked(&[1.0])).await;
        for (path, body) in [
            (infer, asked(&[1.0, 101.0])),
            ("/v1/models/moody:predict", r#"{"instances":[101]}"#.into()),
            ("/invocations", r#"{"instances":[101]}"#.into()),
            ("/predictions/moody", r#"{"instances":[101]}"#.into()),
            ("/score", r#"{"input_data":{"columns":["x"],"data":[[101]]}}"#.into()),
            ("/v2/models/moody/generate", r#"{"x":101}"#.into()),
        ] {
            let (status, answer) = call(&router, "POST", path, body).await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path}: {answer}");
            let text = answer.to_string();
            assert!(text.contains("panicked") && !text.contains("secret"), "{path}: {text}");
            let answer = post(&router, infer, &asked(&[2.0])).await;
            assert_eq!(answer["outputs"][0]["data"], json!([0.5]), "after {path}");
        }
    }
}

#[tokio::test]
async fn values_that_are_not_finite_are_told_where_the_protocol_can_and_refused_where_it_cannot() {
    let (server, sink) = moody_server(1_000_000);
    let router = server.into_router();
    let values = [-1.0, 0.0, 2.0];
    // As tensors in binary they are what they are.
    let body = asked(&values).replace("\"outputs\":[{\"name\":\"y\"}]", "\"parameters\":{\"binary_data_output\":true}");
    let request = Request::post("/v2/models/moody/infer").body(Body::from(body)).unwrap();
    let response = tower::ServiceExt::oneshot(router.clone(), request).await.unwrap();
    let length: usize = response.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let read: Vec<f64> = body[length..].chunks(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert!(read[0].is_nan() && read[1..] == [f64::INFINITY, 0.5], "{read:?}");
    // JSON has no such numbers, and says what to do.
    for (path, body) in [
        ("/v2/models/moody/infer", asked(&values)),
        ("/v2/models/moody/generate", r#"{"x":-1}"#.into()),
        ("/score", r#"{"input_data":{"columns":["x"],"data":[[-1]]}}"#.into()),
    ] {
        let (status, answer) = call(&router, "POST", path, body).await;
        assert!(status.is_client_error(), "{path}: {status} {answer}");
        assert!(answer.to_string().contains("NaN or infinity, which JSON cannot carry"), "{path}: {answer}");
    }
    // TensorFlow's protocol writes them bare.
    let (_, answer) = call(&router, "POST", "/v1/models/moody:predict", r#"{"instances":[-1,0,2]}"#).await;
    assert_eq!(answer, json!("{\"predictions\":[NaN,Infinity,0.5]}"));
    // What was predicted is logged as it was, also where it could not be told.
    let logged = sink.predictions();
    assert_eq!(logged.len(), 5);
    assert!(logged.iter().all(|batch| batch.outputs["y"].as_primitive::<Float64Type>().value(0).is_nan()));
}

/// A feature store that works once, then cannot be reached, then says nothing.
#[derive(Debug, Default)]
struct Store(AtomicUsize);

#[async_trait::async_trait]
impl FeatureReader for Store {
    async fn get_online(&self, _: &[FeatureRef], entities: &RecordBatch, _: Timestamp) -> Result<RecordBatch> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => {
                let spent: ArrayRef = Arc::new(Float64Array::from(vec![7.0; entities.num_rows()]));
                Ok(RecordBatch::try_from_iter([("card", Arc::clone(&entities["card"])), ("spent", spent)])?)
            }
            1 => Err(Error::unavailable("the online store cannot be reached")),
            _ => std::future::pending().await,
        }
    }
}

/// Answers by the policy while the store works, is away, and hangs: the feature, -1 for none, or the kind of the failure.
async fn spent(policy: WhenUnavailable) -> Vec<std::result::Result<f64, ErrorKind>> {
    let signature = Signature::new([column("spent").nullable()], [column("y")]).unwrap();
    let model = ClosureModel::new(signature, |batch: &RecordBatch| {
        let spent = batch["spent"].as_primitive::<Float64Type>().iter();
        Ok(numbers("y", &spent.map(|spent| spent.unwrap_or(-1.0)).collect::<Vec<_>>()))
    });
    let lookup = FeatureLookup::new(
        Arc::new(Store::default()),
        ["spend:spent".parse().unwrap()],
        [TensorSpec::column("card", DataType::Int64)],
    );
    let lookup = lookup.with_when_unavailable(policy).with_timeout(Duration::from_millis(20));
    let repository = Arc::new(ModelRepository::new());
    repository.configure(ModelConfig::new("m@champion".parse().unwrap()).with_features(lookup)).unwrap();
    repository.register(&name("m"), Version(1), Arc::new(model)).unwrap();
    let server = Server::builder(repository).build().unwrap();
    let card: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let row = RecordBatch::try_from_iter([("card", card)]).unwrap();
    let mut told = Vec::new();
    for _ in 0..3 {
        let answer = in_time(server.infer(&name("m"), row.clone(), InferOptions::default())).await;
        let answer = answer.map_err(|error| error.kind());
        told.push(answer.map(|reply| reply.outputs["y"].as_primitive::<Float64Type>().value(0)));
    }
    told
}

#[tokio::test]
async fn a_feature_store_that_is_away_or_hangs_fails_the_request_or_degrades_it_as_the_policy_says() {
    let away = Err(ErrorKind::Unavailable);
    assert_eq!(spent(WhenUnavailable::Fail).await, [Ok(7.0), away, away]);
    assert_eq!(spent(WhenUnavailable::NullFeatures).await, [Ok(7.0), Ok(-1.0), Ok(-1.0)]);
}

/// A feature store that keeps the thread of its caller for 300 ms, and then says nothing.
#[derive(Debug)]
struct Busy(Arc<ManualClock>);

#[async_trait::async_trait]
impl FeatureReader for Busy {
    async fn get_online(&self, _: &[FeatureRef], _: &RecordBatch, _: Timestamp) -> Result<RecordBatch> {
        self.0.advance(Duration::from_millis(300));
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_request_did_before_it_had_to_wait_counts_against_its_time() {
    let clock = Arc::new(ManualClock::at("2024-01-01".parse().unwrap()));
    let signature = Signature::new([column("spent").nullable()], [column("y")]).unwrap();
    let model = ClosureModel::new(signature, |batch: &RecordBatch| Ok(numbers("y", &vec![0.0; batch.num_rows()])));
    let card = TensorSpec::column("card", DataType::Int64);
    let lookup = FeatureLookup::new(Arc::new(Busy(Arc::clone(&clock))), ["spend:spent".parse().unwrap()], [card]);
    let repository = Arc::new(ModelRepository::new());
    repository.configure(ModelConfig::new("m@champion".parse().unwrap()).with_features(lookup)).unwrap();
    repository.register(&name("m"), Version(1), Arc::new(model)).unwrap();
    let settings = ServerSettings { timeout_ms: 400, ..ServerSettings::default() };
    let server = Server::builder(repository).with_settings(settings).with_clock(clock).build().unwrap();
    let card: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let row = RecordBatch::try_from_iter([("card", card)]).unwrap();
    let began = tokio::time::Instant::now();
    let error = server.infer(&name("m"), row, InferOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    let waited = began.elapsed().as_millis();
    assert!((100..=101).contains(&waited), "waited {waited} ms of the 100 that were left");
}
