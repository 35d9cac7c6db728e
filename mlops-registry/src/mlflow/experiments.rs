//! `experiments/...`.

use mlops_core::{Error, Result};
use serde_json::{Value, json};
use url::Url;

use super::{Api, answer, request::Params};
use crate::CreateExperiment;

pub(super) async fn create(api: Api, params: Params) -> Result<Value> {
    let location = params.text("artifact_location")?.filter(|location| !location.is_empty());
    let artifact_location = location.map(checked_location).transpose()?;
    let options = CreateExperiment { artifact_location, tags: params.pairs("tags")? };
    let id = api.tracking.create_experiment(params.required("name")?, options).await?;
    Ok(json!({ "experiment_id": id.to_string() }))
}

/// A location that runs can keep files below; a relative path begins at the directory of this program.
fn checked_location(location: &str) -> Result<String> {
    let bad = || {
        Error::invalid_argument(format!(
            "Invalid artifact location: {location:?}; it must be a directory without '#', '?' or the scheme runs:"
        ))
    };
    if location.contains(['#', '?']) || location.starts_with("runs:") {
        return Err(bad());
    }
    if Url::parse(location).is_ok() {
        return Ok(location.to_owned());
    }
    let absolute = std::path::absolute(location).map_err(|error| bad().with_source(error))?;
    absolute.into_os_string().into_string().map_err(|_| bad())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_location_begins_at_the_programs_directory() {
        for kept in ["s3://bucket/a", "file:///srv/a", "/srv/a", "mlflow-artifacts:/7"] {
            assert_eq!(checked_location(kept).unwrap(), kept);
        }
        let made = checked_location("here/below").unwrap();
        assert!(made.starts_with('/') && made.ends_with("/here/below"), "{made}");
        for bad in ["a#b", "s3://b?c", "runs:/r/a"] {
            checked_location(bad).unwrap_err();
        }
    }
}
