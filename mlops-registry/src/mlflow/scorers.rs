//! `scorers/...` of the third API: how outputs are judged, kept for clients that judge.

use std::sync::Arc;

use axum::Router;
use mlops_core::Result;
use serde_json::{Value, json};

use super::{Api, DELETE, GET, POST, answer::object, on, place::part, request::Params};
use crate::{
    ExperimentId,
    evaluation::{EvaluationStore, RegisterScorer, Scorer},
};

/// Below `/api/3.0/mlflow`.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/scorers/register", on(POST, register))
        .route("/scorers/list", on(GET, list))
        .route("/scorers/versions", on(GET, versions))
        .route("/scorers/get", on(GET, get))
        .route("/scorers/delete", on(DELETE, delete))
}

pub(super) fn store(api: &Api) -> Result<&Arc<dyn EvaluationStore>> {
    part(&api.evaluation, "scorers", "with_evaluation")
}

pub(super) fn answer(scorer: &Scorer) -> Value {
    json!({
        "experiment_id": scorer.experiment.0,
        "scorer_name": scorer.name,
        "scorer_version": scorer.version,
        "serialized_scorer": scorer.serialized,
        "creation_time": scorer.created.as_millis(),
        "scorer_id": scorer.id,
    })
}

fn answers(scorers: &[Scorer]) -> Value {
    object([("scorers", scorers.iter().map(answer).collect())])
}

/// The experiment that is named, which must exist.
async fn experiment(api: &Api, params: &Params) -> Result<ExperimentId> {
    Ok(api.tracking.experiment(params.experiment_id()?).await?.id)
}

/// The version that is named, if one is; 0 and less name none that exists.
fn version(params: &Params) -> Result<Option<u64>> {
    Ok(params.int("version")?.map(|version| u64::try_from(version).unwrap_or_default()))
}

async fn register(api: Api, params: Params) -> Result<Value> {
    let id = params.experiment_id()?;
    let scorer = RegisterScorer::new(id, params.required("name")?, params.required("serialized_scorer")?);
    scorer.check()?;
    experiment(&api, &params).await?;
    let made = store(&api)?.register_scorer(scorer).await?;
    Ok(json!({
        "version": made.version,
        "scorer_id": made.id,
        "experiment_id": made.experiment.to_string(),
        "name": made.name,
        "serialized_scorer": made.serialized,
        "creation_time": made.created.as_millis(),
    }))
}

async fn list(api: Api, params: Params) -> Result<Value> {
    let mut experiments = params.experiment_ids()?;
    if params.text("experiment_id")?.is_some_and(|id| !id.is_empty()) {
        experiments.push(experiment(&api, &params).await?);
    }
    Ok(answers(&store(&api)?.scorers(&experiments).await?))
}

async fn versions(api: Api, params: Params) -> Result<Value> {
    let (id, name) = (experiment(&api, &params).await?, params.required("name")?);
    Ok(answers(&store(&api)?.scorer_versions(id, name).await?))
}

async fn get(api: Api, params: Params) -> Result<Value> {
    let (id, name) = (experiment(&api, &params).await?, params.required("name")?);
    Ok(json!({ "scorer": answer(&store(&api)?.scorer(id, name, version(&params)?).await?) }))
}

/// Deletes a version, or all of them when none is named.
async fn delete(api: Api, params: Params) -> Result<Value> {
    let (id, name) = (experiment(&api, &params).await?, params.required("name")?);
    store(&api)?.delete_scorer(id, name, version(&params)?).await?;
    Ok(json!({}))
}
