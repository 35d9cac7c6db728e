//! `gateway/model-definitions/...`.

use axum::Router;
use mlops_core::Result;
use serde_json::{Value, json};

use super::{answer, filled, needed, store};
use crate::{
    gateway::{CreateModelDefinition, ModelDefinition, ModelDefinitionUpdate, ModelFilter},
    mlflow::{Api, DELETE, GET, POST, answer::object, failure::invalid_state, on, request::Params},
};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/gateway/model-definitions/create", on(POST, create))
        .route("/gateway/model-definitions/get", on(GET, get))
        .route("/gateway/model-definitions/list", on(GET, list))
        .route("/gateway/model-definitions/update", on(POST, update))
        .route("/gateway/model-definitions/delete", on(DELETE, delete))
}

fn whole(model: &ModelDefinition) -> Value {
    json!({ "model_definition": answer::model(model) })
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let text = |field| params.required(field);
    let (name, secret) = (text("name")?, text("secret_id")?);
    let create = CreateModelDefinition {
        created_by: filled(&params, "created_by")?,
        ..CreateModelDefinition::new(name, secret, text("provider")?, text("model_name")?)
    };
    create.check()?;
    Ok(whole(&store(&api)?.create_model(create).await?))
}

async fn get(api: Api, params: Params) -> Result<Value> {
    Ok(whole(&store(&api)?.model(params.required("model_definition_id")?).await?))
}

async fn list(api: Api, params: Params) -> Result<Value> {
    let filter = ModelFilter { provider: filled(&params, "provider")?, secret: filled(&params, "secret_id")? };
    let models = store(&api)?.models(&filter).await?;
    Ok(object([("model_definitions", models.iter().map(answer::model).collect())]))
}

async fn update(api: Api, params: Params) -> Result<Value> {
    let id = needed(&params, "model_definition_id")?;
    let text = |field| filled(&params, field);
    let update = ModelDefinitionUpdate {
        name: text("name")?,
        secret: text("secret_id")?,
        provider: text("provider")?,
        model_name: text("model_name")?,
        updated_by: text("updated_by")?,
    };
    Ok(whole(&store(&api)?.update_model(&id, update).await?))
}

async fn delete(api: Api, params: Params) -> Result<Value> {
    let deleted = store(&api)?.delete_model(params.required("model_definition_id")?).await;
    deleted.map(|()| json!({})).map_err(invalid_state)
}
