//! The routes, with the handlers for health and metadata.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{
    admin, explain, generate, infer,
    wire::{ModelMetadata, ServerMetadata, TensorMetadata},
};
use crate::{
    protocol::{Answer, Named, Operation, Routes},
    server::Server,
    tensor::TensorInfo,
};

/// The routes of the protocol and its extensions.
pub(crate) fn routes(server: &Server) -> Routes {
    const INFER: Operation = Operation::new("Predicts").takes("InferRequest").gives("InferResponse").predicts();
    const GENERATE: Operation =
        Operation::new("Predicts one row of named values").takes("Object").gives("Object").predicts();
    const STREAM: Operation =
        Operation::new("Predicts one row, told as an event").takes("Object").gives_events().predicts();
    const EXPLAIN: Operation =
        Operation::new("Explains predictions").takes("InferRequest").gives("InferResponse").predicts();
    const METADATA: Operation = Operation::new("What a model takes and gives").gives("ModelMetadata");
    const READY: Operation = Operation::new("Whether a model answers").gives("Ready");
    const CONFIG: Operation = Operation::new("How a model is served").gives("Object");
    const STATISTICS: Operation = Operation::new("What models did so far").gives("Statistics");
    let root = Operation::new("Name, version and extensions of the server").gives("ServerMetadata");
    let mut routes = Routes::new()
        .get("/v2/health/live", Operation::new("Whether the process answers").gives("Live").probes(), live)
        .get("/v2/health/ready", Operation::new("Whether every model is in service").gives("Ready").probes(), ready)
        .get("/v2", root.clone(), server_metadata)
        .get("/v2/", root, server_metadata)
        .get("/v2/models", Operation::new("Names of the models").gives("Models"), list_models)
        .get("/v2/models/stats", STATISTICS, admin::all_statistics)
        .get("/v2/models/{model}", METADATA, metadata)
        .get("/v2/models/{model}/ready", READY, model_ready)
        .post("/v2/models/{model}/infer", INFER, infer::infer)
        .post("/v2/models/{model}/explain", EXPLAIN, explain::explain)
        .post("/v2/models/{model}/generate", GENERATE, generate::generate)
        .post("/v2/models/{model}/generate_stream", STREAM, generate::stream)
        .get("/v2/models/{model}/config", CONFIG, admin::config)
        .get("/v2/models/{model}/stats", STATISTICS, admin::statistics)
        .get("/v2/models/{model}/versions/{version}", METADATA, metadata)
        .get("/v2/models/{model}/versions/{version}/config", CONFIG, admin::config)
        .get("/v2/models/{model}/versions/{version}/stats", STATISTICS, admin::statistics)
        .get("/v2/models/{model}/versions/{version}/ready", READY, model_ready)
        .post("/v2/models/{model}/versions/{version}/infer", INFER, infer::infer)
        .post("/v2/models/{model}/versions/{version}/explain", EXPLAIN, explain::explain)
        .post("/v2/models/{model}/versions/{version}/generate", GENERATE, generate::generate)
        .post("/v2/models/{model}/versions/{version}/generate_stream", STREAM, generate::stream)
        .post(
            "/v2/repository/index",
            Operation::new("Models and their states").may_take("IndexRequest").gives("Index").reads(),
            admin::repository_index,
        );
    for kind in ["system", "cuda"] {
        let base = format!("/v2/{kind}sharedmemory");
        routes = routes
            .get(&format!("{base}/status"), Operation::new("Regions of shared memory: none").gives("Index"), no_regions)
            .post(
                &format!("{base}/unregister"),
                Operation::new("Forgets regions: there are none").reads(),
                nothing_to_forget,
            )
            .post(
                &format!("{base}/region/{{region}}/unregister"),
                Operation::new("Forgets a region, of which there are none").reads(),
                nothing_to_forget,
            );
    }
    if server.inner.settings.repository_api {
        routes = routes
            .post(
                "/v2/repository/models/{model}/load",
                Operation::new("Loads a model").may_take("LoadRequest"),
                admin::load_model,
            )
            .post(
                "/v2/repository/models/{model}/unload",
                Operation::new("Unloads a model").may_take("UnloadRequest"),
                admin::unload,
            );
    }
    if server.inner.settings.observe.metrics || server.inner.prometheus.is_some() {
        routes = routes.get("/metrics", Operation::new("Measurements").gives_text(), admin::metrics);
    }
    routes
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
    let mut extensions = vec![
        "binary_tensor_data",
        "classification",
        "generate",
        "model_configuration",
        "parameters",
        "schedule_policy",
        "statistics",
    ];
    if server.inner.settings.repository_api {
        extensions.push("model_repository");
    }
    extensions
}

/// No region is ever registered: clients send their tensors.
async fn no_regions() -> Response {
    Json(json!([])).into_response()
}

/// Clients forget all regions before they begin, which must not fail.
async fn nothing_to_forget() -> StatusCode {
    StatusCode::OK
}

async fn list_models(State(server): State<Server>) -> Response {
    let names: Vec<String> = server.repository().names().iter().map(ToString::to_string).collect();
    Json(json!({ "models": names })).into_response()
}

async fn metadata(State(server): State<Server>, named: Named) -> Answer {
    let wanted = server.inner.wanted(&named.model, named.version()?)?;
    fn tensors(infos: &[TensorInfo]) -> Vec<TensorMetadata<'_>> {
        infos
            .iter()
            .map(|info| TensorMetadata { name: &info.name, datatype: info.data_type.name(), shape: &info.shape })
            .collect()
    }
    let described = &wanted.described_by;
    let metadata = ModelMetadata {
        name: &named.model,
        versions: wanted.state.versions.keys().map(ToString::to_string).collect(),
        platform: &described.platform,
        inputs: tensors(&described.inputs),
        outputs: tensors(&described.outputs),
    };
    Ok(Json(metadata).into_response())
}

async fn model_ready(State(server): State<Server>, named: Named) -> Answer {
    server.inner.wanted(&named.model, named.version()?)?;
    Ok(Json(json!({ "name": named.model, "ready": true })).into_response())
}
