//! `gateway/guardrails/...`.

use axum::Router;
use mlops_core::{Error, Result};
use serde_json::{Value, json};

use super::{
    answer,
    budgets::{PAGE, PAGE_MAX},
    filled, needed, required, store,
};
use crate::{
    evaluation::{EvaluationStore, Scorer},
    gateway::{CreateGuardrail, Guardrail, GuardrailAction, GuardrailStage, PlaceGuardrail, PlacedGuardrail},
    mlflow::{
        Api, DELETE, GET, PATCH, POST,
        answer::{object, page},
        on,
        request::Params,
        scorers,
    },
};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/gateway/guardrails/create", on(POST, create))
        .route("/gateway/guardrails/get", on(GET, get))
        .route("/gateway/guardrails/delete", on(DELETE, delete))
        .route("/gateway/guardrails/list", on(GET, list))
        .route("/gateway/guardrails/add-to-endpoint", on(POST, add))
        .route("/gateway/guardrails/remove-from-endpoint", on(DELETE, remove))
        .route("/gateway/guardrails/list-for-endpoint", on(GET, list_of_endpoint))
        .route("/gateway/guardrails/update-config", on(PATCH, update_config))
}

fn whole(guardrail: &Guardrail) -> Value {
    json!({ "guardrail": answer::guardrail(guardrail) })
}

fn config(placed: &PlacedGuardrail) -> Value {
    json!({ "config": answer::placed(placed) })
}

/// The version of the scorer of this id, whichever experiment it is of.
async fn scorer(evaluation: &dyn EvaluationStore, id: &str, version: i64) -> Result<Scorer> {
    let unknown = || Error::not_found(format!("Scorer version not found (scorer_id='{id}', scorer_version={version})"));
    let newest = evaluation.scorers(&[]).await?.into_iter().find(|scorer| scorer.id == id).ok_or_else(unknown)?;
    let version = u64::try_from(version).map_err(|_| unknown())?;
    evaluation.scorer(newest.experiment, &newest.name, Some(version)).await
}

async fn create(api: Api, params: Params) -> Result<Value> {
    let (name, id) = (needed(&params, "name")?, params.required("scorer_id")?);
    let version = params.required_int("scorer_version")?;
    let stage = required(&params, "stage", GuardrailStage::NAMES)?;
    let action = required(&params, "action", GuardrailAction::NAMES)?;
    let create = CreateGuardrail {
        name,
        scorer: scorer(scorers::store(&api)?.as_ref(), id, version).await?,
        stage,
        action,
        action_endpoint: filled(&params, "action_endpoint_id")?,
        created_by: None,
    };
    create.check()?;
    Ok(whole(&store(&api)?.create_guardrail(create).await?))
}

async fn get(api: Api, params: Params) -> Result<Value> {
    Ok(whole(&store(&api)?.guardrail(params.required("guardrail_id")?).await?))
}

async fn delete(api: Api, params: Params) -> Result<Value> {
    store(&api)?.delete_guardrail(params.required("guardrail_id")?).await?;
    Ok(json!({}))
}

async fn list(api: Api, params: Params) -> Result<Value> {
    let found = store(&api)?.guardrails(&params.page(PAGE, PAGE_MAX)?).await?;
    Ok(page("guardrails", &found, answer::guardrail))
}

async fn add(api: Api, params: Params) -> Result<Value> {
    let place = PlaceGuardrail {
        endpoint: needed(&params, "endpoint_id")?,
        guardrail: needed(&params, "guardrail_id")?,
        order: params.int("execution_order")?,
        created_by: None,
    };
    Ok(config(&store(&api)?.place_guardrail(place).await?))
}

async fn remove(api: Api, params: Params) -> Result<Value> {
    let (endpoint, guardrail) = (params.required("endpoint_id")?, params.required("guardrail_id")?);
    store(&api)?.remove_guardrail(endpoint, guardrail).await?;
    Ok(json!({}))
}

async fn list_of_endpoint(api: Api, params: Params) -> Result<Value> {
    let placed = store(&api)?.guardrails_of(params.required("endpoint_id")?).await?;
    Ok(object([("configs", placed.iter().map(answer::placed).collect())]))
}

async fn update_config(api: Api, params: Params) -> Result<Value> {
    let (endpoint, guardrail) = (params.required("endpoint_id")?, params.required("guardrail_id")?);
    let order = params.int("execution_order")?;
    Ok(config(&store(&api)?.move_guardrail(endpoint, guardrail, order).await?))
}
