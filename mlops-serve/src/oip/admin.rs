//! Handlers beside inference: the repository, statistics, configuration, metrics.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use mlops_core::{Error, Exposition, Result, Version};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    describe::{Config, Statistics},
    load,
};
use crate::{
    protocol::{Answer, Failure, Incoming, Named, known_model},
    repository::ModelStatus,
    server::Server,
};

#[derive(Debug, Default, Deserialize)]
struct IndexRequest {
    /// Only what is ready; clients that write every field say null where they do not care.
    #[serde(default)]
    ready: Option<bool>,
}

/// What a load or an unload asks beside the model.
#[derive(Debug, Default, Deserialize)]
struct RepositoryRequest {
    #[serde(default)]
    parameters: Option<BTreeMap<String, Value>>,
}

/// A body that may be left out.
async fn asked<T: DeserializeOwned + Default + Send + 'static>(
    server: &Server,
    incoming: &mut Incoming,
) -> std::result::Result<T, Failure> {
    let read = |body: Bytes| {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        serde_json::from_slice(&body)
            .map_err(|error| Error::invalid_argument(format!("the body is not what this path takes: {error}")))
    };
    incoming.body().await?.read(server, read).await
}

pub(super) async fn repository_index(State(server): State<Server>, mut incoming: Incoming) -> Answer {
    let wanted: IndexRequest = asked(&server, &mut incoming).await?;
    let lines =
        server.repository().index().into_iter().filter(|line| !wanted.ready.unwrap_or(false) || line.state == "READY");
    Ok(Json(lines.map(index_line).collect::<Vec<_>>()).into_response())
}

fn index_line(status: ModelStatus) -> Value {
    // Clients of MLServer read no line without a reason.
    let mut line = json!({ "name": status.name, "state": status.state, "reason": status.reason.unwrap_or_default() });
    if let (Some(fields), Some(version)) = (line.as_object_mut(), status.version) {
        fields.insert("version".to_owned(), json!(version.to_string()));
    }
    line
}

pub(super) async fn load_model(State(server): State<Server>, named: Named, mut incoming: Incoming) -> Answer {
    let request: RepositoryRequest = asked(&server, &mut incoming).await?;
    let name = known_model(&named.model)?;
    let parameters = request.parameters.unwrap_or_default().into_iter();
    let parameters = parameters.map(|(key, value)| (key, value.as_str().map(str::to_owned)));
    let wish = load::wish(&name, parameters)?;
    server.repository().load_with(&name, wish.as_ref()).await?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn unload(State(server): State<Server>, named: Named, mut incoming: Incoming) -> Answer {
    let request: RepositoryRequest = asked(&server, &mut incoming).await?;
    let name = known_model(&named.model)?;
    let parameters = request.parameters.unwrap_or_default().into_iter();
    load::check_unload(&name, parameters.map(|(key, value)| (key, value.as_bool())))?;
    server.repository().unload(&name)?;
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
    Ok(Json(Config::of(&wanted)).into_response())
}

pub(super) async fn metrics(State(server): State<Server>) -> Response {
    ([(header::CONTENT_TYPE, Exposition::CONTENT_TYPE)], crate::metrics::scrape(&server)).into_response()
}
