//! Open Inference over REST: answers, and the status of what cannot be answered.

use std::sync::Arc;

use axum::{Router, body::Body, http::StatusCode};
use mlops_core::{DataType, Signature, TensorSpec, Version};
use mlops_serve::{ClosureModel, ModelRepository, Server};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::client::call;

fn router() -> Router {
    let column = |name: &str| TensorSpec::column(name, DataType::Float64);
    let model = ClosureModel::new(Signature::new([column("x")], [column("x")]).unwrap(), |batch| Ok(batch.clone()));
    let repository = Arc::new(ModelRepository::new());
    repository.register(&"echo".parse().unwrap(), Version(1), Arc::new(model)).unwrap();
    Server::builder(repository).build().unwrap().into_router()
}

fn x(data: &Value, shape: &Value, datatype: &str) -> String {
    json!({"id": "7", "inputs": [{"name": "x", "shape": shape, "datatype": datatype, "data": data}]}).to_string()
}

#[tokio::test]
async fn a_request_is_answered_in_full() {
    let (status, answer) =
        call(&router(), "POST", "/v2/models/echo/infer", x(&json!([1.5, 2]), &json!([2]), "FP64")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(
        (&answer["id"], &answer["model_name"], &answer["model_version"]),
        (&json!("7"), &json!("echo"), &json!("1"))
    );
    assert_eq!(answer["outputs"], json!([{"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, 2.0]}]));
}

#[tokio::test]
async fn health_and_metadata() {
    let router = router();
    for path in
        ["/v2/health/live", "/v2/health/ready", "/v2", "/v2/models/echo/ready", "/v2/models/echo/versions/1/ready"]
    {
        assert_eq!(call(&router, "GET", path, Body::empty()).await.0, StatusCode::OK, "{path}");
    }
    let (_, metadata) = call(&router, "GET", "/v2/models/echo", Body::empty()).await;
    assert_eq!(metadata["inputs"], json!([{"name": "x", "datatype": "FP64", "shape": [-1]}]));
}

#[tokio::test]
async fn what_does_not_fit_is_the_callers_fault_and_says_so() {
    let router = router();
    let cases = [
        ("not JSON", "{".to_owned()),
        ("no inputs", json!({"inputs": []}).to_string()),
        ("another name", x(&json!([1]), &json!([1]), "FP64").replace("\"x\"", "\"y\"")),
        ("another type", x(&json!([1]), &json!([1]), "INT64")),
        ("an unknown type", x(&json!([1]), &json!([1]), "FP65")),
        ("fewer values than the shape", x(&json!([1]), &json!([2]), "FP64")),
        ("a negative shape", x(&json!([1]), &json!([-1]), "FP64")),
        ("a shape that overflows", x(&json!([1]), &json!([u64::MAX, 3]), "FP64")),
        ("text for a number", x(&json!(["a"]), &json!([1]), "FP64")),
    ];
    for (what, body) in cases {
        let (status, answer) = call(&router, "POST", "/v2/models/echo/infer", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{what}: {answer}");
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{what}: {answer}");
    }
    let body = || x(&json!([1]), &json!([1]), "FP64");
    for path in ["/v2/models/none/infer", "/v2/models/echo/versions/9/infer"] {
        assert_eq!(call(&router, "POST", path, body()).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(call(&router, "GET", "/v2/models/echo/infer", Body::empty()).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_body_breaks_the_server(
        shape in prop::collection::vec(any::<i64>(), 0..4),
        data in prop::collection::vec(prop_oneof![Just(json!(1)), Just(json!(null)), Just(json!([1])), Just(json!("a"))], 0..4),
        cut in 0_usize..200,
    ) {
        let mut body = x(&json!(data), &json!(shape), "FP64");
        body.truncate(body.len() - cut.min(body.len()) / 3);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (status, answer) = runtime.block_on(async { call(&router(), "POST", "/v2/models/echo/infer", body).await });
        prop_assert!(status == StatusCode::OK || status.is_client_error(), "{status}: {answer}");
    }
}
