//! Records from a server's answers. Absent fields are empty, as MLflow leaves them out; broken ones are `DataLoss`.

use std::collections::BTreeMap;

use mlops_core::{Error, Metric, Result, Timestamp};
use serde_json::Value;

use crate::{DatasetInput, Experiment, LoggedDataset, RunRecord, search::Page, tracking::record::parse_status};

fn broken(name: &str) -> Error {
    Error::data_loss(format!("the answer of the tracking server lacks a usable field {name:?}"))
}

/// The object in a field.
pub(super) fn object<'a>(value: &'a Value, name: &str) -> Result<&'a Value> {
    value.get(name).filter(|found| found.is_object()).ok_or_else(|| broken(name))
}

/// The text in a field that must be there.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value.get(name).and_then(Value::as_str).ok_or_else(|| broken(name))
}

pub(super) fn text_or_empty(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn whole(value: &Value, name: &str) -> Result<Option<i64>> {
    match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => text.parse().map(Some).map_err(|_| broken(name)),
        Some(number) => number.as_i64().map(Some).ok_or_else(|| broken(name)),
    }
}

pub(super) fn time(value: &Value, name: &str) -> Result<Option<Timestamp>> {
    Ok(whole(value, name)?.map(Timestamp::from_millis))
}

pub(super) fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

pub(super) fn pairs(value: &Value, name: &str) -> Result<BTreeMap<String, String>> {
    list(value, name).map(|pair| Ok((text(pair, "key")?.to_owned(), text_or_empty(pair, "value")))).collect()
}

fn deleted(value: &Value) -> bool {
    value.get("lifecycle_stage").and_then(Value::as_str) == Some("deleted")
}

/// A page of records that stand under `name`.
pub(super) fn page<T>(answer: &Value, name: &str, read: impl Fn(&Value) -> Result<T>) -> Result<Page<T>> {
    let next = answer.get("next_page_token").and_then(Value::as_str).filter(|token| !token.is_empty());
    Ok(Page { items: list(answer, name).map(read).collect::<Result<_>>()?, next_page_token: next.map(str::to_owned) })
}

pub(super) fn experiment(value: &Value) -> Result<Experiment> {
    let created = time(value, "creation_time")?.unwrap_or_default();
    Ok(Experiment {
        id: text(value, "experiment_id")?.parse()?,
        name: text(value, "name")?.to_owned(),
        artifact_location: text_or_empty(value, "artifact_location"),
        deleted: deleted(value),
        created,
        updated: time(value, "last_update_time")?.unwrap_or(created),
        tags: pairs(value, "tags")?,
    })
}

pub(super) fn run(value: &Value) -> Result<RunRecord> {
    let empty = Value::Null;
    let (info, part) = (object(value, "info")?, |name: &str| value.get(name).unwrap_or(&empty));
    let (data, inputs) = (part("data"), part("inputs"));
    let metrics = list(data, "metrics").map(|point| metric(point).map(|point| (point.key.clone(), point)));
    Ok(RunRecord {
        id: text(info, "run_id")?.parse()?,
        experiment: text(info, "experiment_id")?.parse()?,
        name: text_or_empty(info, "run_name"),
        user: text_or_empty(info, "user_id"),
        status: parse_status(text(info, "status")?)?,
        started: time(info, "start_time")?.unwrap_or_default(),
        ended: time(info, "end_time")?,
        artifact_uri: text_or_empty(info, "artifact_uri"),
        deleted: deleted(info),
        params: pairs(data, "params")?,
        metrics: metrics.collect::<Result<_>>()?,
        tags: pairs(data, "tags")?,
        datasets: list(inputs, "dataset_inputs").map(dataset).collect::<Result<_>>()?,
    })
}

pub(super) fn metric(value: &Value) -> Result<Metric> {
    let number = match value.get("value") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    Ok(Metric {
        key: text(value, "key")?.to_owned(),
        value: number.ok_or_else(|| broken("value"))?,
        timestamp: time(value, "timestamp")?.unwrap_or_default(),
        step: whole(value, "step")?.unwrap_or_default(),
    })
}

fn dataset(value: &Value) -> Result<DatasetInput> {
    let dataset = object(value, "dataset")?;
    let optional = |name: &str| dataset.get(name).and_then(Value::as_str).map(str::to_owned);
    let dataset = LoggedDataset {
        name: text(dataset, "name")?.to_owned(),
        digest: text(dataset, "digest")?.to_owned(),
        source_type: text_or_empty(dataset, "source_type"),
        source: text_or_empty(dataset, "source"),
        schema: optional("schema"),
        profile: optional("profile"),
    };
    Ok(DatasetInput { dataset, tags: pairs(value, "tags")? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_without_data_is_read_and_one_without_id_is_not() {
        let info = json!({ "run_id": "a".repeat(32), "experiment_id": "0", "status": "RUNNING", "start_time": "12" });
        let found = run(&json!({ "info": info })).unwrap();
        assert_eq!((found.started, found.ended, found.metrics.len()), (Timestamp::from_millis(12), None, 0));
        assert!(run(&json!({ "info": { "status": "RUNNING" } })).unwrap_err().message().contains("run_id"));
    }

    #[test]
    fn numbers_without_json_form_are_read_from_text() {
        let value = |text: &str| metric(&json!({ "key": "m", "value": text })).unwrap().value;
        assert!(value("NaN").is_nan());
        assert_eq!((value("Infinity"), value("-Infinity")), (f64::INFINITY, f64::NEG_INFINITY));
        assert!(metric(&json!({ "key": "m", "value": [] })).is_err());
    }
}
