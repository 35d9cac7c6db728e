//! A client without a network, and the models that the protocol tests call.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use mlops_core::{
    DataType, ModelName, Signature, TensorSpec, Version,
    arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, cast::AsArray, types},
};
use mlops_serve::{ClosureModel, ModelRepository, ProtocolSettings, Server, ServerSettings};
use serde_json::Value;
use tower::ServiceExt as _;

/// Sends one request; a body that is not JSON comes back as text.
pub(crate) async fn send(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
    (status, headers, serde_json::from_slice(&bytes).unwrap_or_else(|_| text()))
}

/// Sends a request without headers of its own.
pub(crate) async fn call(router: &Router, method: &str, path: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    let (status, _, body) = send(router, request).await;
    (status, body)
}

/// Posts and expects success.
pub(crate) async fn post(router: &Router, path: &str, body: &str) -> Value {
    let (status, answer) = call(router, "POST", path, body.to_owned()).await;
    assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
    answer
}

/// `a + b`, with `b` 0 where it is missing.
fn add() -> ClosureModel<impl Fn(&RecordBatch) -> mlops_core::Result<RecordBatch>> {
    let inputs = [TensorSpec::column("a", DataType::Float64), TensorSpec::column("b", DataType::Int64).nullable()];
    let signature = Signature::new(inputs, [TensorSpec::column("y", DataType::Float64)]).unwrap();
    ClosureModel::new(signature, |batch: &RecordBatch| {
        let a: &Float64Array = batch["a"].as_primitive();
        let b: &Int64Array = batch["b"].as_primitive();
        let sum = (0..a.len()).map(|row| a.value(row) + if b.is_null(row) { 0.0 } else { b.value(row) as f64 });
        Ok(RecordBatch::try_from_iter([("y", Arc::new(Float64Array::from_iter_values(sum)) as ArrayRef)])?)
    })
}

/// Its one input of two numbers, as `scores`, and which of them is larger, as `label`.
fn pair() -> ClosureModel<impl Fn(&RecordBatch) -> mlops_core::Result<RecordBatch>> {
    let x = TensorSpec::tensor("X", DataType::Float32, [2]);
    let outputs = [TensorSpec::column("label", DataType::Int64), TensorSpec::tensor("scores", DataType::Float32, [2])];
    let signature = Signature::new([x], outputs).unwrap();
    ClosureModel::new(signature, |batch: &RecordBatch| {
        let values = batch["X"].as_fixed_size_list().values().as_primitive::<types::Float32Type>();
        let larger = values.values().chunks(2).map(|row| i64::from(row[1] > row[0]));
        let label: ArrayRef = Arc::new(Int64Array::from_iter_values(larger));
        Ok(RecordBatch::try_from_iter([("label", label), ("scores", Arc::clone(&batch["X"]))])?)
    })
}

/// Its one input of text.
fn word() -> ClosureModel<impl Fn(&RecordBatch) -> mlops_core::Result<RecordBatch>> {
    let text = TensorSpec::column("text", DataType::String);
    ClosureModel::new(Signature::new([text.clone()], [text]).unwrap(), |batch| Ok(batch.clone()))
}

/// Its one input of yes or no.
fn flag() -> ClosureModel<impl Fn(&RecordBatch) -> mlops_core::Result<RecordBatch>> {
    let flag = TensorSpec::column("flag", DataType::Bool);
    ClosureModel::new(Signature::new([flag.clone()], [flag]).unwrap(), |batch| Ok(batch.clone()))
}

/// The models `add`, `flag`, `pair` and `word`.
pub(crate) fn models() -> Arc<ModelRepository> {
    let repository = Arc::new(ModelRepository::new());
    let name = |name: &str| name.parse::<ModelName>().unwrap();
    repository.register(&name("add"), Version(1), Arc::new(add())).unwrap();
    repository.register(&name("flag"), Version(1), Arc::new(flag())).unwrap();
    repository.register(&name("pair"), Version(1), Arc::new(pair())).unwrap();
    repository.register(&name("word"), Version(1), Arc::new(word())).unwrap();
    repository
}

/// A server of [`models`] that speaks what `protocols` says.
pub(crate) fn server(protocols: ProtocolSettings) -> Server {
    let settings = ServerSettings { repository_api: true, protocols, ..ServerSettings::default() };
    Server::builder(models()).with_settings(settings).build().unwrap()
}

/// Every protocol; `default_model` answers where a path names none.
pub(crate) fn protocols(default_model: &str) -> ProtocolSettings {
    serde_json::from_value(serde_json::json!({
        "torchserve": true,
        "invocations": true,
        "azureml": true,
        "vertex": { "predict_route": "/predict", "health_route": "/alive" },
        "default_model": default_model,
    }))
    .unwrap()
}

/// A router of [`server`] with every protocol.
pub(crate) fn everything(default_model: &str) -> Router {
    server(protocols(default_model)).into_router()
}
