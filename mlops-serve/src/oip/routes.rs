//! The routes. Handlers find the model, hand over, and turn errors into statuses.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use mlops_core::{Error, ErrorKind, Result, Version};
use serde_json::json;

use super::{
    convert,
    wire::{ModelMetadata, ServerMetadata, TensorMetadata},
};
use crate::{
    server::{InferOptions, Server},
    tensor::TensorInfo,
};

const HEADER_LENGTH: &str = "inference-header-content-length";

/// An error as the protocol tells it.
struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(json!({ "error": self.0.message() }))).into_response();
        if matches!(self.0.kind(), ErrorKind::Unavailable | ErrorKind::ResourceExhausted) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

type Answer = std::result::Result<Response, Failure>;

pub(crate) fn router(server: Server) -> Router {
    let limit = server.inner.settings.body_bytes_max;
    let mut router = Router::new()
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2", get(server_metadata))
        .route("/v2/", get(server_metadata))
        .route("/v2/models", get(list_models))
        .route("/v2/models/{model}", get(metadata))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}", get(version_metadata))
        .route("/v2/models/{model}/versions/{version}/ready", get(version_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer_version))
        .route("/v2/repository/index", post(repository_index));
    if server.inner.settings.repository_api {
        router = router
            .route("/v2/repository/models/{model}/load", post(load))
            .route("/v2/repository/models/{model}/unload", post(unload));
    }
    if server.inner.prometheus.is_some() {
        router = router.route("/metrics", get(metrics));
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(limit))
        .with_state(server)
}

async fn unknown_path() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "error": "there is nothing at this path" }))).into_response()
}

async fn wrong_method() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, Json(json!({ "error": "this path does not take this method" }))).into_response()
}

async fn live() -> Response {
    Json(json!({ "live": true })).into_response()
}

async fn ready(State(server): State<Server>) -> Response {
    let ready = server.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready }))).into_response()
}

async fn server_metadata(State(server): State<Server>) -> Response {
    let extensions = vec!["binary_tensor_data", "model_repository", "parameters"];
    let name = server.inner.settings.name.as_str();
    Json(ServerMetadata { name, version: env!("CARGO_PKG_VERSION"), extensions }).into_response()
}

async fn list_models(State(server): State<Server>) -> Response {
    let names: Vec<String> = server.repository().names().iter().map(ToString::to_string).collect();
    Json(json!({ "models": names })).into_response()
}

fn parse_version(text: &str) -> Result<Version> {
    // A segment that is no number of ours names a version that does not exist.
    text.parse().map_err(|_| Error::not_found(format!("there is no model version {text:?}")))
}

async fn metadata(State(server): State<Server>, Path(model): Path<String>) -> Answer {
    describe(&server, &model, None)
}

async fn version_metadata(State(server): State<Server>, Path((model, version)): Path<(String, String)>) -> Answer {
    describe(&server, &model, Some(parse_version(&version)?))
}

fn describe(server: &Server, model: &str, version: Option<Version>) -> Answer {
    let wanted = server.inner.wanted(model, version)?;
    fn tensors(infos: &[TensorInfo]) -> Vec<TensorMetadata<'_>> {
        infos
            .iter()
            .map(|info| TensorMetadata { name: &info.name, datatype: info.data_type.name(), shape: &info.shape })
            .collect()
    }
    let described = &wanted.described_by;
    let metadata = ModelMetadata {
        name: model,
        versions: wanted.state.versions.keys().map(ToString::to_string).collect(),
        platform: &described.platform,
        inputs: tensors(&described.inputs),
        outputs: tensors(&described.outputs),
    };
    Ok(Json(metadata).into_response())
}

async fn model_ready(State(server): State<Server>, Path(model): Path<String>) -> Answer {
    server.inner.wanted(&model, None)?;
    Ok(Json(json!({ "name": model, "ready": true })).into_response())
}

async fn version_ready(State(server): State<Server>, Path((model, version)): Path<(String, String)>) -> Answer {
    server.inner.wanted(&model, Some(parse_version(&version)?))?;
    Ok(Json(json!({ "name": model, "ready": true })).into_response())
}

type Body = std::result::Result<Bytes, BytesRejection>;

async fn infer(State(server): State<Server>, Path(model): Path<String>, headers: HeaderMap, body: Body) -> Response {
    answer(&server, &model, None, &headers, body).await
}

async fn infer_version(
    State(server): State<Server>,
    Path((model, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    answer(&server, &model, Some(version), &headers, body).await
}

async fn answer(server: &Server, model: &str, version: Option<String>, headers: &HeaderMap, body: Body) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return (rejection.status(), Json(json!({ "error": rejection.body_text() }))).into_response(),
    };
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let text = "compressed bodies are not taken; send the body as it is";
        return (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            [(header::ACCEPT_ENCODING, "identity")],
            Json(json!({ "error": text })),
        )
            .into_response();
    }
    try_answer(server, model, version, headers, body).await.unwrap_or_else(IntoResponse::into_response)
}

async fn try_answer(server: &Server, model: &str, version: Option<String>, headers: &HeaderMap, body: Bytes) -> Answer {
    let started = server.inner.clock.monotonic();
    let version = version.as_deref().map(parse_version).transpose()?;
    let wanted = server.inner.wanted(model, version)?;
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (json, binary) = convert::split(&body, text(HEADER_LENGTH))?;
    let checked = convert::check(&json, binary, &wanted.described_by)?;
    let sticky = wanted.state.rollout.as_ref().and_then(|active| active.rollout.settings.sticky_by.clone());
    let routing_key = checked.routing_key.or_else(|| sticky.and_then(|name| text(&name).map(str::to_owned)));
    let options = InferOptions { request_id: checked.id.clone(), version, routing_key, ..InferOptions::default() };
    let reply = server.infer_tensors(wanted, checked.tensors, options, started).await?;
    let (body, header_length) =
        convert::respond((model, reply.version.0), checked.id.as_deref(), &reply.outputs, &checked.wish)?;
    let content_type = if header_length.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
    let headers = response.headers_mut();
    if let Some(length) = header_length {
        headers.insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    headers.insert("mlops-variant", HeaderValue::from_static(reply.variant.as_str()));
    Ok(response)
}

async fn repository_index(State(server): State<Server>) -> Response {
    let line = |status: crate::ModelStatus| {
        let mut line = json!({ "name": status.name, "state": status.state });
        if let Some(fields) = line.as_object_mut() {
            fields.extend(status.version.map(|version| ("version".to_owned(), json!(version.to_string()))));
            fields.extend(status.reason.map(|reason| ("reason".to_owned(), json!(reason))));
        }
        line
    };
    Json(server.repository().index().into_iter().map(line).collect::<Vec<_>>()).into_response()
}

async fn load(State(server): State<Server>, Path(model): Path<String>) -> Answer {
    server.repository().load(&model.parse()?).await?;
    Ok(StatusCode::OK.into_response())
}

async fn unload(State(server): State<Server>, Path(model): Path<String>) -> Answer {
    server.repository().unload(&model.parse()?)?;
    Ok(StatusCode::OK.into_response())
}

async fn metrics(State(server): State<Server>) -> Response {
    let text = server.inner.prometheus.as_ref().map(|meter| meter.render()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
