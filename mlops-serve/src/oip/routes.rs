//! The routes, with the handlers for health and metadata.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use mlops_core::Version;
use serde_json::json;

use super::{
    admin, infer,
    wire::{ModelMetadata, ServerMetadata, TensorMetadata},
};
use crate::{
    protocol::{Answer, Failure, parse_version},
    server::Server,
    tensor::TensorInfo,
};

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
        .route("/v2/models/{model}/infer", post(infer::infer))
        .route("/v2/models/{model}/config", get(admin::config))
        .route("/v2/models/{model}/stats", get(admin::model_statistics))
        .route("/v2/models/stats", get(admin::all_statistics))
        .route("/v2/models/{model}/versions/{version}", get(version_metadata))
        .route("/v2/models/{model}/versions/{version}/config", get(admin::version_config))
        .route("/v2/models/{model}/versions/{version}/stats", get(admin::version_statistics))
        .route("/v2/models/{model}/versions/{version}/ready", get(version_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(infer::infer_version))
        .route("/v2/repository/index", post(admin::repository_index));
    if server.inner.settings.repository_api {
        router = router
            .route("/v2/repository/models/{model}/load", post(admin::load))
            .route("/v2/repository/models/{model}/unload", post(admin::unload));
    }
    if server.inner.prometheus.is_some() {
        router = router.route("/metrics", get(admin::metrics));
    }
    #[cfg(feature = "grpc")]
    {
        router = router.merge(crate::grpc::routes());
    }
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(limit))
        .with_state(server)
}

async fn unknown_path(headers: HeaderMap) -> Response {
    #[cfg(feature = "grpc")]
    if let Some(answer) = crate::grpc::unknown_method(&headers) {
        return answer;
    }
    // Only calls are told apart by their headers.
    drop(headers);
    Failure::new(StatusCode::NOT_FOUND, "there is nothing at this path").into_response()
}

async fn wrong_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
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
    let extensions = extensions(&server);
    let name = server.inner.settings.name.as_str();
    Json(ServerMetadata { name, version: env!("CARGO_PKG_VERSION"), extensions }).into_response()
}

/// What the server metadata announces, in Triton's words.
pub(crate) fn extensions(server: &Server) -> Vec<&'static str> {
    let mut extensions = vec!["binary_tensor_data", "model_configuration", "parameters", "statistics"];
    if server.inner.settings.repository_api {
        extensions.push("model_repository");
    }
    extensions
}

async fn list_models(State(server): State<Server>) -> Response {
    let names: Vec<String> = server.repository().names().iter().map(ToString::to_string).collect();
    Json(json!({ "models": names })).into_response()
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
