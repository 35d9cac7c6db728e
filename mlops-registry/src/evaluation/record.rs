//! What a dataset and its records are: plain data, as stored.

use std::collections::BTreeMap;

use mlops_core::{Digest, Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    ExperimentId,
    limits::{EXPERIMENT_NAME_MAX, EXPERIMENT_TAG_VALUE_MAX, check_free_key, check_length},
};

/// The tag that names who does it.
pub(crate) const USER_TAG: &str = "mlflow.user";

/// A dataset without its records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationDataset {
    /// Its id.
    pub id: String,
    /// Its name; several may have the same.
    pub name: String,
    /// Changes with every change of the records.
    pub digest: String,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The experiments that it belongs to.
    pub experiments: Vec<ExperimentId>,
    /// The fields of inputs, outputs and expectations and their types, as MLflow writes them; none without records.
    pub schema: Option<Value>,
    /// How many records it has.
    pub records: u64,
    /// When it was made, in whole milliseconds.
    pub created: Timestamp,
    /// When its records last changed, in whole milliseconds.
    pub updated: Timestamp,
    /// Who made it.
    pub created_by: Option<String>,
    /// Who changed it last.
    pub updated_by: Option<String>,
}

/// How to create a dataset.
///
/// ```
/// use mlops_registry::CreateEvaluationDataset;
///
/// let create = CreateEvaluationDataset::new("questions");
/// create.check()?;
/// assert!(CreateEvaluationDataset::new("").check().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateEvaluationDataset {
    /// Its name.
    pub name: String,
    /// First tags; `mlflow.user` says who makes it.
    pub tags: BTreeMap<String, String>,
    /// The experiments that it belongs to.
    pub experiments: Vec<ExperimentId>,
}

impl CreateEvaluationDataset {
    /// Without tags and experiments.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Checks name and tags against the limits.
    ///
    /// # Errors
    /// `InvalidArgument` naming the field.
    pub fn check(&self) -> Result<()> {
        if self.name.trim().is_empty() {
            return Err(Error::invalid_argument("name of an evaluation dataset is empty"));
        }
        check_length("evaluation dataset name", &self.name, EXPERIMENT_NAME_MAX)?;
        check_tags(&self.tags)
    }
}

pub(super) fn check_tags<'a>(tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<()> {
    tags.into_iter().try_for_each(|(key, value)| {
        check_free_key("tag key", key)?;
        check_length(&format!("value of tag {key:?}"), value, EXPERIMENT_TAG_VALUE_MAX)
    })
}

/// Where a record comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordSource {
    /// `TRACE`, `HUMAN`, `DOCUMENT`, `CODE` or `UNSPECIFIED`.
    pub source_type: String,
    /// More about it, such as `trace_id`.
    #[serde(default)]
    pub source_data: Map<String, Value>,
}

/// A record to put.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PutRecord {
    /// The inputs; they are what the record is known by.
    pub inputs: Map<String, Value>,
    /// What came out; absent: what is known stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Value>,
    /// What should come out; keys that exist are replaced.
    pub expectations: Option<Map<String, Value>>,
    /// Tags; keys that exist are replaced. `mlflow.user` says who does it.
    pub tags: Option<BTreeMap<String, String>>,
    /// Where it comes from; only the first time.
    pub source: Option<RecordSource>,
}

impl PutRecord {
    /// What the record is known by.
    pub(super) fn key(&self) -> String {
        Digest::of(sorted(&Value::Object(self.inputs.clone())).to_string().as_bytes()).to_string()
    }

    pub(super) fn user(&self) -> Option<&String> {
        self.tags.as_ref()?.get(USER_TAG)
    }
}

/// The same with the keys of every map in order, so that equal values have equal texts.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let keys: BTreeMap<&String, Value> = map.iter().map(|(key, value)| (key, sorted(value))).collect();
            Value::Object(keys.into_iter().map(|(key, value)| (key.clone(), value)).collect())
        }
        Value::Array(values) => values.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// A record as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Its id.
    pub id: String,
    /// The inputs.
    pub inputs: Map<String, Value>,
    /// What came out.
    pub outputs: Option<Value>,
    /// What should come out.
    pub expectations: Option<Map<String, Value>>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Where it comes from.
    pub source: Option<RecordSource>,
    /// When it was put first, in whole milliseconds.
    pub created: Timestamp,
    /// When it was put last, in whole milliseconds.
    pub updated: Timestamp,
    /// Who put it first.
    pub created_by: Option<String>,
    /// Who put it last.
    pub updated_by: Option<String>,
}

impl EvaluationRecord {
    pub(super) fn new(put: PutRecord, id: String, now: Timestamp) -> Self {
        let user = put.user().cloned();
        Self {
            id,
            inputs: put.inputs,
            outputs: put.outputs,
            expectations: put.expectations,
            tags: put.tags.unwrap_or_default(),
            source: put.source,
            created: now,
            updated: now,
            created_by: user.clone(),
            updated_by: user,
        }
    }

    /// The record after the same inputs were put again.
    pub(super) fn merged(mut self, put: PutRecord, now: Timestamp) -> Self {
        self.updated_by = put.user().cloned().or(self.updated_by);
        self.updated = self.updated.max(now);
        self.outputs = put.outputs.or(self.outputs);
        if let Some(more) = put.expectations {
            self.expectations.get_or_insert_default().extend(more);
        }
        self.tags.extend(put.tags.unwrap_or_default());
        self
    }
}

/// What became of records that were put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Upserted {
    /// How many are new.
    pub inserted: u64,
    /// How many were there and were added to.
    pub updated: u64,
}

/// Adds the fields of records to a schema: their names and the types of their first values.
pub(super) fn schema_with(schema: Option<Value>, records: &[PutRecord]) -> Value {
    let mut schema = match schema {
        Some(Value::Object(schema)) => schema,
        _ => Map::from_iter([("version".to_owned(), Value::from("1.0"))]),
    };
    for record in records {
        note(&mut schema, "inputs", Some(&Value::Object(record.inputs.clone())));
        note(&mut schema, "outputs", record.outputs.as_ref());
        note(&mut schema, "expectations", record.expectations.clone().map(Value::Object).as_ref());
    }
    Value::Object(schema)
}

fn note(schema: &mut Map<String, Value>, part: &str, value: Option<&Value>) {
    let fields = schema.entry(part.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    match (fields, value) {
        (Value::Object(fields), Some(Value::Object(given))) => {
            for (key, value) in given {
                fields.entry(key.clone()).or_insert_with(|| kind(value).into());
            }
        }
        (fields @ Value::Object(_), Some(value)) if fields.as_object().is_some_and(Map::is_empty) => {
            *fields = kind(value).into();
        }
        _ => {}
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(json: Value) -> PutRecord {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_record_is_known_by_its_inputs_in_any_order() {
        let key = |json: Value| put(json!({ "inputs": json })).key();
        assert_eq!(key(json!({ "a": 1, "b": { "c": 2, "d": 3 } })), key(json!({ "b": { "d": 3, "c": 2 }, "a": 1 })));
        assert_ne!(key(json!({ "a": 1 })), key(json!({ "a": "1" })));
    }

    #[test]
    fn a_schema_grows_and_first_types_stay() {
        let first = schema_with(None, &[put(json!({ "inputs": { "q": "x" }, "outputs": 1.5 }))]);
        let second =
            schema_with(Some(first), &[put(json!({ "inputs": { "q": 1, "k": [] }, "expectations": { "a": true } }))]);
        let expected = json!({ "version": "1.0", "inputs": { "q": "string", "k": "array" }, "outputs": "float",
            "expectations": { "a": "boolean" } });
        assert_eq!(second, expected);
    }
}
