//! `/models`: what is served, loading and unloading, the version in service.
//!
//! Only mounted when clients may manage the repository.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use mlops_core::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Told;
use crate::{
    protocol::{Operation, Routes, known_model, parse_version},
    server::Server,
};

type Answer = std::result::Result<Response, Told>;

/// Most models on one page, unless the client asks for fewer.
const PAGE_MAX: usize = 100;

pub(crate) fn management() -> Routes {
    const DESCRIBE: Operation = Operation::new("Loaded versions of a model").gives("Anything");
    Routes::new()
        .get("/models", Operation::new("Names of the models").gives("Models"), list)
        .post("/models", Operation::new("Loads a model").takes("LoadModel").gives("Object"), register)
        .get("/models/{model}", DESCRIBE, describe)
        .get("/models/{model}/{version}", DESCRIBE, describe_version)
        .delete("/models/{model}", Operation::new("Unloads a model").gives("Object"), unregister)
        .delete(
            "/models/{model}/{version}",
            Operation::new("Unloads a model whose version in service this is").gives("Object"),
            unregister_version,
        )
        .put(
            "/models/{model}/{version}/set-default",
            Operation::new("Puts a loaded version into service").gives("Object"),
            set_default,
        )
}

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    limit: Option<usize>,
    /// The number of models on the pages before.
    #[serde(default)]
    next_page_token: Option<usize>,
}

async fn list(
    State(server): State<Server>,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Answer {
    let Query(page) = page.map_err(|rejection| Error::invalid_argument(rejection.body_text()))?;
    let (from, limit) = (page.next_page_token.unwrap_or(0), page.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX));
    let names = server.repository().names();
    let models: Vec<Value> = names.iter().skip(from).take(limit).map(|name| named(name.as_str())).collect();
    let next = from.saturating_add(limit);
    let mut body = json!({ "models": models });
    if next < names.len() {
        body["nextPageToken"] = Value::from(next.to_string());
    }
    Ok(Json(body).into_response())
}

/// A model in the words that both protocols share; models have no URL here, so it is their name.
fn named(model: &str) -> Value {
    json!({ "modelName": model, "modelUrl": model })
}

async fn describe(State(server): State<Server>, Path(model): Path<String>) -> Answer {
    versions(&server, &model, None)
}

async fn describe_version(State(server): State<Server>, Path((model, version)): Path<(String, String)>) -> Answer {
    versions(&server, &model, Some(version.as_str()).filter(|version| *version != "all"))
}

fn versions(server: &Server, model: &str, version: Option<&str>) -> Answer {
    let version = version.map(parse_version).transpose()?;
    let entry = server.inner.repository.entry(model)?;
    let state = entry.state();
    let loaded = state.versions.keys().filter(|loaded| version.is_none_or(|wanted| wanted == **loaded));
    let described: Vec<Value> = loaded
        .map(|loaded| {
            json!({
                "modelName": model,
                "modelVersion": loaded.to_string(),
                "modelUrl": model,
                "isDefault": state.default == Some(*loaded),
                "batchSize": entry.config.batch_rows_max,
                "workers": [],
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
    query: Result<Query<Register>, axum::extract::rejection::QueryRejection>,
    body: Bytes,
) -> Answer {
    let from_body = || serde_json::from_slice::<Register>(&body).ok();
    let named = |register: &Register| register.model_name.clone().or_else(|| register.url.clone());
    let query = query.ok().and_then(|Query(register)| named(&register));
    let name = query.or_else(|| from_body().and_then(|register| named(&register)));
    let name = name.ok_or_else(|| Error::invalid_argument("model_name is missing"))?;
    let name = known_model(&name)?;
    if server.inner.repository.entry(name.as_str())?.state().champion().is_some() {
        return Err(Error::already_exists(format!("model \"{name}\" is loaded already")).into());
    }
    server.repository().load(&name).await?;
    Ok(status(&format!("Model \"{name}\" registered")))
}

fn status(text: &str) -> Response {
    (StatusCode::OK, Json(json!({ "status": text }))).into_response()
}

async fn unregister(State(server): State<Server>, Path(model): Path<String>) -> Answer {
    server.repository().unload(&known_model(&model)?)?;
    Ok(status(&format!("Model \"{model}\" unregistered")))
}

async fn unregister_version(State(server): State<Server>, Path((model, version)): Path<(String, String)>) -> Answer {
    let (name, version) = (known_model(&model)?, parse_version(&version)?);
    let state = server.inner.repository.entry(name.as_str())?.state();
    if !state.versions.contains_key(&version) {
        return Err(Error::not_found(format!("model {model:?} has no loaded version {version}")).into());
    }
    if state.versions.len() > 1 {
        return Err(Error::failed_precondition(format!(
            "model {model:?} has other versions loaded; versions that nothing refers to are unloaded by themselves"
        ))
        .into());
    }
    server.repository().unload(&name)?;
    Ok(status(&format!("Model \"{model}\" unregistered")))
}

async fn set_default(State(server): State<Server>, Path((model, version)): Path<(String, String)>) -> Answer {
    let (name, version) = (known_model(&model)?, parse_version(&version)?);
    server.repository().set_default(&name, version)?;
    Ok(status(&format!("Default version successfully updated for model \"{model}\" to \"{version}\"")))
}
