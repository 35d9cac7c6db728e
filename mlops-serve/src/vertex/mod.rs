//! Vertex AI's container contract, on the paths that [`VertexSettings`] names.
//!
//! `{"instances": rows}` is answered by `{"predictions": rows}`. A path that another protocol has already, such as
//! `/ping`, stays with it.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use mlops_core::Result;
use serde_json::json;

use crate::{
    protocol::{
        Answer, Key, Layout, Operation, Read, Routes, Shown, Target, VertexSettings, only_model, predict, read, write,
    },
    repository::LoadedVersion,
    server::{Server, TensorReply},
    tensor::Tensor,
};

const KEYS: &[Key] = &[("instances", Layout::Rows)];

/// Adds the two routes of the contract.
pub(crate) fn with_routes(mut routes: Routes, settings: &VertexSettings) -> Routes {
    let (health, score) = (settings.health_route.as_str(), settings.predict_route.as_str());
    if !routes.has(health, "get") {
        routes = routes.get(health, Operation::new("Whether every model is in service").gives("Ready"), ready);
    }
    if !routes.has(score, "post") {
        routes = routes.post(score, Operation::new("Predicts rows").takes("Predict").gives("Predictions"), answer);
    }
    routes
}

async fn ready(State(server): State<Server>) -> Response {
    let ready = server.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready }))).into_response()
}

async fn answer(
    State(server): State<Server>,
    headers: HeaderMap,
    body: std::result::Result<Bytes, BytesRejection>,
) -> Answer {
    predict(&server, Target::model(only_model(&server)?), &headers, body, read_body, write_body).await
}

fn read_body(body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
    let Read { tensors, shown } = read(body, KEYS, false, version)?;
    Ok((tensors, shown))
}

fn write_body(reply: &TensorReply, shown: Shown) -> Result<Vec<u8>> {
    let mut out = b"{\"predictions\":".to_vec();
    write(reply, shown, false, &mut out)?;
    out.push(b'}');
    Ok(out)
}
