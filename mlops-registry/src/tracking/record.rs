//! What is tracked: plain data, as stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use mlops_core::{Error, Metric, Result, RunId, RunStatus, Timestamp};
use serde::{Deserialize, Serialize};

use super::RUN_NAME_TAG;
use crate::{
    limits::{
        BATCH_DATASETS_MAX, BATCH_ITEMS_MAX, BATCH_METRICS_MAX, BATCH_PARAMS_MAX, BATCH_TAGS_MAX, DATASET_NAME_MAX,
        DATASET_PROFILE_MAX, DATASET_SCHEMA_MAX, DATASET_SOURCE_MAX, INPUT_TAG_KEY_MAX, INPUT_TAG_VALUE_MAX, KEY_MAX,
        check_key, check_key_at, check_length,
    },
    logged_models::ModelMetric,
};

/// The number of an experiment; 0 is the experiment `Default`, which always exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExperimentId(pub u64);

impl fmt::Display for ExperimentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ExperimentId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if digits && i64::try_from(number).is_ok() => Ok(Self(number)),
            _ => Err(Error::invalid_argument(format!(
                "Invalid experiment ID '{text}'. Experiment ID must be a valid integer."
            ))),
        }
    }
}

/// A named group of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Experiment {
    /// Its number.
    pub id: ExperimentId,
    /// Its name, unique even among deleted experiments.
    pub name: String,
    /// URI below which its runs keep their files.
    pub artifact_location: String,
    /// Whether it is marked as deleted.
    pub deleted: bool,
    /// When it was created, in whole milliseconds.
    pub created: Timestamp,
    /// When it was last renamed, deleted, restored or tagged, in whole milliseconds.
    pub updated: Timestamp,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// How to create an experiment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateExperiment {
    /// Where its runs keep their files; absent: below the store's default location.
    pub artifact_location: Option<String>,
    /// First tags.
    pub tags: BTreeMap<String, String>,
}

/// One run with everything but the history of its metrics.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// Its name, not necessarily unique.
    pub name: String,
    /// Who started it; empty when unknown.
    pub user: String,
    /// Where it stands.
    pub status: RunStatus,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; none while it is open.
    pub ended: Option<Timestamp>,
    /// URI of the directory of its files.
    pub artifact_uri: String,
    /// Whether it is marked as deleted.
    pub deleted: bool,
    /// Params.
    pub params: BTreeMap<String, String>,
    /// The latest point of every metric: highest by (step, timestamp, value), where NaN counts
    /// as zero.
    pub metrics: BTreeMap<String, Metric>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Datasets it read.
    pub datasets: Vec<DatasetInput>,
}

/// Where a run belongs, which never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunHome {
    /// The run.
    pub id: RunId,
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// URI of the directory of its files.
    pub artifact_uri: String,
}

impl From<&RunRecord> for RunHome {
    fn from(run: &RunRecord) -> Self {
        Self { id: run.id.clone(), experiment: run.experiment, artifact_uri: run.artifact_uri.clone() }
    }
}

/// How to create a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRun {
    /// The experiment it belongs to.
    pub experiment: ExperimentId,
    /// Its name; absent: the tag [`super::RUN_NAME_TAG`], or else one is made up.
    pub name: Option<String>,
    /// Who starts it; empty when unknown.
    pub user: String,
    /// When it began; absent: now.
    pub started: Option<Timestamp>,
    /// First tags.
    pub tags: BTreeMap<String, String>,
}

impl CreateRun {
    /// A run of `experiment` that begins now under a made-up name.
    #[must_use]
    pub fn new(experiment: ExperimentId) -> Self {
        Self { experiment, name: None, user: String::new(), started: None, tags: BTreeMap::new() }
    }
}

/// Checks how a run is to begin; an empty name is none.
///
/// # Errors
/// `InvalidArgument` when the tag [`RUN_NAME_TAG`] has another name or the key of a tag is not acceptable.
pub(crate) fn check_start(name: &str, tags: &BTreeMap<String, String>) -> Result<()> {
    if let Some(tagged) = tags.get(RUN_NAME_TAG).filter(|tagged| !name.is_empty() && *tagged != name) {
        return Err(Error::invalid_argument(format!(
            "Both 'run_name' argument and '{RUN_NAME_TAG}' tag are specified, but with different values \
             (run_name='{name}', {RUN_NAME_TAG}='{tagged}')."
        )));
    }
    tags.keys().try_for_each(|key| check_key("tag name", key))
}

/// What to change of a run; absent fields stay as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunUpdate {
    /// New status.
    pub status: Option<RunStatus>,
    /// New end.
    pub ended: Option<Timestamp>,
    /// New name; the tag [`super::RUN_NAME_TAG`] follows.
    pub name: Option<String>,
}

/// Metrics, params and tags to be written together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Batch {
    /// Metric points, at most [`crate::limits::BATCH_METRICS_MAX`].
    pub metrics: Vec<Metric>,
    /// Params, at most [`crate::limits::BATCH_PARAMS_MAX`], each key once.
    pub params: Vec<(String, String)>,
    /// Tags, at most [`crate::limits::BATCH_TAGS_MAX`]; of several with one key the last counts.
    pub tags: Vec<(String, String)>,
    /// Points that tell about logged models, kept with them and not with the run; at most
    /// [`crate::limits::BATCH_METRICS_MAX`]. A point that tells about the run as well is in `metrics` too.
    pub model_metrics: Vec<ModelMetric>,
}

impl Batch {
    /// # Errors
    /// `InvalidArgument` when there is too much of something, a key is not acceptable, a param appears twice or a
    /// timestamp is negative.
    pub(crate) fn check(&self) -> Result<()> {
        let sizes = [
            ("metrics", self.metrics.len(), BATCH_METRICS_MAX),
            ("model metrics", self.model_metrics.len(), BATCH_METRICS_MAX),
            ("params", self.params.len(), BATCH_PARAMS_MAX),
            ("tags", self.tags.len(), BATCH_TAGS_MAX),
            ("items", self.metrics.len() + self.params.len() + self.tags.len(), BATCH_ITEMS_MAX),
        ];
        if let Some((what, size, max)) = sizes.into_iter().find(|(_, size, max)| size > max) {
            // All or none is a promise of one batch, so it is not split here.
            return Err(Error::invalid_argument(format!(
                "a batch can have at most {max} {what}, found {size}; log them in parts"
            )));
        }
        let points = self.metrics.iter().enumerate();
        let of_models = self.model_metrics.iter().map(|point| &point.metric).enumerate();
        for (at, metric) in points.chain(of_models) {
            placed("metrics", at, |place| check_point(place, metric))?;
        }
        let mut seen = BTreeSet::new();
        for (at, (key, _)) in self.params.iter().enumerate() {
            placed("params", at, |place| check_param(place, key))?;
            if !seen.insert(key) {
                return Err(Error::invalid_argument(format!("Duplicate parameter keys have been submitted: {key:?}")));
            }
        }
        self.tags.iter().enumerate().try_for_each(|(at, (key, _))| placed("tags", at, |place| check_tag(place, key)))
    }
}

/// Checks the item of a list. Most are right, so the place is only written down for one that is wrong.
fn placed(list: &str, at: usize, check: impl Fn(&str) -> Result<()>) -> Result<()> {
    check("").or_else(|_| check(&format!("{list}[{at}].")))
}

/// Checks a point of a metric; `place` says where it is in a request, as `metrics[3].`, or is empty.
pub(crate) fn check_point(place: &str, metric: &Metric) -> Result<()> {
    check_key_at("metric name", place, &metric.key)?;
    if metric.timestamp >= Timestamp::default() {
        return Ok(());
    }
    let (key, time) = (&metric.key, metric.timestamp.as_millis());
    Err(Error::invalid_argument(format!(
        "Invalid value {time} for parameter '{place}timestamp' supplied: timestamp of metric {key:?} is negative"
    )))
}

/// Checks the key of a param at a place of a request.
pub(crate) fn check_param(place: &str, key: &str) -> Result<()> {
    check_key_at("param name", place, key)
}

/// Checks the key of a tag at a place of a request.
pub(crate) fn check_tag(place: &str, key: &str) -> Result<()> {
    check_key_at("tag name", place, key)
}

/// A dataset that a run reads, as it describes itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LoggedDataset {
    /// Its name.
    pub name: String,
    /// Digest of its contents; with the name its identity within the experiment.
    pub digest: String,
    /// Kind of source, such as `local` or `delta`.
    pub source_type: String,
    /// Where it came from, in the words of the source type.
    pub source: String,
    /// Its columns, as JSON.
    pub schema: Option<String>,
    /// Statistics, as JSON.
    pub profile: Option<String>,
}

/// A dataset together with what it was used for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetInput {
    /// The dataset.
    pub dataset: LoggedDataset,
    /// Tags of this use; [`super::DATASET_CONTEXT_TAG`] says what for.
    pub tags: BTreeMap<String, String>,
}

impl DatasetInput {
    /// # Errors
    /// `InvalidArgument` when there are too many or one is not acceptable.
    pub(crate) fn check_all(inputs: &[Self]) -> Result<()> {
        if inputs.len() > BATCH_DATASETS_MAX {
            return Err(Error::invalid_argument(format!(
                "at most {BATCH_DATASETS_MAX} datasets at once, found {}",
                inputs.len()
            )));
        }
        inputs.iter().try_for_each(Self::check)
    }

    /// # Errors
    /// `InvalidArgument` naming a field that is empty or over its limit.
    fn check(&self) -> Result<()> {
        let Self { dataset, tags } = self;
        for (what, text, max) in [("name", &dataset.name, DATASET_NAME_MAX), ("digest", &dataset.digest, KEY_MAX)] {
            if text.is_empty() {
                return Err(Error::invalid_argument(format!("dataset {what} is empty")));
            }
            check_length(&format!("dataset {what}"), text, max)?;
        }
        check_length("dataset source", &dataset.source, DATASET_SOURCE_MAX)?;
        check_length("dataset schema", dataset.schema.as_deref().unwrap_or_default(), DATASET_SCHEMA_MAX)?;
        check_length("dataset profile", dataset.profile.as_deref().unwrap_or_default(), DATASET_PROFILE_MAX)?;
        tags.iter().try_for_each(|(key, value)| {
            check_length("input tag key", key, INPUT_TAG_KEY_MAX)?;
            check_length(&format!("value of input tag {key:?}"), value, INPUT_TAG_VALUE_MAX)
        })
    }
}

/// Refuses to end a run with a status that is no end.
pub(crate) fn check_end(status: RunStatus) -> Result<()> {
    if status.is_end() {
        return Ok(());
    }
    Err(Error::invalid_argument("a run ends as finished, failed or killed"))
}

/// The status as it is stored and as clients write it.
pub(crate) fn status_name(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Running => "RUNNING",
        RunStatus::Scheduled => "SCHEDULED",
        RunStatus::Finished => "FINISHED",
        RunStatus::Failed => "FAILED",
        RunStatus::Killed => "KILLED",
    }
}

/// The status of that name.
pub(crate) fn parse_status(text: &str) -> Result<RunStatus> {
    let all = [RunStatus::Running, RunStatus::Scheduled, RunStatus::Finished, RunStatus::Failed, RunStatus::Killed];
    all.into_iter().find(|&status| status_name(status) == text).ok_or_else(|| {
        Error::invalid_argument(format!(
            "{text:?} is no run status; write RUNNING, SCHEDULED, FINISHED, FAILED or KILLED"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experiment_ids_are_plain_digits() {
        assert_eq!("17".parse::<ExperimentId>().unwrap(), ExperimentId(17));
        for bad in ["", "+1", "-1", "x", "1.0", "18446744073709551615"] {
            assert!(bad.parse::<ExperimentId>().is_err(), "{bad}");
        }
        assert_eq!(parse_status("KILLED").unwrap(), RunStatus::Killed);
        assert!(parse_status("killed").is_err());
    }
}
