//! Handlers beside inference: the repository, statistics, configuration, metrics.

use axum::{
    Json,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use mlops_core::{Error, Result, Version};
use serde::Deserialize;
use serde_json::json;

use super::describe::{Config, Statistics};
use crate::{
    protocol::{Answer, known_model, parse_version},
    repository::ModelStatus,
    server::Server,
};

#[derive(Debug, Default, Deserialize)]
struct IndexRequest {
    /// Only what is ready.
    #[serde(default)]
    ready: bool,
}

pub(super) async fn repository_index(State(server): State<Server>, body: Bytes) -> Answer {
    let wanted = if body.iter().all(u8::is_ascii_whitespace) {
        IndexRequest::default()
    } else {
        serde_json::from_slice(&body)
            .map_err(|error| Error::invalid_argument(format!("the request is not an index request: {error}")))?
    };
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

pub(super) async fn load(State(server): State<Server>, Path(model): Path<String>) -> Answer {
    server.repository().load(&known_model(&model)?).await?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn unload(State(server): State<Server>, Path(model): Path<String>) -> Answer {
    server.repository().unload(&known_model(&model)?)?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn all_statistics(State(server): State<Server>) -> Answer {
    statistics(&server, None, None)
}

pub(super) async fn model_statistics(State(server): State<Server>, Path(model): Path<String>) -> Answer {
    statistics(&server, Some(&model), None)
}

pub(super) async fn version_statistics(
    State(server): State<Server>,
    Path((model, version)): Path<(String, String)>,
) -> Answer {
    statistics(&server, Some(&model), Some(parse_version(&version)?))
}

fn statistics(server: &Server, model: Option<&str>, version: Option<Version>) -> Answer {
    Ok(Json(json!({ "model_stats": collect(server, model, version)? })).into_response())
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

pub(super) async fn config(State(server): State<Server>, Path(model): Path<String>) -> Answer {
    configuration(&server, &model, None)
}

pub(super) async fn version_config(
    State(server): State<Server>,
    Path((model, version)): Path<(String, String)>,
) -> Answer {
    configuration(&server, &model, Some(parse_version(&version)?))
}

fn configuration(server: &Server, model: &str, version: Option<Version>) -> Answer {
    let wanted = server.inner.wanted(model, version)?;
    Ok(Json(Config::of(&wanted.entry, &wanted.described_by)).into_response())
}

pub(super) async fn metrics(State(server): State<Server>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], crate::metrics::scrape(&server))
        .into_response()
}
