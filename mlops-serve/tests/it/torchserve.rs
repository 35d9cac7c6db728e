//! TorchServe's inference and management, and SageMaker's multi-model contract, on the wire.

use axum::{body::Body, http::StatusCode};
use mlops_serve::ProtocolSettings;
use serde_json::{Value, json};

use crate::client::{call, everything, post, server};

#[tokio::test]
async fn predictions_are_bare_values() {
    let router = everything("add");
    assert_eq!(post(&router, "/predictions/add", r#"[{"a":1,"b":2}]"#).await, json!([3.0]));
    assert_eq!(post(&router, "/predictions/add/1", r#"{"a":1,"b":2}"#).await, json!(3.0));
    for path in ["/predictions/add", "/predictions/add/1"] {
        assert_eq!(call(&router, "PUT", path, "[[1,2]]").await, (StatusCode::OK, json!([3.0])));
    }
    let document = call(&router, "OPTIONS", "/", "").await;
    assert_eq!(document, call(&router, "GET", "/openapi.json", "").await);
    assert!(document.1["paths"]["/"]["options"].is_object(), "{}", document.1);
    assert_eq!(post(&router, "/predictions/pair", r#"{"X":[1,2]}"#).await, json!({"label": 1, "scores": [1.0, 2.0]}));
}

#[tokio::test]
async fn errors_carry_code_type_and_message() {
    let router = everything("add");
    let check = async |path: &str, body: &str, code: u16, kind: &str| {
        let (status, answer) = call(&router, "POST", path, body.to_owned()).await;
        assert_eq!((status.as_u16(), &answer["code"], &answer["type"]), (code, &json!(code), &json!(kind)), "{path}");
        assert!(answer["message"].is_string());
    };
    check("/predictions/none", "[]", 404, "ModelNotFoundException").await;
    check("/predictions/add/9", "[]", 404, "ModelNotFoundException").await;
    check("/predictions/add", "{", 400, "BadRequestException").await;
    check("/explanations/add", "[]", 501, "InternalServerException").await;
    check("/models", "{}", 400, "BadRequestException").await;
    check("/models?model_name=none", "", 404, "ModelNotFoundException").await;
    check("/models?model_name=add", "", 409, "ConflictStatusException").await;
    check("/predictions/%ff", "[]", 400, "BadRequestException").await;
}

#[tokio::test]
async fn models_are_listed_unloaded_and_loaded() {
    let router = everything("add");
    let get = async |path: &str| -> (StatusCode, Value) { call(&router, "GET", path, Body::empty()).await };
    let (_, page) = get("/models?limit=2").await;
    assert_eq!(page["models"][0], json!({"modelName": "add", "modelUrl": "add"}));
    assert_eq!(page["nextPageToken"], "2");
    let (_, page) = get("/models?limit=2&next_page_token=2").await;
    assert_eq!(page["models"].as_array().unwrap().len(), 2);
    assert_eq!((&page["models"][1]["modelName"], page.get("nextPageToken")), (&json!("word"), None));
    let (_, described) = get("/models/add/all").await;
    assert_eq!((&described[0]["modelVersion"], &described[0]["isDefault"]), (&json!("1"), &json!(true)));
    assert_eq!(get("/models/add/9").await.0, StatusCode::NOT_FOUND);

    assert_eq!(call(&router, "PUT", "/models/add/1/set-default", Body::empty()).await.0, StatusCode::OK);
    assert_eq!(call(&router, "DELETE", "/models/add", Body::empty()).await.0, StatusCode::OK);
    let (status, answer) = call(&router, "POST", "/predictions/add", "[[1,2]]").await;
    assert_eq!((status, &answer["type"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("ServiceUnavailableException")));
    let body = r#"{"model_name":"add","url":"/opt/ml/models/add"}"#;
    assert_eq!(call(&router, "POST", "/models", body).await.0, StatusCode::OK);
    assert_eq!(post(&router, "/predictions/add", "[[1,2]]").await, json!([3.0]));
}

#[tokio::test]
async fn nothing_of_it_answers_unless_turned_on() {
    let router = server(ProtocolSettings::default()).into_router();
    for path in ["/ping", "/predictions/add", "/models", "/invocations", "/score", "/"] {
        let (status, _) = call(&router, "POST", path, "[]").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
}
