//! Vertex AI's container contract, on the paths that [`VertexSettings`] names.
//!
//! `{"instances": rows}` is answered by `{"predictions": rows}`. A path that another protocol has already, such as
//! `/ping`, stays with it; one that would take the place of another protocol's in part is refused.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use mlops_core::{Error, Result};
use serde_json::json;

use crate::{
    protocol::{Answer, Form, Incoming, Layout, Operation, Routes, Target, VertexSettings, only_model},
    server::Server,
};

static FORM: Form = Form { keys: &[("instances", Layout::Rows)], bare: false, answer: Some("predictions") };

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
    FORM.predict(&server, Target::model(only_model(&server)?), incoming).await
}
