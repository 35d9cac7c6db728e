//! Azure ML and Vertex AI on the wire.

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use serde_json::json;

use crate::client::{call, everything, models, post, send};

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
async fn azure_scores_a_query() {
    let router = everything("add");
    let get = async |path: &str| {
        let request = Request::get(path).header("x-ms-client-request-id", "c7").body(Body::empty()).unwrap();
        let (status, headers, answer) = send(&router, request).await;
        assert_eq!(headers["x-ms-client-request-id"], "c7");
        (status, headers["x-ms-run-function-failed"].to_str().unwrap().to_owned(), answer)
    };
    assert_eq!(get("/score?a=1.5&b=2").await, (StatusCode::OK, "False".to_owned(), json!(3.5)));
    for path in ["/score", "/score?a=x", "/score?c=1", "/score?a=1&a=2"] {
        let (status, failed, answer) = get(path).await;
        assert_eq!((status, failed.as_str()), (StatusCode::BAD_REQUEST, "True"), "{path}");
        assert!(answer["message"].is_string(), "{path}: {answer}");
    }
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
    for (predict, health) in
        [("predict", "/h"), ("/p", "/p"), ("/{p}", "/h"), ("/:p", "/h"), ("/a/:p", "/h"), ("/*p", "/h"), ("/p", "/é")]
    {
        let settings = json!({"protocols": {"vertex": {"predict_route": predict, "health_route": health}}});
        let settings: mlops_serve::ServerSettings = serde_json::from_value(settings).unwrap();
        assert!(settings.validate().unwrap_err().message().contains("vertex"), "{predict} {health}");
    }
}

#[tokio::test]
async fn vertex_paths_must_not_take_the_place_of_others() {
    let build = |predict: &str, health: &str| {
        let settings = json!({"protocols": {"vertex": {"predict_route": predict, "health_route": health}}});
        let settings: mlops_serve::ServerSettings = serde_json::from_value(settings).unwrap();
        mlops_serve::Server::builder(models()).with_settings(settings).build()
    };
    for (predict, health, lost) in [
        ("/v2/models/add/infer", "/h", "/v2/models/{model}/infer"),
        ("/v2/models/add", "/h", "/v2/models/{model}"),
        ("/v1/models/add:predict", "/h", "/v1/models/{model}"),
        ("/p", "/v2/models/add/ready", "/v2/models/{model}/ready"),
    ] {
        let error = build(predict, health).unwrap_err();
        assert_eq!(error.kind(), mlops_core::ErrorKind::InvalidArgument);
        assert!(error.message().contains(lost), "{predict} {health}: {error}");
    }
    let vertex = "/v1/endpoints/7/deployedModels/8";
    let router = build(&format!("{vertex}:predict"), vertex).unwrap().into_router();
    assert_eq!(call(&router, "GET", vertex, Body::empty()).await.0, StatusCode::OK, "as Vertex itself names them");
    let router = build("/v2/health/ready", "/metrics").unwrap().into_router();
    assert_eq!(call(&router, "GET", "/metrics", Body::empty()).await.0, StatusCode::OK, "a path of its own stays");
}

#[tokio::test]
async fn what_cannot_be_taken_from_a_request_is_told_in_the_protocols_form() {
    let router = everything("add");
    for (method, path, key) in [
        ("GET", "/v2/models/%ff", "error"),
        ("GET", "/v1/models/%ff", "error"),
        ("POST", "/models/%ff/invoke", "message"),
        ("GET", "/models?limit=x", "message"),
        ("GET", "/swagger.json?version=1&version=2", "message"),
    ] {
        let (status, answer) = call(&router, method, path, "{}").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
        assert!(answer[key].is_string(), "{path}: {answer}");
    }
    for (method, path, status, key) in [
        ("GET", "/nothing", 404, "error"),
        ("GET", "/v2/models/add/infer", 405, "error"),
        ("GET", "/predictions", 404, "type"),
        ("DELETE", "/predictions/add", 405, "type"),
        ("PUT", "/models", 405, "type"),
        ("GET", "/invocations", 405, "error_code"),
        ("PUT", "/score", 405, "message"),
    ] {
        let (found, answer) = call(&router, method, path, "{}").await;
        assert_eq!(found.as_u16(), status, "{method} {path}: {answer}");
        assert!(answer[key].is_string(), "{method} {path}: {answer}");
    }
    let settings = mlops_serve::ServerSettings { body_bytes_max: 8, ..mlops_serve::ServerSettings::default() };
    let router = mlops_serve::Server::builder(models()).with_settings(settings).build().unwrap().into_router();
    for path in ["/v2/repository/index", "/v2/models/add/infer"] {
        let (status, answer) = call(&router, "POST", path, "[1, 2, 3, 4]").await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        assert!(answer["error"].is_string(), "{path}: {answer}");
    }
}
