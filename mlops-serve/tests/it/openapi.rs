//! The description of the routes.

use axum::{body::Body, http::StatusCode};
use serde_json::Value;

use crate::client::{call, everything};

#[tokio::test]
async fn every_described_path_is_a_route_and_every_schema_exists() {
    let router = everything("add");
    let (status, document) = call(&router, "GET", "/openapi.json", Body::empty()).await;
    assert_eq!((status, &document["openapi"]), (StatusCode::OK, &Value::from("3.1.0")));
    let paths = document["paths"].as_object().unwrap();
    let mut identifiers = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            identifiers.push(operation["operationId"].to_string());
            let filled = path
                .replace("{version}", "1")
                .replace("{label}", "stable")
                .replace("{model}", "add")
                .replace("{region}", "r");
            let (status, answer) = call(&router, &method.to_uppercase(), &filled, "{}").await;
            let nowhere = answer.to_string().contains("there is nothing at this path");
            let routed = status != StatusCode::METHOD_NOT_ALLOWED && !nowhere;
            assert!(routed, "{method} {filled}: {status} {answer}");
        }
    }
    let count = identifiers.len();
    identifiers.sort();
    identifiers.dedup();
    assert_eq!(identifiers.len(), count, "operation ids are unique");
    for (path, required) in [("repository/models/{model}/load", false), ("models/{model}/infer", true)] {
        let body = &document["paths"][format!("/v2/{path}")]["post"]["requestBody"];
        assert_eq!((&body["required"], body["content"].is_object()), (&Value::from(required), true), "{path}");
    }
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}
