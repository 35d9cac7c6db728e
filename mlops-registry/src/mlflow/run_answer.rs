//! Runs and points as MLflow's clients read them, written straight from the records: answers with thousands of runs or
//! points are common, and a tree of values for each of them would cost more than finding them.
//!
//! Invariant: the same conventions as in [`super::answer`].

use std::collections::BTreeMap;

use mlops_core::{Metric, RunId};
use serde::{Serialize, Serializer};

use crate::{DatasetInput, ModelMetric, ModelOutput, RunModels, RunRecord, tracking::record::status_name};

/// Points of several runs, each with its run.
#[derive(Debug, Serialize)]
pub(super) struct SampledPoints {
    #[serde(serialize_with = "points", skip_serializing_if = "Vec::is_empty")]
    pub(super) metrics: Vec<(Option<RunId>, Metric)>,
}

/// Points in an answer that has the list also when it is empty, as pages expect it.
#[derive(Debug)]
pub(super) struct BulkPoints(pub(super) Vec<(Option<RunId>, Metric)>);

impl Serialize for BulkPoints {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(serialize_with = "points")]
            metrics: &'a [(Option<RunId>, Metric)],
        }
        Whole { metrics: &self.0 }.serialize(serializer)
    }
}

/// A run, with the models it read and made.
pub(super) fn run<'a>(run: &'a RunRecord, models: Option<&'a RunModels>) -> RunAnswer<'a> {
    RunAnswer {
        info: run_info(run),
        data: Data { metrics: &run.metrics, params: &run.params, tags: &run.tags },
        inputs: Inputs {
            dataset_inputs: &run.datasets,
            model_inputs: models
                .iter()
                .flat_map(|models| &models.inputs)
                .map(|id| Input { model_id: id.as_str() })
                .collect(),
        },
        outputs: Outputs {
            model_outputs: models
                .iter()
                .flat_map(|models| &models.outputs)
                .map(|ModelOutput { model, step }| Output { model_id: model.as_str(), step: *step })
                .collect(),
        },
    }
}

#[derive(Debug, Serialize)]
pub(super) struct RunAnswer<'a> {
    info: RunInfo<'a>,
    data: Data<'a>,
    inputs: Inputs<'a>,
    outputs: Outputs<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct RunInfo<'a> {
    run_id: &'a str,
    run_uuid: &'a str,
    run_name: &'a str,
    experiment_id: String,
    user_id: &'a str,
    status: &'static str,
    start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: &'a str,
    lifecycle_stage: &'static str,
}

/// What a run is, without what was logged to it.
pub(super) fn run_info(run: &RunRecord) -> RunInfo<'_> {
    RunInfo {
        run_id: run.id.as_str(),
        run_uuid: run.id.as_str(),
        run_name: &run.name,
        experiment_id: run.experiment.to_string(),
        user_id: &run.user,
        status: status_name(run.status),
        start_time: run.started.as_millis(),
        end_time: run.ended.map(|time| time.as_millis()),
        artifact_uri: &run.artifact_uri,
        lifecycle_stage: if run.deleted { "deleted" } else { "active" },
    }
}

#[derive(Debug, Serialize)]
struct Data<'a> {
    #[serde(serialize_with = "latest", skip_serializing_if = "says_nothing")]
    metrics: &'a BTreeMap<String, Metric>,
    #[serde(serialize_with = "pairs", skip_serializing_if = "says_nothing")]
    params: &'a BTreeMap<String, String>,
    #[serde(serialize_with = "pairs", skip_serializing_if = "says_nothing")]
    tags: &'a BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Inputs<'a> {
    #[serde(serialize_with = "datasets", skip_serializing_if = "<[_]>::is_empty")]
    dataset_inputs: &'a [DatasetInput],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_inputs: Vec<Input<'a>>,
}

#[derive(Debug, Serialize)]
struct Input<'a> {
    model_id: &'a str,
}

#[derive(Debug, Serialize)]
struct Outputs<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    model_outputs: Vec<Output<'a>>,
}

#[derive(Debug, Serialize)]
struct Output<'a> {
    model_id: &'a str,
    step: i64,
}

fn says_nothing<T>(map: &&BTreeMap<String, T>) -> bool {
    map.is_empty()
}

#[derive(Debug, Serialize)]
pub(super) struct Pair<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// A map as clients have it: a list of keys with values.
fn pairs<S: Serializer>(map: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.iter().map(|(key, value)| Pair { key, value }))
}

#[derive(Serialize)]
struct Dataset<'a> {
    #[serde(serialize_with = "pairs", skip_serializing_if = "says_nothing")]
    tags: &'a BTreeMap<String, String>,
    dataset: DatasetFields<'a>,
}

#[derive(Serialize)]
struct DatasetFields<'a> {
    name: &'a str,
    digest: &'a str,
    source_type: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
}

fn datasets<S: Serializer>(inputs: &[DatasetInput], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(inputs.iter().map(|DatasetInput { dataset, tags }| Dataset {
        tags,
        dataset: DatasetFields {
            name: &dataset.name,
            digest: &dataset.digest,
            source_type: &dataset.source_type,
            source: &dataset.source,
            schema: dataset.schema.as_deref(),
            profile: dataset.profile.as_deref(),
        },
    }))
}

/// A point, with what it is of where that is not clear.
#[derive(Debug, Serialize)]
pub(super) struct Point<'a> {
    key: &'a str,
    #[serde(serialize_with = "number")]
    value: f64,
    timestamp: i64,
    step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_digest: Option<&'a str>,
}

pub(super) fn point<'a>(metric: &'a Metric, run: Option<&'a RunId>) -> Point<'a> {
    Point {
        key: &metric.key,
        value: metric.value,
        timestamp: metric.timestamp.as_millis(),
        step: metric.step,
        run_id: run.map(RunId::as_str),
        model_id: None,
        dataset_name: None,
        dataset_digest: None,
    }
}

/// A point of a logged model.
pub(super) fn model_point(measured: &ModelMetric) -> Point<'_> {
    Point {
        model_id: Some(measured.model.as_str()),
        dataset_name: measured.dataset_name.as_deref(),
        dataset_digest: measured.dataset_digest.as_deref(),
        ..point(&measured.metric, measured.run.as_ref())
    }
}

fn latest<S: Serializer>(metrics: &BTreeMap<String, Metric>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(metrics.values().map(|metric| point(metric, None)))
}

fn points<S: Serializer>(found: &[(Option<RunId>, Metric)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(found.iter().map(|(run, metric)| point(metric, run.as_ref())))
}

/// JSON lacks some numbers; MLflow's clients read them from texts.
fn number<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match *value {
        value if value.is_nan() => serializer.serialize_str("NaN"),
        f64::INFINITY => serializer.serialize_str("Infinity"),
        f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
        value => serializer.serialize_f64(value),
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn numbers_that_json_lacks_are_text() {
        let value = |value: f64| -> Value {
            let metric = Metric { key: "m".into(), value, timestamp: Timestamp::from_millis(1), step: -2 };
            serde_json::to_value(point(&metric, None)).unwrap()["value"].clone()
        };
        assert_eq!(value(f64::NAN), "NaN");
        assert_eq!(value(f64::INFINITY), "Infinity");
        assert_eq!(value(f64::NEG_INFINITY), "-Infinity");
        assert_eq!(value(5e-324).as_f64(), Some(5e-324));
    }

    #[test]
    fn an_empty_sample_says_nothing() {
        assert_eq!(serde_json::to_value(SampledPoints { metrics: Vec::new() }).unwrap(), json!({}));
    }
}
