//! Records as MLflow's clients read them: absent values and empty lists left out, 64-bit numbers as numbers, NaN and
//! infinities as text, versions as text.

use std::collections::BTreeMap;

use mlops_core::{Metric, RunId, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    kept::{is_kept, kept_model_id},
    stage::Stage,
};
use crate::{
    DatasetInput, Experiment, LoggedModel, ModelMetric, ModelOutput, ModelVersion, RegisteredModel, RunModels,
    RunRecord, logged_models::REGISTRATIONS_TAG, search::Page, tracking::record::status_name,
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

pub(super) fn run_info(run: &RunRecord) -> Value {
    object([
        ("run_id", run.id.as_str().into()),
        ("run_uuid", run.id.as_str().into()),
        ("run_name", run.name.as_str().into()),
        ("experiment_id", run.experiment.to_string().into()),
        ("user_id", run.user.as_str().into()),
        ("status", status_name(run.status).into()),
        ("start_time", millis(run.started)),
        ("end_time", run.ended.map_or(Value::Null, millis)),
        ("artifact_uri", run.artifact_uri.as_str().into()),
        ("lifecycle_stage", lifecycle(run.deleted)),
    ])
}

/// A page of runs, with the models of each.
pub(super) fn runs(page: &Page<RunRecord>, models: &[RunModels]) -> Value {
    let items = page.items.iter().enumerate().map(|(index, item)| run(item, models.get(index))).collect();
    object([("runs", Value::Array(items)), ("next_page_token", page.next_page_token.clone().into())])
}

/// A run, with the models it read and made.
pub(super) fn run(run: &RunRecord, models: Option<&RunModels>) -> Value {
    let data = object([
        ("metrics", run.metrics.values().map(metric).collect()),
        ("params", pairs(&run.params)),
        ("tags", pairs(&run.tags)),
    ]);
    let read = models.map(|models| models.inputs.iter().map(|id| json!({ "model_id": id.as_str() })).collect());
    let made = |output: &ModelOutput| json!({ "model_id": output.model.as_str(), "step": output.step });
    let made = models.map(|models| models.outputs.iter().map(made).collect());
    let inputs = object([
        ("dataset_inputs", run.datasets.iter().map(dataset_input).collect()),
        ("model_inputs", read.unwrap_or_default()),
    ]);
    let outputs = object([("model_outputs", made.unwrap_or_default())]);
    json!({ "info": run_info(run), "data": data, "inputs": inputs, "outputs": outputs })
}

/// JSON lacks some numbers; MLflow's clients read them from texts.
fn number(value: f64) -> Value {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value => Value::from(value),
    }
}

pub(super) fn metric(metric: &Metric) -> Value {
    json!({
        "key": metric.key,
        "value": number(metric.value),
        "timestamp": metric.timestamp.as_millis(),
        "step": metric.step,
    })
}

/// A point together with the run it belongs to.
pub(super) fn metric_of(run: &RunId, point: &Metric) -> Value {
    let mut answer = metric(point);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert("run_id".to_owned(), run.as_str().into());
    }
    answer
}

fn model_metric(point: &ModelMetric) -> Value {
    object([
        ("key", point.metric.key.as_str().into()),
        ("value", number(point.metric.value)),
        ("timestamp", millis(point.metric.timestamp)),
        ("step", point.metric.step.into()),
        ("model_id", point.model.as_str().into()),
        ("run_id", point.run.as_ref().map(RunId::as_str).into()),
        ("dataset_name", point.dataset_name.clone().into()),
        ("dataset_digest", point.dataset_digest.clone().into()),
    ])
}

/// A logged model.
pub(super) fn logged_model(model: &LoggedModel) -> Value {
    let status = format!("LOGGED_MODEL_{}", model.status.name());
    let registered = model.tags.get(REGISTRATIONS_TAG).and_then(|text| serde_json::from_str::<Value>(text).ok());
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
        ("registrations", registered.filter(Value::is_array).unwrap_or_default()),
    ]);
    let data =
        object([("params", pairs(&model.params)), ("metrics", model.metrics.iter().map(model_metric).collect())]);
    json!({ "info": info, "data": data })
}

fn dataset_input(input: &DatasetInput) -> Value {
    let dataset = object([
        ("name", input.dataset.name.as_str().into()),
        ("digest", input.dataset.digest.as_str().into()),
        ("source_type", input.dataset.source_type.as_str().into()),
        ("source", input.dataset.source.as_str().into()),
        ("schema", input.dataset.schema.clone().into()),
        ("profile", input.dataset.profile.clone().into()),
    ]);
    object([("tags", pairs(&input.tags)), ("dataset", dataset)])
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
    for (name, list) in [
        ("model_params", params.collect::<Vec<_>>()),
        ("model_metrics", model.metrics.iter().map(model_metric).collect()),
    ] {
        if !list.is_empty() {
            fields.insert(name.to_owned(), list.into());
        }
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

    #[test]
    fn numbers_that_json_lacks_are_text() {
        let value = |value: f64| {
            metric(&Metric { key: "m".into(), value, timestamp: Timestamp::from_millis(1), step: -2 })["value"].clone()
        };
        assert_eq!(value(f64::NAN), "NaN");
        assert_eq!(value(f64::NEG_INFINITY), "-Infinity");
        assert_eq!(value(5e-324).as_f64(), Some(5e-324));
    }
}
