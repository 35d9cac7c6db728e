//! Triton's extensions over REST.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::json;

use crate::client::{call, everything, post, send};

#[tokio::test]
async fn the_largest_classes_are_told_as_text() {
    let router = everything("add");
    let body = |count: &serde_json::Value| {
        json!({
            "inputs": [{"name": "X", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 4, 3]}],
            "outputs": [{"name": "scores", "parameters": {"classification": count}}],
        })
        .to_string()
    };
    let answer = post(&router, "/v2/models/pair/infer", &body(&json!(1))).await;
    let expected =
        json!({"name": "scores", "shape": [2, 1], "datatype": "BYTES", "data": ["2.000000:1", "4.000000:0"]});
    assert_eq!(answer["outputs"], json!([expected]));
    for bad in [json!(0), json!(-1), json!("1"), json!(1.5)] {
        let (status, answer) = call(&router, "POST", "/v2/models/pair/infer", body(&bad)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad}: {answer}");
    }
}

#[tokio::test]
async fn generate_takes_and_gives_named_values() {
    let router = everything("add");
    let answer = post(&router, "/v2/models/word/generate", r#"{"text":"hello","max_tokens":7}"#).await;
    assert_eq!(answer, json!({"model_name": "word", "model_version": "1", "text": "hello"}));
    let answer = post(&router, "/v2/models/pair/versions/1/generate", r#"{"X":[1,2]}"#).await;
    assert_eq!(answer, json!({"model_name": "pair", "model_version": "1", "label": 1, "scores": [1.0, 2.0]}));
    for (model, body) in
        [("word", "{}"), ("word", "[]"), ("word", r#"{"text":["a","b"]}"#), ("pair", r#"{"X":[1,2,3]}"#)]
    {
        let path = format!("/v2/models/{model}/generate");
        assert_eq!(call(&router, "POST", &path, body).await.0, StatusCode::BAD_REQUEST, "{model} {body}");
    }
}

#[tokio::test]
async fn a_generated_stream_is_server_sent_events() {
    let router = everything("add");
    let request = Request::post("/v2/models/word/generate_stream").body(Body::from(r#"{"text":"a\nb"}"#)).unwrap();
    let (status, headers, body) = send(&router, request).await;
    assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &"text/event-stream".parse().unwrap()));
    let expected = "data: {\"model_name\":\"word\",\"model_version\":\"1\",\"text\":\"a\\nb\"}\n\n";
    assert_eq!(body, json!(expected));
}

#[tokio::test]
async fn clients_may_forget_shared_memory_that_there_is_not() {
    let router = everything("add");
    for kind in ["system", "cuda"] {
        let base = format!("/v2/{kind}sharedmemory");
        assert_eq!(call(&router, "POST", &format!("{base}/unregister"), Body::empty()).await.0, StatusCode::OK);
        assert_eq!(call(&router, "GET", &format!("{base}/status"), Body::empty()).await.1, json!([]));
    }
}
