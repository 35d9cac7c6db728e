//! Vertex AI's container contract, on the paths that [`VertexSettings`] names.
//!
//! `{"instances": rows}` is answered by `{"predictions": rows}`, and Open Inference, as clients of Triton behind Vertex AI
//! send it, in its own words; [`REDIRECT`] names the model then. A path that another protocol has already, such as
//! `/ping`, stays with it; one that would take the place of another protocol's in part is refused.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use mlops_core::{Error, Result};
use serde_json::json;

use crate::{
    oip::hosted::{Rows, VERTEX},
    protocol::{
        Answer, Failure, Form, Incoming, Layout, Operation, Routes, Target, VertexSettings, only_model, parse_version,
    },
    server::{Server, TensorReply},
};

static FORM: Form = Form { keys: &[("instances", Layout::Rows)], bare: false, answer: Some("predictions") };

/// The path of Open Inference that a request was meant for, such as `v2/models/MODEL/infer`.
const REDIRECT: &str = "x-vertex-ai-triton-redirect";

/// Whether the two routes take no path that a route with placeholders answers: it would be lost for one model alone.
///
/// # Errors
/// `InvalidArgument` naming both.
pub(crate) fn check(routes: &Routes, settings: &VertexSettings) -> Result<()> {
    for path in [&settings.health_route, &settings.predict_route] {
        if let Some(template) = routes.template_of(path) {
            return Err(Error::invalid_argument(format!(
                "vertex route {path:?} would take the place of {template:?}, which another protocol answers"
            )));
        }
    }
    Ok(())
}

/// Adds the two routes of the contract.
pub(crate) fn with_routes(mut routes: Routes, settings: &VertexSettings) -> Routes {
    let (health, score) = (settings.health_route.as_str(), settings.predict_route.as_str());
    if !routes.has(health, "get") {
        let what = Operation::new("Whether every model is in service").gives("Ready").probes();
        routes = routes.get(health, what, ready);
    }
    if !routes.has(score, "post") {
        let what = Operation::new("Predicts rows").takes("Predict").gives("Predictions").predicts();
        routes = routes.post(score, what, answer);
    }
    routes
}

async fn ready(State(server): State<Server>) -> Response {
    let ready = server.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready }))).into_response()
}

async fn answer(State(server): State<Server>, incoming: Incoming) -> Answer {
    let target = match redirected(&incoming.headers)? {
        Some(target) => target,
        None => Target::model(only_model(&server)?),
    };
    let rows = Rows {
        read: |body: &[u8], version: &_| FORM.read(body, version),
        write: |reply: &TensorReply, shown| FORM.write(reply, shown),
        content_type: "application/json",
    };
    VERTEX.answer(&server, target, incoming, rows).await
}

/// Whom [`REDIRECT`] names, where there is one.
///
/// # Errors
/// 400 for any path but those of `infer`.
fn redirected(headers: &HeaderMap) -> Result<Option<Target>, Failure> {
    let Some(path) = headers.get(REDIRECT) else { return Ok(None) };
    let path = path.to_str().unwrap_or_default().trim_start_matches('/');
    let words: Vec<&str> = path.split('/').collect();
    match words.as_slice() {
        ["v2", "models", model, "infer"] => Ok(Some(Target::model(*model))),
        ["v2", "models", model, "versions", version, "infer"] => {
            Ok(Some(Target { version: Some(parse_version(version)?), ..Target::model(*model) }))
        }
        _ => {
            let text = format!("{REDIRECT} must be v2/models/MODEL/infer or v2/models/MODEL/versions/VERSION/infer");
            Err(Failure::new(StatusCode::BAD_REQUEST, text))
        }
    }
}
