//! Records as MLflow's clients read them: absent values and empty lists left out, 64-bit numbers as numbers, NaN and
//! infinities as text, versions as text.

use std::collections::BTreeMap;

use mlops_core::{RunId, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    kept::{is_kept, kept_model_id},
    run_answer::model_point,
};
use crate::{
    Experiment, LoggedModel, ModelVersion, RegisteredModel, Stage, logged_models::REGISTRATIONS_TAG, search::Page,
};

/// An object from its fields, less those that say nothing: null and empty lists.
pub(super) fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let said = |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    let fields = fields.into_iter().filter(|(_, value)| said(value));
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// A page of a search, with its results under `name`.
pub(super) fn page<T>(name: &str, page: &Page<T>, item: impl Fn(&T) -> Value) -> Value {
    let items = page.items.iter().map(item).collect();
    object([(name, Value::Array(items)), ("next_page_token", page.next_page_token.clone().into())])
}

fn millis(time: Timestamp) -> Value {
    time.as_millis().into()
}

fn lifecycle(deleted: bool) -> Value {
    if deleted { "deleted" } else { "active" }.into()
}

fn pairs(map: &BTreeMap<String, String>) -> Value {
    map.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
}

pub(super) fn experiment(experiment: &Experiment) -> Value {
    object([
        ("experiment_id", experiment.id.to_string().into()),
        ("name", experiment.name.as_str().into()),
        ("artifact_location", experiment.artifact_location.as_str().into()),
        ("lifecycle_stage", lifecycle(experiment.deleted)),
        ("creation_time", millis(experiment.created)),
        ("last_update_time", millis(experiment.updated)),
        ("tags", pairs(&experiment.tags)),
    ])
}

fn points(model: &LoggedModel) -> Value {
    // What is made of texts and numbers is always JSON.
    model.metrics.iter().map(|point| serde_json::to_value(model_point(point)).unwrap_or_default()).collect()
}

/// The versions that a logged model was registered as; a tag that clients spoiled tells of none.
fn registrations(model: &LoggedModel) -> Value {
    let noted = model.tags.get(REGISTRATIONS_TAG).map_or("[]", String::as_str);
    let noted: Vec<Value> = serde_json::from_str(noted).unwrap_or_default();
    let registration = |noted: &Value| {
        let (name, version) = (noted.get("name")?.as_str()?, noted.get("version")?);
        let version = version.as_u64().or_else(|| version.as_str()?.parse().ok())?;
        Some(json!({ "name": name, "version": version.to_string() }))
    };
    noted.iter().filter_map(registration).collect()
}

/// A logged model.
pub(super) fn logged_model(model: &LoggedModel) -> Value {
    let status = format!("LOGGED_MODEL_{}", model.status.name());
    let info = object([
        ("model_id", model.id.as_str().into()),
        ("experiment_id", model.experiment.to_string().into()),
        ("name", model.name.as_str().into()),
        ("creation_timestamp_ms", millis(model.created)),
        ("last_updated_timestamp_ms", millis(model.updated)),
        ("artifact_uri", model.artifact_uri.as_str().into()),
        ("status", status.into()),
        ("model_type", model.model_type.as_str().into()),
        ("source_run_id", model.source_run.as_ref().map_or("", RunId::as_str).into()),
        ("tags", pairs(&model.tags)),
        ("registrations", registrations(model)),
    ]);
    let data = object([("params", pairs(&model.params)), ("metrics", points(model))]);
    json!({ "info": info, "data": data })
}

/// A model with its newest version of every stage.
pub(super) fn model(model: &RegisteredModel, latest: &[ModelVersion]) -> Value {
    let alias = |(alias, version): (&mlops_core::Alias, &mlops_core::Version)| json!({ "alias": alias.as_str(), "version": version.0.to_string() });
    object([
        ("name", model.name.as_str().into()),
        ("creation_timestamp", millis(model.created)),
        ("last_updated_timestamp", millis(model.updated)),
        ("description", model.description.as_str().into()),
        ("latest_versions", latest.iter().map(version).collect()),
        ("tags", pairs(&model.tags)),
        ("aliases", model.aliases.iter().map(alias).collect()),
    ])
}

pub(super) fn version(version: &ModelVersion) -> Value {
    let shown: BTreeMap<String, String> = version.tags.clone().into_iter().filter(|(key, _)| !is_kept(key)).collect();
    object([
        ("name", version.model.as_str().into()),
        ("version", version.version.0.to_string().into()),
        ("creation_timestamp", millis(version.created)),
        ("last_updated_timestamp", millis(version.updated)),
        ("user_id", version.created_by.as_str().into()),
        ("current_stage", Stage::of(version).name().into()),
        ("description", version.description.as_str().into()),
        ("source", version.source.to_uri().into()),
        ("run_id", version.run_id.as_ref().map_or("", |run| run.as_str()).into()),
        ("run_link", version.run_link.as_str().into()),
        ("status", "READY".into()),
        ("model_id", kept_model_id(version).map(String::from).into()),
        ("tags", pairs(&shown)),
        ("aliases", version.aliases.iter().map(|alias| Value::from(alias.as_str())).collect()),
    ])
}

/// Adds to a version what is known of the logged model that it is.
pub(super) fn add_model(version: &mut Value, model: &LoggedModel) {
    let Some(fields) = version.as_object_mut() else { return };
    let params = model.params.iter().map(|(name, value)| json!({ "name": name, "value": value }));
    let known = object([("model_params", params.collect()), ("model_metrics", points(model))]);
    if let Value::Object(known) = known {
        fields.extend(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_left_out() {
        let answer = object([("a", Value::Null), ("b", json!([])), ("c", "".into()), ("d", 0.into())]);
        assert_eq!(answer, json!({ "c": "", "d": 0 }));
    }
}
