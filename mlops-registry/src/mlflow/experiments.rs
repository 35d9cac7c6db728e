//! `experiments/...`.

use mlops_core::{Error, Result};
use serde_json::{Value, json};

use super::{Api, answer, request::Params};
use crate::CreateExperiment;

pub(super) async fn create(api: Api, params: Params) -> Result<Value> {
    let options =
        CreateExperiment { artifact_location: params.owned("artifact_location")?, tags: params.pairs("tags")? };
    if let Some(location) = &options.artifact_location {
        check_location(location)?;
    }
    let id = api.tracking.create_experiment(params.required("name")?, options).await?;
    Ok(json!({ "experiment_id": id.to_string() }))
}

fn check_location(location: &str) -> Result<()> {
    if location.contains(['#', '?']) || location.starts_with("runs:") {
        return Err(Error::invalid_argument(format!(
            "Invalid artifact location: {location:?}; it must be a directory without '#', '?' or the scheme runs:"
        )));
    }
    Ok(())
}

pub(super) async fn get(api: Api, params: Params) -> Result<Value> {
    let found = api.tracking.experiment(params.experiment_id()?).await?;
    Ok(json!({ "experiment": answer::experiment(&found) }))
}

pub(super) async fn get_by_name(api: Api, params: Params) -> Result<Value> {
    let name = params.required("experiment_name")?;
    let found = api.tracking.experiment_by_name(name).await?;
    let found = found.ok_or_else(|| Error::not_found(format!("Could not find experiment with name '{name}'")))?;
    Ok(json!({ "experiment": answer::experiment(&found) }))
}

pub(super) async fn search(api: Api, params: Params) -> Result<Value> {
    let search = params.search("view_type", params.page(1_000, 50_000)?)?;
    let page = api.tracking.search_experiments(&search).await?;
    Ok(answer::page("experiments", &page, answer::experiment))
}

pub(super) async fn update(api: Api, params: Params) -> Result<Value> {
    api.tracking.rename_experiment(params.experiment_id()?, params.required("new_name")?).await?;
    Ok(json!({}))
}

pub(super) async fn delete(api: Api, params: Params) -> Result<Value> {
    api.tracking.delete_experiment(params.experiment_id()?).await?;
    Ok(json!({}))
}

pub(super) async fn restore(api: Api, params: Params) -> Result<Value> {
    api.tracking.restore_experiment(params.experiment_id()?).await?;
    Ok(json!({}))
}

pub(super) async fn set_tag(api: Api, params: Params) -> Result<Value> {
    api.tracking.set_experiment_tags(params.experiment_id()?, &[params.pair()?]).await?;
    Ok(json!({}))
}

pub(super) async fn delete_tag(api: Api, params: Params) -> Result<Value> {
    api.tracking.delete_experiment_tag(params.experiment_id()?, params.required("key")?).await?;
    Ok(json!({}))
}
