//! TorchServe's inference and management, and SageMaker's multi-model contract, on the wire.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use mlops_serve::ProtocolSettings;
use serde_json::{Value, json};

use crate::client::{call, everything, post, send, server};

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
    for path in ["/models?limit=&next_page_token=", "/models?limit=-1&next_page_token=-1"] {
        assert_eq!(get(path).await.1["models"].as_array().unwrap().len(), 4, "{path}");
    }
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

/// A form of these parts, each with its value.
fn form(parts: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in parts {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"f\"\r\n\r\n");
        body.extend([head.as_bytes(), value, b"\r\n"].concat());
    }
    body.extend(b"--b--\r\n");
    ("multipart/form-data; boundary=b".to_owned(), body)
}

async fn predict(model: &str, content_type: &str, body: impl Into<Body>) -> (StatusCode, Value) {
    let request = Request::post(format!("/predictions/{model}")).header("content-type", content_type);
    let (status, _, answer) = send(&everything("add"), request.body(body.into()).unwrap()).await;
    (status, answer)
}

#[tokio::test]
async fn forms_have_a_part_for_each_input() {
    type Parts = &'static [(&'static str, &'static [u8])];
    let taken: [(&str, Parts, Value); 8] = [
        ("add", &[("a", b" 1.5 "), ("b", b"2")], json!(3.5)),
        ("add", &[("a", b"1.5")], json!(1.5)),
        ("add", &[("data", br#"[{"a":1,"b":2}]"#)], json!([3.0])),
        ("add", &[("body", br#"{"instances":[[1,2]]}"#)], json!([3.0])),
        ("pair", &[("X", b"[1,2]")], json!({"label": 1, "scores": [1.0, 2.0]})),
        ("flag", &[("flag", b"True")], json!(true)),
        ("word", &[("text", b"\r\n[a]")], json!("\r\n[a]")),
        ("word", &[("data", b"some text")], json!("some text")),
    ];
    for (model, parts, expected) in taken {
        let (content_type, body) = form(parts);
        assert_eq!(predict(model, &content_type, body).await, (StatusCode::OK, expected), "{model} {parts:?}");
    }
    let refused: [(&str, Parts); 10] = [
        ("add", &[]),
        ("add", &[("a", b"x")]),
        ("add", &[("a", b"\xff")]),
        ("add", &[("a", b"1"), ("a", b"1")]),
        ("add", &[("a", b"1"), ("c", b"1")]),
        ("add", &[("data", b"1"), ("a", b"1")]),
        ("add", &[("data", b"{")]),
        ("pair", &[("X", b"[1,")]),
        ("pair", &[("X", b"[1]")]),
        ("word", &[("text", b"a"), ("other", b"1")]),
    ];
    for (model, parts) in refused {
        let (content_type, body) = form(parts);
        let (status, answer) = predict(model, &content_type, body).await;
        assert_eq!((status, &answer["type"]), (StatusCode::BAD_REQUEST, &json!("BadRequestException")), "{parts:?}");
    }
    for (content_type, body) in [("multipart/form-data", "--b--"), ("multipart/form-data; boundary=b", "--b\r\n")] {
        assert_eq!(predict("add", content_type, body).await.0, StatusCode::BAD_REQUEST, "{content_type}");
    }
}

#[tokio::test]
async fn bytes_are_the_value_of_a_model_that_takes_them() {
    for content_type in ["text/plain", "application/octet-stream", "image/jpeg"] {
        assert_eq!(predict("word", content_type, "[\"a\"]").await, (StatusCode::OK, json!("[\"a\"]")));
        assert_eq!(predict("add", content_type, "[[1,2]]").await, (StatusCode::OK, json!([3.0])));
    }
    assert_eq!(predict("word", "application/json", "[\"a\"]").await, (StatusCode::OK, json!(["a"])));
    assert_eq!(predict("word", "application/json", "a").await.0, StatusCode::BAD_REQUEST);
    // As `curl -T FILE` sends it, without any type.
    let router = everything("add");
    for (body, expected) in [("some text", json!("some text")), ("[\"a\"]", json!(["a"]))] {
        assert_eq!(call(&router, "PUT", "/predictions/word", body).await, (StatusCode::OK, expected), "{body}");
    }
}

#[tokio::test]
async fn a_query_is_a_row() {
    let router = everything("add");
    let get = async |path: &str| call(&router, "GET", path, Body::empty()).await;
    assert_eq!(get("/predictions/add?a=1.5&b=2").await, (StatusCode::OK, json!(3.5)));
    assert_eq!(get("/predictions/word/1?data=some+text").await, (StatusCode::OK, json!("some text")));
    assert_eq!(get("/predictions/none?a=1").await.0, StatusCode::NOT_FOUND);
    assert_eq!(get("/predictions/add").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(get("/predictions/add?a=x").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_model_that_is_scaled_is_in_service_or_out_of_it() {
    let router = everything("add");
    let scale = async |path: &str| {
        let (status, answer) = call(&router, "PUT", path, Body::empty()).await;
        (status.as_u16(), answer)
    };
    let workers = async || call(&router, "GET", "/models/add", Body::empty()).await.1[0]["workers"].clone();
    assert!(workers().await.as_array().unwrap().iter().all(|worker| worker["status"] == "READY"));
    for (path, expected) in [
        ("/models/add?min_worker=0", 202),
        ("/models/add?min_worker=1&synchronous=true", 200),
        ("/models/add/1?min_worker=3&max_worker=3", 202),
        ("/models/add?number_gpu=1", 202),
        ("/models/add/9?min_worker=1", 404),
        ("/models/none?min_worker=1", 404),
        ("/models/add?min_worker=2&max_worker=1", 400),
        ("/models/add?min_worker=-1", 400),
        ("/models/add?max_worker=x", 400),
    ] {
        let (status, answer) = scale(path).await;
        assert_eq!(status, expected, "{path}: {answer}");
        assert!(answer["status"].is_string() || answer["type"].is_string(), "{path}: {answer}");
    }
    assert_eq!(post(&router, "/predictions/add", "[[1,2]]").await, json!([3.0]));
    assert_eq!(scale("/models/add?min_worker=0&max_worker=0&synchronous=true").await.0, 200);
    assert_eq!(workers().await, json!([]));
    assert_eq!(call(&router, "POST", "/predictions/add", "[[1,2]]").await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(scale("/models/add?min_worker=1&synchronous=true").await.0, 200);
    assert_eq!(post(&router, "/predictions/add", "[[1,2]]").await, json!([3.0]));
    assert_eq!(call(&router, "DELETE", "/models/add/?synchronous=true", Body::empty()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn sagemaker_alone_is_told_of_one_model_by_an_object() {
    let protocols = serde_json::from_value(json!({"invocations": true})).unwrap();
    let router = server(protocols).into_router();
    let expected = json!({"modelName": "add", "modelUrl": "add"});
    assert_eq!(call(&router, "GET", "/models/add", Body::empty()).await, (StatusCode::OK, expected));
    assert_eq!(call(&router, "GET", "/models/none", Body::empty()).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nothing_of_it_answers_unless_turned_on() {
    let router = server(ProtocolSettings::default()).into_router();
    for path in ["/ping", "/predictions/add", "/models", "/invocations", "/score", "/"] {
        let (status, _) = call(&router, "POST", path, "[]").await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
}
