//! The server that every target sends to, and what must be true of its answers.
//!
//! Invariant: whatever is sent, the answer is a success or the sender's fault. A panic, a failure of the server's own, or
//! no answer within libFuzzer's `-timeout` is a finding.

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use mlops_core::{DataType, Signature, TensorSpec, Version, arrow_array::RecordBatch};
use mlops_serve::{ClosureModel, IdentityModel, ModelRepository, Server, ServerSettings, TensorType};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

/// Far more than any answer here has.
const ANSWER_BYTES_MAX: usize = 1 << 28;

static SERVER: LazyLock<(Runtime, Router)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let router = runtime.block_on(async { server().into_router() });
    (runtime, router)
});

/// The models of [`server`].
pub fn models() -> Arc<ModelRepository> {
    let repository = ModelRepository::new();
    for (name, specs) in [
        (
            "row",
            vec![
                TensorSpec::column("a", DataType::Float64),
                TensorSpec::column("b", DataType::Int64).nullable(),
                TensorSpec::column("text", DataType::String),
                TensorSpec::column("flag", DataType::Bool),
            ],
        ),
        ("pair", vec![TensorSpec::tensor("X", DataType::Float32, [2])]),
        ("word", vec![TensorSpec::column("text", DataType::String)]),
        ("number", vec![TensorSpec::column("x", DataType::Float64)]),
    ] {
        // Answers have no nulls.
        let given: Vec<usize> = (0..specs.len()).filter(|index| !specs[*index].nullable).collect();
        let outputs: Vec<TensorSpec> = given.iter().map(|index| specs[*index].clone()).collect();
        let signature = Signature::new(specs, outputs).expect("a signature");
        let echo = ClosureModel::new(signature, move |batch: &RecordBatch| Ok(batch.project(&given)?));
        repository.register(&name.parse().expect("a name"), Version(1), Arc::new(echo)).expect("a model");
    }
    for (name, kind) in [("raw", TensorType::Bf16), ("bytes", TensorType::Bytes), ("uint", TensorType::Uint16)] {
        let identity = Arc::new(IdentityModel::new(kind));
        repository.register_tensors(&name.parse().expect("a name"), Version(1), identity).expect("a model");
    }
    Arc::new(repository)
}

fn server() -> Server {
    let settings = ServerSettings {
        workers: 1,
        // A fuzzer shall not wait for a worker, whatever a call before took.
        inline_below_us: 1_000_000,
        body_bytes_max: 1 << 20,
        protocols: mlops_serve::ProtocolSettings {
            torchserve: true,
            invocations: true,
            azureml: true,
            default_model: Some("row".parse().expect("a name")),
            ..mlops_serve::ProtocolSettings::default()
        },
        ..ServerSettings::default()
    };
    Server::builder(models()).with_settings(settings).build().expect("a server")
}

fn sent(path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (StatusCode, HeaderMap, Bytes) {
    let (runtime, router) = &*SERVER;
    let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
    let request = request.body(Body::from(body)).expect("a request");
    runtime.block_on(async {
        let (parts, body) = router.clone().oneshot(request).await.expect("a router does not fail").into_parts();
        let body = to_bytes(body, ANSWER_BYTES_MAX).await.expect("an answer comes whole");
        (parts.status, parts.headers, body)
    })
}

/// Posts `body`, which must be answered by a success or a refusal.
pub fn post(path: &str, headers: &[(&str, &str)], body: Vec<u8>) {
    let (status, _, answer) = sent(path, headers, body);
    let fine = status == StatusCode::OK || status.is_client_error();
    assert!(fine, "{path} answered {status}: {}", String::from_utf8_lossy(&answer));
}

/// Calls a method with `message`, which must be answered by a success or the fault of its sender.
pub fn call(method: &str, message: &[u8]) {
    let length = u32::try_from(message.len()).expect("a short message").to_be_bytes();
    let framed = [&[0], length.as_slice(), message].concat();
    let path = format!("/inference.GRPCInferenceService/{method}");
    let (status, headers, _) = sent(&path, &[("content-type", "application/grpc")], framed);
    let code = headers.get("grpc-status").map_or("0", |code| code.to_str().expect("a number"));
    // Unknown, Internal, DataLoss: faults of a server.
    assert!(status == StatusCode::OK && !["2", "13", "15"].contains(&code), "{method}: {status}, code {code}");
}

/// One of `choices` by the first byte, and what is behind it.
pub fn chosen<'a, T: Copy>(choices: &[T], data: &'a [u8]) -> Option<(T, &'a [u8])> {
    let (first, rest) = data.split_first()?;
    Some((choices[usize::from(*first) % choices.len()], rest))
}
