//! Handlers beside inference: the repository, statistics, configuration, metrics.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use mlops_core::{Error, Exposition, Result, Version};
use serde::Deserialize;
use serde_json::json;

use super::describe::{Config, Statistics};
use crate::{
    protocol::{Answer, Incoming, Named, known_model},
    repository::ModelStatus,
    server::Server,
};

#[derive(Debug, Default, Deserialize)]
struct IndexRequest {
    /// Only what is ready.
    #[serde(default)]
    ready: bool,
}

pub(super) async fn repository_index(State(server): State<Server>, mut incoming: Incoming) -> Answer {
    let read = |body: Bytes| {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(IndexRequest::default());
        }
        serde_json::from_slice(&body)
            .map_err(|error| Error::invalid_argument(format!("the request is not an index request: {error}")))
    };
    let wanted = incoming.body().await?.read(&server, read).await?;
    let lines = server.repository().index().into_iter().filter(|line| !wanted.ready || line.state == "READY");
    Ok(Json(lines.map(index_line).collect::<Vec<_>>()).into_response())
}

fn index_line(status: ModelStatus) -> serde_json::Value {
    let mut line = json!({ "name": status.name, "state": status.state });
    if let Some(fields) = line.as_object_mut() {
        fields.extend(status.version.map(|version| ("version".to_owned(), json!(version.to_string()))));
        fields.extend(status.reason.map(|reason| ("reason".to_owned(), json!(reason))));
    }
    line
}

pub(super) async fn load(State(server): State<Server>, named: Named) -> Answer {
    server.repository().load(&known_model(&named.model)?).await?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn unload(State(server): State<Server>, named: Named) -> Answer {
    server.repository().unload(&known_model(&named.model)?)?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn all_statistics(State(server): State<Server>) -> Answer {
    Ok(Json(json!({ "model_stats": collect(&server, None, None)? })).into_response())
}

pub(super) async fn statistics(State(server): State<Server>, named: Named) -> Answer {
    let stats = collect(&server, Some(&named.model), named.version()?)?;
    Ok(Json(json!({ "model_stats": stats })).into_response())
}

/// Statistics of the loaded versions: of all models, one model, or one version.
///
/// # Errors
/// `NotFound` for a model or version that is not loaded.
pub(crate) fn collect(server: &Server, model: Option<&str>, version: Option<Version>) -> Result<Vec<Statistics>> {
    let entries = match model {
        Some(model) => vec![server.inner.repository.entry(model)?],
        None => server.inner.repository.entries(),
    };
    let mut all = Vec::new();
    for entry in entries {
        let state = entry.state();
        let versions = state.versions.values().filter(|loaded| version.is_none_or(|wanted| loaded.version == wanted));
        all.extend(versions.map(|loaded| Statistics::of(entry.config.name.as_str(), loaded)));
    }
    match (model, version) {
        (Some(model), Some(version)) if all.is_empty() => {
            Err(Error::not_found(format!("model {model:?} has no loaded version {version}")))
        }
        _ => Ok(all),
    }
}

pub(super) async fn config(State(server): State<Server>, named: Named) -> Answer {
    let wanted = server.inner.wanted(&named.model, named.version()?)?;
    Ok(Json(Config::of(&wanted.entry, &wanted.described_by)).into_response())
}

pub(super) async fn metrics(State(server): State<Server>) -> Response {
    ([(header::CONTENT_TYPE, Exposition::CONTENT_TYPE)], crate::metrics::scrape(&server)).into_response()
}
