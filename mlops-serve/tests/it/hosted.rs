//! Open Inference on the paths of SageMaker and Vertex AI, as clients of Triton send it there.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::client::{call, everything, post};

fn request(data: &Value, outputs: &Value) -> Value {
    let mut input = json!({"name": "X", "shape": [1, 2], "datatype": "FP32"});
    match data {
        Value::Null => input["parameters"] = json!({"binary_data_size": 8}),
        data => input["data"] = data.clone(),
    }
    json!({"id": "7", "inputs": [input], "outputs": outputs})
}

async fn sent(
    router: &Router,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (StatusCode, HeaderMap, Vec<u8>) {
    let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
    let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    (status, headers, to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec())
}

/// The paths, each with the media type of its binary bodies.
const PATHS: [(&str, &str); 3] = [
    ("/invocations", "application/vnd.sagemaker-triton.binary+json"),
    ("/models/pair/invoke", "application/vnd.sagemaker-triton.binary+json"),
    ("/predict", "application/vnd.vertex-ai-triton.binary+json"),
];

#[tokio::test]
async fn a_request_in_json_is_answered_in_its_own_words() {
    let router = everything("pair");
    for (path, _) in PATHS {
        let body = request(&json!([1, 2]), &json!([{"name": "label"}])).to_string();
        let label = json!({"name": "label", "shape": [1], "datatype": "INT64", "data": [1]});
        let expected = json!({"model_name": "pair", "model_version": "1", "id": "7", "outputs": [label]});
        assert_eq!(post(&router, path, &body).await, expected, "{path}");
        let rows = json!({"predictions": [{"label": 1, "scores": [1.0, 2.0]}]});
        assert_eq!(post(&router, path, r#"{"instances":[[1,2]],"note":"\"datatype\""}"#).await, rows, "{path}");
    }
}

#[tokio::test]
async fn binary_tensors_go_both_ways() {
    let router = everything("pair");
    let values: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    for (path, kind) in PATHS {
        let json = request(&Value::Null, &json!([{"name": "scores", "parameters": {"binary_data": true}}])).to_string();
        let content_type = format!("{kind};json-header-size={}", json.len());
        let body = [json.into_bytes(), values.clone()].concat();
        let (status, headers, answer) = sent(&router, path, &[("content-type", &content_type)], body).await;
        assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&answer));
        let length = headers["inference-header-content-length"].to_str().unwrap();
        assert_eq!(&answer[length.parse::<usize>().unwrap()..], &values, "{path}");
        if path != "/predict" {
            assert_eq!(headers["content-type"], format!("{kind};json-header-size={length}"), "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_malformed_is_the_senders_fault() {
    let router = everything("pair");
    let values = [0_u8; 8];
    for (path, kind) in PATHS {
        let json = request(&Value::Null, &json!(null)).to_string();
        let body = [json.as_bytes(), &values].concat();
        for content_type in [
            format!("other/{kind};json-header-size={}", json.len()),
            format!("{kind};json-header-size=x{}", json.len()),
            format!("{kind};json-header-size=-1"),
            format!("{kind};json-header-size=0"),
            format!("{kind};json-header-size=12345"),
            format!("{kind};json-header-size=99999999999999999999"),
            kind.to_owned(),
        ] {
            let (status, _, answer) = sent(&router, path, &[("content-type", &content_type)], body.clone()).await;
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {content_type}: {answer}");
            assert!(answer["message"].is_string() || answer["error"].is_string(), "{path} {content_type}: {answer}");
        }
        let wrong = json!({"inputs": [{"name": "Y", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]});
        let (status, answer) = call(&router, "POST", path, wrong.to_string()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
    }
}

#[tokio::test]
async fn vertex_passes_on_whom_a_request_is_for() {
    let router = everything("add");
    let body = || request(&json!([1, 2]), &json!(null)).to_string().into_bytes();
    for (path, expected) in [
        ("v2/models/pair/infer", 200),
        ("/v2/models/pair/versions/1/infer", 200),
        ("v2/models/pair/versions/9/infer", 404),
        ("v2/models/none/infer", 404),
        ("v2/models/add/infer", 400),
        ("v2/repository/index", 400),
        ("v2/models/pair/../add/infer", 400),
        ("", 400),
    ] {
        let (status, _, answer) = sent(&router, "/predict", &[("x-vertex-ai-triton-redirect", path)], body()).await;
        assert_eq!(status.as_u16(), expected, "{path}: {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_path_without_a_model_takes_one_from_its_query() {
    let router = everything("add");
    let (status, answer) = call(&router, "POST", "/invocations?model_name=pair", "[[1,2]]").await;
    assert_eq!((status, &answer["predictions"][0]["label"]), (StatusCode::OK, &json!(1)));
    assert_eq!(call(&router, "POST", "/invocations?model_name=none", "[]").await.0, StatusCode::NOT_FOUND);
}
