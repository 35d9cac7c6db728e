//! `gateway/secrets/...`. Values go in and never come out.

use std::collections::BTreeMap;

use axum::Router;
use mlops_core::{Error, Result};
use serde_json::{Value, json};

use super::{answer, filled, needed, store};
use crate::{
    gateway::{CreateSecret, Secret, SecretUpdate, SecretValues},
    mlflow::{Api, DELETE, GET, POST, answer::object, on, request::Params},
};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/gateway/secrets/create", on(POST, create))
        .route("/gateway/secrets/get", on(GET, get))
        .route("/gateway/secrets/update", on(POST, update))
        .route("/gateway/secrets/delete", on(DELETE, delete))
        .route("/gateway/secrets/list", on(GET, list))
}

fn whole(secret: &Secret) -> Value {
    json!({ "secret": answer::secret(secret) })
}

/// An object of texts. What is wrong with one may be a secret in the wrong place, so it is not repeated.
fn entries(params: &Params, field: &str) -> Result<BTreeMap<String, String>> {
    params.map(field).map_err(|_| {
        Error::invalid_argument(format!(
            "Invalid value for parameter '{field}' supplied: it must be an object of texts"
        ))
    })
}

/// Those of a field, unless there are none.
fn some(params: &Params, field: &str) -> Result<Option<BTreeMap<String, String>>> {
    Ok(Some(entries(params, field)?).filter(|entries| !entries.is_empty()))
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let name = params.required("secret_name")?;
    if params.value("secret_value").is_none() {
        return Err(params.missing("secret_value"));
    }
    let secret = CreateSecret {
        provider: filled(&params, "provider")?,
        auth: entries(&params, "auth_config")?,
        created_by: filled(&params, "created_by")?,
        ..CreateSecret::new(name, entries(&params, "secret_value")?)
    };
    secret.check()?;
    Ok(whole(&store(&api)?.create_secret(secret).await?))
}

async fn get(api: Api, params: Params) -> Result<Value> {
    Ok(whole(&store(&api)?.secret(params.required("secret_id")?).await?))
}

/// Objects without entries change nothing.
async fn update(api: Api, params: Params) -> Result<Value> {
    let id = needed(&params, "secret_id")?;
    let values = some(&params, "secret_value")?.map(|values| values.into_iter().collect::<SecretValues>());
    let update =
        SecretUpdate { values, auth: some(&params, "auth_config")?, updated_by: filled(&params, "updated_by")? };
    Ok(whole(&store(&api)?.update_secret(&id, update).await?))
}

async fn delete(api: Api, params: Params) -> Result<Value> {
    store(&api)?.delete_secret(params.required("secret_id")?).await?;
    Ok(json!({}))
}

async fn list(api: Api, params: Params) -> Result<Value> {
    let secrets = store(&api)?.secrets(filled(&params, "provider")?.as_deref()).await?;
    Ok(object([("secrets", secrets.iter().map(answer::secret).collect())]))
}
