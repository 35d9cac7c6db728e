//! Records as MLflow's clients read them: absent values and empty lists left out, 64-bit numbers as numbers, NaN and
//! infinities as text, versions as text.

use std::collections::BTreeMap;

use mlops_core::{Metric, Timestamp};
use serde_json::{Map, Value, json};

use crate::{
    DatasetInput, Experiment, ModelVersion, RegisteredModel, RunRecord, Stage, registry::STAGE_TAG, search::Page,
    tracking::record::status_name,
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

pub(super) fn run(run: &RunRecord) -> Value {
    let data = object([
        ("metrics", run.metrics.values().map(metric).collect()),
        ("params", pairs(&run.params)),
        ("tags", pairs(&run.tags)),
    ]);
    let inputs = object([("dataset_inputs", run.datasets.iter().map(dataset_input).collect())]);
    json!({ "info": run_info(run), "data": data, "inputs": inputs })
}

pub(super) fn metric(metric: &Metric) -> Value {
    // JSON has no such numbers; MLflow's clients read them from these texts.
    let value = match metric.value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value => Value::from(value),
    };
    json!({ "key": metric.key, "value": value, "timestamp": metric.timestamp.as_millis(), "step": metric.step })
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
    let shown: BTreeMap<String, String> =
        version.tags.clone().into_iter().filter(|(key, _)| key.as_str() != STAGE_TAG).collect();
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
        ("tags", pairs(&shown)),
        ("aliases", version.aliases.iter().map(|alias| Value::from(alias.as_str())).collect()),
    ])
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
