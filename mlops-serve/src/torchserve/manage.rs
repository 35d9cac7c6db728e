//! `/models`: what is served, loading and unloading, the version in service.
//!
//! Only mounted when clients may manage the repository.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use mlops_core::{Error, ModelName, Result, Version};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{failure::Told, page::Page, scale::scale};
use crate::{
    protocol::{Failure, Incoming, Named, Operation, Queried, Routes, known_model, parse_version},
    server::Server,
};

pub(super) type Answer = std::result::Result<Response, Told>;
pub(super) type Asked = std::result::Result<Named, Failure>;

pub(crate) fn management() -> Routes {
    const DESCRIBE: Operation = Operation::new("Loaded versions of a model").gives("Anything");
    const SCALE: Operation =
        Operation::new("Loads a model, or unloads it when it is to have no workers").gives("Object");
    const UNLOAD: Operation = Operation::new("Unloads a model").gives("Object");
    Routes::new()
        .get("/models", Operation::new("Names of the models").gives("Models"), list)
        .post("/models", Operation::new("Loads a model").takes("LoadModel").gives("Object"), register)
        .get("/models/{model}", DESCRIBE, describe)
        .get("/models/{model}/{version}", DESCRIBE, describe)
        .put("/models/{model}", SCALE, scale)
        .put("/models/{model}/{version}", SCALE, scale)
        .delete("/models/{model}", UNLOAD, unregister)
        .delete("/models/{model}/", UNLOAD, unregister)
        .delete(
            "/models/{model}/{version}",
            Operation::new("Unloads a model whose version in service this is").gives("Object"),
            unregister,
        )
        .put(
            "/models/{model}/{version}/set-default",
            Operation::new("Puts a loaded version into service").gives("Object"),
            set_default,
        )
}

async fn list(State(server): State<Server>, page: std::result::Result<Queried<Page>, Failure>) -> Answer {
    let Queried(page) = page?;
    let (from, limit) = (page.from()?, page.limit()?);
    let names = server.repository().names();
    let models: Vec<Value> = names.iter().skip(from).take(limit).map(|name| named(name.as_str())).collect();
    let next = from.saturating_add(limit);
    let body = match next < names.len() {
        true => json!({ "models": models, "nextPageToken": next.to_string() }),
        false => json!({ "models": models }),
    };
    Ok(Json(body).into_response())
}

/// A model in the words that both protocols share; models have no URL here, so it is their name.
fn named(model: &str) -> Value {
    json!({ "modelName": model, "modelUrl": model })
}

async fn describe(State(server): State<Server>, named: Asked) -> Answer {
    let Named { model, version, .. } = named?;
    let version = version.as_deref().filter(|version| *version != "all").map(parse_version).transpose()?;
    let entry = server.inner.repository.entry(&model)?;
    let settings = &server.inner.settings;
    if !settings.protocols.torchserve {
        return Ok(Json(self::named(&model)).into_response());
    }
    let state = entry.state();
    let workers = if state.champion().is_some() { settings.workers } else { 0 };
    let loaded = state.versions.keys().filter(|loaded| version.is_none_or(|wanted| wanted == **loaded));
    let described: Vec<Value> = loaded
        .map(|loaded| {
            json!({
                "modelName": model,
                "modelVersion": loaded.to_string(),
                "modelUrl": model,
                "isDefault": state.default == Some(*loaded),
                "minWorkers": workers,
                "maxWorkers": workers,
                "batchSize": entry.batching(&state).rows_max,
                "maxBatchDelay": u64::try_from(entry.batching(&state).delay.as_millis()).unwrap_or(u64::MAX),
                "workers": (0..workers).map(worker).collect::<Vec<_>>(),
            })
        })
        .collect();
    match version {
        Some(version) if described.is_empty() => {
            Err(Error::not_found(format!("model {model:?} has no loaded version {version}")).into())
        }
        _ => Ok(Json(described).into_response()),
    }
}

/// One of those that all models share.
fn worker(id: usize) -> Value {
    json!({ "id": id.to_string(), "status": "READY" })
}

/// The names that TorchServe takes in the query and SageMaker in the body. What else they say (handlers, workers) has
/// no meaning here.
#[derive(Debug, Default, Deserialize)]
struct Register {
    #[serde(default)]
    model_name: Option<String>,
    #[serde(default)]
    url: Option<String>,
}

async fn register(
    State(server): State<Server>,
    query: std::result::Result<Queried<Register>, Failure>,
    mut incoming: Incoming,
) -> Answer {
    let Queried(query) = query?;
    let named = |register: Register| register.model_name.or_else(|| register.url.as_deref().map(archived));
    let name = match named(query) {
        Some(name) => Some(name),
        // A body that is no JSON names no model.
        None => {
            incoming.body().await?.read(&server, |body| Ok(serde_json::from_slice(&body).ok())).await?.and_then(named)
        }
    };
    let name = name.ok_or_else(|| Error::invalid_argument("model_name is missing"))?;
    let name = known_model(&name)?;
    let served = server.inner.repository.entry(name.as_str());
    if served.is_ok_and(|entry| entry.state().champion().is_some()) {
        return Err(Error::already_exists(format!("model \"{name}\" is loaded already")).into());
    }
    server.repository().load(&name).await?;
    Ok(status(&format!("Model \"{name}\" registered")))
}

/// The name of the model that an archive or directory holds, as TorchServe takes it from its URL.
fn archived(url: &str) -> String {
    let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    last.strip_suffix(".mar").unwrap_or(last).to_owned()
}

fn status(text: &str) -> Response {
    (StatusCode::OK, Json(json!({ "status": text }))).into_response()
}

async fn unregister(State(server): State<Server>, named: Asked) -> Answer {
    let named = named?;
    let (name, model) = (known_model(&named.model)?, &named.model);
    if let Some(version) = named.version()? {
        check_only(&server, &name, version)?;
    }
    server.repository().unload(&name)?;
    Ok(status(&format!("Model \"{model}\" unregistered")))
}

/// Versions beside others are unloaded by the repository, when nothing refers to them.
pub(super) fn check_only(server: &Server, name: &ModelName, version: Version) -> Result<()> {
    let state = server.inner.repository.entry(name.as_str())?.state();
    if !state.versions.contains_key(&version) {
        return Err(Error::not_found(format!("model \"{name}\" has no loaded version {version}")));
    }
    if state.versions.len() > 1 {
        return Err(Error::failed_precondition(format!(
            "model \"{name}\" has other versions loaded; versions that nothing refers to are unloaded by themselves"
        )));
    }
    Ok(())
}

async fn set_default(State(server): State<Server>, named: Asked) -> Answer {
    let Named { model, version, .. } = named?;
    let (name, version) = (known_model(&model)?, parse_version(&version.unwrap_or_default())?);
    server.repository().set_default(&name, version)?;
    Ok(status(&format!("Default version successfully updated for model \"{model}\" to \"{version}\"")))
}
