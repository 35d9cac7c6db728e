//! Azure ML and Vertex AI on the wire.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::json;

use crate::client::{call, everything, post, send};

#[tokio::test]
async fn azure_scores_with_its_headers() {
    let router = everything("add");
    for body in [
        r#"{"input_data":{"columns":["a","b"],"index":[0],"data":[[1,2]]}}"#,
        r#"{"input_data":[{"a":1,"b":2}]}"#,
        r#"{"data":[[1,2]]}"#,
        r#"{"columns":["b","a"],"data":[[2,1]]}"#,
        r#"[[1,2]]"#,
    ] {
        assert_eq!(post(&router, "/score", body).await, json!([3.0]), "{body}");
    }
    let request = |body: &str| {
        let request = Request::post("/score").header("x-ms-request-id", "r7").header("x-ms-client-request-id", "c7");
        request.body(Body::from(body.to_owned())).unwrap()
    };
    let (_, headers, _) = send(&router, request("[[1,2]]")).await;
    assert_eq!(
        (&headers["x-ms-request-id"], &headers["x-ms-client-request-id"]),
        (&"r7".parse().unwrap(), &"c7".parse().unwrap())
    );
    assert_eq!(headers["x-ms-run-function-failed"], "False");
    assert!(headers["x-ms-run-fn-exec-ms"].to_str().unwrap().parse::<f64>().unwrap() >= 0.0);
    let (status, headers, answer) = send(&router, request("{")).await;
    assert_eq!((status, &headers["x-ms-run-function-failed"]), (StatusCode::BAD_REQUEST, &"True".parse().unwrap()));
    assert!(answer["message"].is_string() && !headers.contains_key("x-ms-run-fn-exec-ms"));
}

#[tokio::test]
async fn azure_describes_itself_and_lives() {
    let router = everything("add");
    assert_eq!(call(&router, "GET", "/", Body::empty()).await, (StatusCode::OK, json!("Healthy")));
    assert_eq!(call(&router, "OPTIONS", "/score", Body::empty()).await.0, StatusCode::OK);
    assert_eq!(call(&router, "GET", "/swagger.json", Body::empty()).await.1["swagger"], "2.0");
    assert_eq!(call(&router, "GET", "/swagger.json?version=3", Body::empty()).await.1["openapi"], "3.0.3");
    assert_eq!(call(&router, "GET", "/swagger.json?version=9", Body::empty()).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn vertex_answers_on_the_paths_it_gave() {
    let router = everything("add");
    let body = r#"{"instances":[{"a":1,"b":2}],"parameters":{}}"#;
    assert_eq!(post(&router, "/predict", body).await, json!({"predictions": [3.0]}));
    assert_eq!(call(&router, "GET", "/alive", Body::empty()).await.0, StatusCode::OK);
    assert_eq!(call(&router, "POST", "/predict", "{}").await.0, StatusCode::BAD_REQUEST);
}

#[test]
fn vertex_paths_must_be_paths() {
    for (predict, health) in [("predict", "/h"), ("/p", "/p"), ("/{p}", "/h")] {
        let settings = json!({"protocols": {"vertex": {"predict_route": predict, "health_route": health}}});
        let settings: mlops_serve::ServerSettings = serde_json::from_value(settings).unwrap();
        assert!(settings.validate().unwrap_err().message().contains("vertex"), "{predict} {health}");
    }
}
