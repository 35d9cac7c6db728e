//! KServe v1 and TensorFlow Serving on the wire.

use axum::{body::Body, http::StatusCode};
use serde_json::{Value, json};

use crate::client::{call, everything, post};

#[tokio::test]
async fn rows_come_back_as_rows_and_columns_as_columns() {
    let router = everything("add");
    let check = async |model: &str, body: &str, expected: Value| {
        assert_eq!(post(&router, &format!("/v1/models/{model}:predict"), body).await, expected, "{model} {body}");
    };
    let sums = json!({"predictions": [3.5, 5.0]});
    check("add", r#"{"instances":[{"a":1.5,"b":2},{"a":1,"b":4}]}"#, sums.clone()).await;
    check("add", r#"{"signature_name":"serving_default","instances":[[1.5,2],[1,4]]}"#, sums).await;
    check("add", r#"{"instances":[{"a":1.5,"b":null}]}"#, json!({"predictions": [1.5]})).await;
    check("add", r#"{"instances":[{"a":1.5}]}"#, json!({"predictions": [1.5]})).await;
    check("add", r#"{"inputs":{"a":[1.5,1],"b":[2,4]}}"#, json!({"outputs": [3.5, 5.0]})).await;
    let rows = json!({"predictions": [{"label": 1, "scores": [1.0, 2.0]}, {"label": 0, "scores": [4.0, 3.0]}]});
    check("pair", r#"{"instances":[[1,2],[4,3]]}"#, rows).await;
    check("pair", r#"{"inputs":[[1,2]]}"#, json!({"outputs": {"label": [1], "scores": [[1.0, 2.0]]}})).await;
    check("pair", r#"{"instances":[]}"#, json!({"predictions": []})).await;
    check("word", r#"{"instances":[{"text":"b"}]}"#, json!({"predictions": ["b"]})).await;
    check("word", r#"{"instances":["a",{"b64":"w6k="}]}"#, json!({"predictions": ["a", "é"]})).await;
}

#[tokio::test]
async fn numbers_that_are_not_finite_are_bare_tokens() {
    let (status, answer) =
        call(&everything("add"), "POST", "/v1/models/add:predict", r#"{"instances":[[NaN,1],[-Infinity,1]]}"#).await;
    assert_eq!((status, answer), (StatusCode::OK, json!("{\"predictions\":[NaN,-Infinity]}")));
}

#[tokio::test]
async fn examples_are_classified_and_regressed() {
    let router = everything("add");
    let classes = post(&router, "/v1/models/pair:classify", r#"{"examples":[{"X":[1,2]}]}"#).await;
    assert_eq!(classes, json!({"result": [[["0", 1.0], ["1", 2.0]]]}));
    let body = r#"{"context":{"b":[10]},"examples":[{"a":[1]},{"a":2}]}"#;
    assert_eq!(post(&router, "/v1/models/add:regress", body).await, json!({"result": [11.0, 12.0]}));
    let (status, answer) = call(&router, "POST", "/v1/models/add:classify", r#"{"examples":[{"a":1}]}"#).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
}

#[tokio::test]
async fn state_and_metadata_have_the_fields_of_both_protocols() {
    let router = everything("add");
    let (_, state) = call(&router, "GET", "/v1/models/pair", Body::empty()).await;
    let available = json!({"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}});
    assert_eq!(state, json!({"name": "pair", "ready": true, "model_version_status": [available.clone()]}));
    for path in ["/v1/models/pair/versions/1", "/v1/models/pair/labels/stable"] {
        assert_eq!(call(&router, "GET", path, Body::empty()).await.1["model_version_status"], json!([available]));
    }
    let (_, metadata) = call(&router, "GET", "/v1/models/pair/metadata", Body::empty()).await;
    assert_eq!(metadata["model_spec"], json!({"name": "pair", "signature_name": "", "version": "1"}));
    let signature = &metadata["metadata"]["signature_def"]["signature_def"]["serving_default"];
    assert_eq!(signature["inputs"]["X"]["dtype"], "DT_FLOAT");
    assert_eq!(
        signature["inputs"]["X"]["tensor_shape"]["dim"],
        json!([{"size": "-1", "name": ""}, {"size": "2", "name": ""}])
    );
    let (_, names) = call(&router, "GET", "/v1/models", Body::empty()).await;
    assert_eq!(names, json!({"models": ["add", "flag", "pair", "word"]}));
}

#[tokio::test]
async fn what_does_not_fit_is_the_callers_fault() {
    let router = everything("add");
    let refused = [
        "{",
        "[]",
        "{}",
        r#"{"instances":1}"#,
        r#"{"instances":[[1,2]],"inputs":{}}"#,
        r#"{"instances":[[1]]}"#,
        r#"{"instances":[{"a":1},{"b":1}]}"#,
        r#"{"instances":[{"a":1,"c":1}]}"#,
        r#"{"instances":[{"a":"1"}]}"#,
        r#"{"instances":[{"a":1,"b":1.5}]}"#,
        r#"{"instances":[{"a":[1]}]}"#,
        r#"{"instances":[{"b":1}]}"#,
        r#"{"inputs":{"a":[1,2],"b":[1]}}"#,
        r#"{"inputs":[1]}"#,
        r#"{"signature_name":"x","instances":[[1,2]]}"#,
    ];
    for body in refused {
        let (status, answer) = call(&router, "POST", "/v1/models/add:predict", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert!(answer["error"].is_string(), "{body}: {answer}");
    }
    let good = r#"{"instances":[[1,2]]}"#;
    for (path, expected) in [
        ("/v1/models/none:predict", 404),
        ("/v1/models/add/versions/9:predict", 404),
        ("/v1/models/add/labels/canary:predict", 404),
        ("/v1/models/add:guess", 404),
        ("/v1/models/add", 404),
        ("/v1/models/add:explain", 501),
    ] {
        assert_eq!(call(&router, "POST", path, good).await.0.as_u16(), expected, "{path}");
    }
    assert_eq!(call(&router, "GET", "/v1/models/add/versions/9", Body::empty()).await.0, StatusCode::NOT_FOUND);
}
