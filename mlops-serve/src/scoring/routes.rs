//! The routes.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use mlops_core::ErrorKind;
use serde_json::json;

use super::convert::{self, Form};
use crate::{
    protocol::{Failure, Operation, Routes, Target, only_model, predict},
    server::Server,
};

type Body = Result<Bytes, BytesRejection>;

/// Passed through by SageMaker in both directions.
const CUSTOM_ATTRIBUTES: &str = "x-amzn-sagemaker-custom-attributes";

/// `/ping`, which TorchServe has too.
pub(crate) fn ping() -> Routes {
    Routes::new().get("/ping", Operation::new("Whether the server answers").gives("Object"), healthy)
}

pub(crate) fn routes() -> Routes {
    const SCORE: Operation = Operation::new("Predicts rows").takes("Scoring").gives("Predictions");
    Routes::new()
        .get("/health", Operation::new("Whether the server answers").gives("Object"), healthy)
        .get("/version", Operation::new("Version of the server").gives_text(), version)
        .get("/execution-parameters", Operation::new("How batch transform calls").gives("Object"), parameters)
        .post("/invocations", SCORE, invocations)
        .post("/models/{model}/invoke", SCORE, invoke)
}

async fn healthy(State(server): State<Server>) -> Response {
    if server.is_ready() {
        return Json(json!({ "status": "Healthy" })).into_response();
    }
    (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "status": "Unhealthy" }))).into_response()
}

async fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

async fn parameters(State(server): State<Server>) -> Response {
    let settings = &server.inner.settings;
    let body = json!({
        "MaxConcurrentTransforms": settings.workers,
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": settings.body_bytes_max >> 20,
    });
    Json(body).into_response()
}

async fn invocations(State(server): State<Server>, headers: HeaderMap, body: Body) -> Response {
    match only_model(&server) {
        Ok(model) => score(&server, model, &headers, body).await,
        Err(error) => told(&error.into()),
    }
}

async fn invoke(State(server): State<Server>, Path(model): Path<String>, headers: HeaderMap, body: Body) -> Response {
    score(&server, model, &headers, body).await
}

async fn score(server: &Server, model: String, headers: &HeaderMap, body: Body) -> Response {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(form) = Form::of(content_type) else {
        let text = "the content type must be application/json, application/jsonlines or text/csv";
        return told(&Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    };
    let read = move |body: &[u8], version: &_| convert::read_body(form, body, version);
    let answer = predict(server, Target::model(model), headers, body, read, convert::write_predictions).await;
    let mut response = answer.unwrap_or_else(|failure| told(&failure));
    if let Some(attributes) = headers.get(CUSTOM_ATTRIBUTES) {
        response.headers_mut().insert(CUSTOM_ATTRIBUTES, attributes.clone());
    }
    response
}

/// An error in MLflow's words.
fn told(failure: &Failure) -> Response {
    let code = match failure.status {
        StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::PAYLOAD_TOO_LARGE => "BAD_REQUEST",
        status => ErrorKind::from_http_status(status.as_u16()).mlflow_code(),
    };
    failure.told_as(&json!({ "error_code": code, "message": failure.text }))
}
