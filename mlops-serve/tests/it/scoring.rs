//! SageMaker and MLflow scoring on the wire.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::{Value, json};

use crate::client::{call, everything, send};

async fn score(model: &str, kind: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::post("/invocations")
        .header("content-type", kind)
        .header("x-amzn-sagemaker-custom-attributes", "trace-7")
        .body(Body::from(body.to_owned()))
        .unwrap();
    let (status, headers, answer) = send(&everything(model), request).await;
    assert_eq!(headers["x-amzn-sagemaker-custom-attributes"], "trace-7");
    (status, answer)
}

async fn check(model: &str, kind: &str, body: &str, expected: Value) {
    assert_eq!(score(model, kind, body).await, (StatusCode::OK, json!({ "predictions": expected })), "{kind} {body}");
}

#[tokio::test]
async fn every_form_of_mlflow_is_read() {
    let json_kind = "application/json; charset=utf-8";
    let sums = json!([3.0, 1.0]);
    check(
        "add",
        json_kind,
        r#"{"dataframe_split":{"index":[0,1],"columns":["b","a"],"data":[[2,1],[null,1]]}}"#,
        sums.clone(),
    )
    .await;
    check("add", json_kind, r#"{"dataframe_records":[{"a":1,"b":2},{"a":1,"b":null}]}"#, sums.clone()).await;
    check("add", json_kind, r#"{"instances":[[1,2],[1,0]],"params":{"x":1}}"#, sums.clone()).await;
    check("add", json_kind, r#"{"inputs":{"a":[1,1],"b":[2,0]}}"#, sums.clone()).await;
    let label = json!([{"label": 1, "scores": [1.0, 2.0]}]);
    for body in [
        r#"{"dataframe_split":{"columns":["first","second"],"data":[[1,2]]}}"#,
        r#"{"dataframe_split":{"index":[0],"columns":[0,1],"data":[[1,2]]}}"#,
        r#"{"dataframe_records":[{"z":1,"a":2}]}"#,
        r#"{"dataframe_records":[{"X":[1,2]}]}"#,
        r#"{"dataframe_records":[[1,2]]}"#,
    ] {
        check("pair", json_kind, body, label.clone()).await;
    }
    for body in [
        r#"{"dataframe_records":[{"z":1,"a":2},{"z":1,"b":2}]}"#,
        r#"{"dataframe_records":[{"z":1}]}"#,
        r#"{"dataframe_records":[{"X":1,"a":2}]}"#,
        r#"{"dataframe_split":{"columns":[0,null],"data":[[1,2]]}}"#,
        r#"{"instances":[{"z":1,"a":2}]}"#,
    ] {
        assert_eq!(score("pair", json_kind, body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn csv_and_json_lines_are_rows() {
    let sums = json!([3.0, 1.0]);
    check("add", "text/csv", "b,a\n2,1\n,1\n", sums.clone()).await;
    check("add", "text/csv", "1,2\r\n1,0", sums.clone()).await;
    check("add", "application/jsonlines", "{\"a\":1,\"b\":2}\n\n{\"a\":1,\"b\":0}\n", sums).await;
    let label = json!([{"label": 1, "scores": [1.0, 2.0]}]);
    check("pair", "text/csv", "1,2", label.clone()).await;
    check("pair", "text/csv", "first,second\n1,2", label).await;
    check("flag", "text/csv", "TRUE\nfalse", json!([true, false])).await;
    check("word", "text/csv", "text\n\"a,\"\"b\"\"\"\n\"\"", json!(["a,\"b\"", ""])).await;
}

#[tokio::test]
async fn csv_is_answered_where_it_is_asked_for() {
    for (model, body, expected) in
        [("pair", "1,2\n4,3", "1,1.0,2.0\n0,4.0,3.0\n"), ("word", "\"a\"\"b\"", "\"a\"\"b\"\n")]
    {
        let request = Request::post("/invocations").header("content-type", "text/csv").header("accept", "text/csv");
        let request = request.body(Body::from(body)).unwrap();
        let (status, headers, answer) = send(&everything(model), request).await;
        assert_eq!((status, &headers["content-type"]), (StatusCode::OK, &"text/csv".parse().unwrap()), "{answer}");
        assert_eq!(answer, json!(expected));
    }
}

#[tokio::test]
async fn errors_are_told_in_mlflows_words() {
    let cases = [
        ("application/json", "{"),
        ("application/json", r#"{"dataframe_split":{"columns":["a"],"data":[[1,2]]}}"#),
        ("application/json", r#"{"dataframe_split":[]}"#),
        ("application/json", r#"{"instances":[[1,2]],"inputs":{}}"#),
        ("text/csv", ""),
        ("text/csv", "1\n1,2"),
        ("text/csv", "1,x"),
        ("text/csv", "1,\"2"),
        ("text/csv", "1],[2,3"),
        ("application/jsonlines", "{\"a\":1}\n{"),
    ];
    for (kind, body) in cases {
        let (status, answer) = score("add", kind, body).await;
        assert_eq!(
            (status, &answer["error_code"]),
            (StatusCode::BAD_REQUEST, &json!("BAD_REQUEST")),
            "{body}: {answer}"
        );
        assert!(answer["message"].is_string(), "{answer}");
    }
    for body in ["1],[2", "true,[1", "yes", "1"] {
        assert_eq!(score("flag", "text/csv", body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(score("add", "image/png", "x").await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(score("none", "application/json", "[]").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_contracts_other_routes_answer() {
    let router = everything("add");
    assert_eq!(call(&router, "GET", "/ping", Body::empty()).await, (StatusCode::OK, json!({"status": "Healthy"})));
    assert_eq!(call(&router, "GET", "/health", Body::empty()).await.0, StatusCode::OK);
    assert_eq!(call(&router, "GET", "/version", Body::empty()).await.1, json!(env!("CARGO_PKG_VERSION")));
    let (_, batch) = call(&router, "GET", "/execution-parameters", Body::empty()).await;
    assert_eq!(batch["BatchStrategy"], "MULTI_RECORD");
    let (status, answer) = call(&router, "POST", "/models/pair/invoke", "[[1,2]]").await;
    assert_eq!((status, &answer["predictions"][0]["label"]), (StatusCode::OK, &json!(1)));
}

#[tokio::test]
async fn a_path_without_a_model_needs_one_to_be_chosen() {
    let protocols = serde_json::from_str(r#"{"invocations":true}"#).unwrap();
    let (status, answer) = call(&crate::client::server(protocols).into_router(), "POST", "/invocations", "[]").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer["message"].as_str().unwrap().contains("default_model"), "{answer}");
}
