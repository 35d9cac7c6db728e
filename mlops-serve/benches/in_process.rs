//! What the server adds to a model: a call in process against the model alone, and the same over the router.
//!
//! The inference is one row of four numbers by a model that does next to nothing, with metrics counted as in
//! production. Reads: `in_process` less `model_alone` is the cost of the server, and `in_process_by_tower` and
//! `in_process_observed` less it what a boxed call, and a log of predictions with metrics by label, cost more.

#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::sync::Arc;

use axum::{Router, body::Body, http::Request};
use divan::Bencher;
use mlops_core::{
    DataType, Delivery, Model, ModelName, PredictionBatch, PredictionSink, PrometheusMeter, Signature, TensorSpec,
    Version,
    arrow_array::{ArrayRef, Float64Array, RecordBatch},
};
use mlops_serve::{ClosureModel, InferCall, InferOptions, ModelRepository, Server, ServerSettings};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

fn main() {
    divan::main();
}

fn signature() -> Signature {
    let columns = ["a", "b", "c", "d"].map(|name| TensorSpec::column(name, DataType::Float64));
    Signature::new(columns, [TensorSpec::column("y", DataType::Float64)]).unwrap()
}

fn model() -> Arc<dyn Model> {
    let schema = signature().output_schema();
    Arc::new(ClosureModel::new(signature(), move |batch: &RecordBatch| {
        Ok(RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(batch.column(0))])?)
    }))
}

fn row() -> RecordBatch {
    let column = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    RecordBatch::try_from_iter([("a", column(1.0)), ("b", column(2.0)), ("c", column(3.0)), ("d", column(4.0))])
        .unwrap()
}

fn server(settings: ServerSettings) -> Server {
    let repository = Arc::new(ModelRepository::new());
    repository.register(&"bench".parse().unwrap(), Version(1), model()).unwrap();
    Server::builder(repository).with_settings(settings).build().unwrap()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn call(bencher: Bencher<'_, '_>, server: &Server) {
    let (runtime, name, row) = (runtime(), ModelName::new("bench").unwrap(), row());
    let infer = || runtime.block_on(server.infer(&name, row.clone(), InferOptions::default())).unwrap();
    for _ in 0..100 {
        infer();
    }
    bencher.bench_local(infer);
}

#[divan::bench]
fn model_alone(bencher: Bencher<'_, '_>) {
    let (model, row) = (model(), row());
    bencher.bench_local(|| model.predict(&row).unwrap());
}

#[divan::bench]
fn in_process(bencher: Bencher<'_, '_>) {
    call(bencher, &server(ServerSettings::default()));
}

#[divan::bench]
fn in_process_on_a_worker(bencher: Bencher<'_, '_>) {
    call(bencher, &server(ServerSettings { inline_below_us: 0, ..ServerSettings::default() }));
}

#[divan::bench]
fn in_process_by_tower(bencher: Bencher<'_, '_>) {
    let (runtime, server) = (runtime(), server(ServerSettings::default()));
    let asked = InferCall::new(ModelName::new("bench").unwrap(), row());
    let infer = || runtime.block_on(server.clone().oneshot(asked.clone())).unwrap();
    for _ in 0..100 {
        infer();
    }
    bencher.bench_local(infer);
}

/// Takes every prediction, and keeps none.
#[derive(Debug)]
struct Drain;

#[async_trait::async_trait]
impl PredictionSink for Drain {
    fn append(&self, batch: PredictionBatch) -> Delivery {
        divan::black_box(batch);
        Delivery::Accepted
    }
    async fn flush(&self) -> mlops_core::Result<()> {
        Ok(())
    }
    fn dropped(&self) -> u64 {
        0
    }
}

#[divan::bench]
fn in_process_observed(bencher: Bencher<'_, '_>) {
    let repository = Arc::new(ModelRepository::new());
    repository.register(&"bench".parse().unwrap(), Version(1), model()).unwrap();
    let server = Server::builder(repository).with_prometheus(Arc::new(PrometheusMeter::default()));
    call(bencher, &server.with_predictions(Arc::new(Drain)).build().unwrap());
}

#[divan::bench]
fn router_json(bencher: Bencher<'_, '_>) {
    const BODY: &str = r#"{"inputs":[{"name":"a","shape":[1],"datatype":"FP64","data":[1]},{"name":"b","shape":[1],"datatype":"FP64","data":[2]},{"name":"c","shape":[1],"datatype":"FP64","data":[3]},{"name":"d","shape":[1],"datatype":"FP64","data":[4]}]}"#;
    let (runtime, router) = (runtime(), server(ServerSettings::default()).into_router());
    let send = |router: Router| async {
        let request = Request::post("/v2/models/bench/infer").body(Body::from(BODY)).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert!(response.status().is_success());
        response
    };
    for _ in 0..100 {
        runtime.block_on(send(router.clone()));
    }
    bencher.bench_local(|| runtime.block_on(send(router.clone())));
}
