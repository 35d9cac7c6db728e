//! What a run tells, piece by piece, whichever way it was kept.
//!
//! Invariant: keys that W&B keeps for itself, those that begin with `_`, are no params and no metrics.

use mlops_core::{RunStatus, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::values;

/// One piece.
#[derive(Debug)]
pub(super) enum Entry {
    /// Who the run is; what is empty or absent is not told.
    About(Box<About>),
    /// New values of the config; none removes.
    Config(Vec<(String, Option<Value>)>),
    /// New values of the summary; none removes.
    Summary(Vec<(String, Option<Value>)>),
    /// A step of the history, or what the machine was doing.
    Row(Row),
    /// The program ended with this code after so many seconds.
    Exit { code: i64, runtime_s: i64 },
}

/// Who a run is. Also the format of `run.json`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct About {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) project: Option<String>,
    pub(super) entity: Option<String>,
    pub(super) state: Option<String>,
    pub(super) created_at: Option<String>,
    pub(super) group: Option<String>,
    pub(super) job_type: Option<String>,
    pub(super) sweep: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) notes: Option<String>,
    pub(super) user: Option<String>,
    pub(super) host: Option<String>,
    pub(super) program: Option<String>,
    pub(super) commit: Option<String>,
    pub(super) url: Option<String>,
}

impl About {
    /// Adds what `later` tells.
    pub(super) fn merge(&mut self, later: Self) {
        let ours = [
            (&mut self.name, later.name),
            (&mut self.project, later.project),
            (&mut self.entity, later.entity),
            (&mut self.state, later.state),
            (&mut self.group, later.group),
            (&mut self.job_type, later.job_type),
            (&mut self.sweep, later.sweep),
            (&mut self.notes, later.notes),
            (&mut self.user, later.user),
            (&mut self.host, later.host),
            (&mut self.program, later.program),
            (&mut self.commit, later.commit),
            (&mut self.url, later.url),
        ];
        for (ours, later) in ours {
            if later.as_ref().is_some_and(|text| !text.is_empty()) {
                *ours = later;
            }
        }
        // A run that is taken up again began when it began first.
        self.created_at = self.created_at.take().or(later.created_at);
        if !later.id.is_empty() {
            self.id = later.id;
        }
        if !later.tags.is_empty() {
            self.tags = later.tags;
        }
    }

    /// When the run began.
    pub(super) fn started(&self) -> Option<Timestamp> {
        self.created_at.as_ref()?.parse().ok()
    }

    /// Where the run stands, if the words of the service say so.
    pub(super) fn status(&self) -> Option<RunStatus> {
        match self.state.as_deref()? {
            "finished" => Some(RunStatus::Finished),
            "failed" | "crashed" => Some(RunStatus::Failed),
            "killed" | "preempted" | "preempting" => Some(RunStatus::Killed),
            "pending" => Some(RunStatus::Scheduled),
            "running" => Some(RunStatus::Running),
            _ => None,
        }
    }

    pub(super) fn project(&self) -> &str {
        // What W&B names it.
        self.project.as_deref().filter(|project| !project.is_empty()).unwrap_or("uncategorized")
    }
}

/// Values of one moment.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// Absent for what the machine was doing.
    pub(super) step: Option<i64>,
    pub(super) time: Option<Timestamp>,
    /// Seconds since the run began.
    pub(super) runtime_s: Option<f64>,
    pub(super) values: Vec<(String, f64)>,
    /// Keys whose values are no numbers.
    pub(super) other: Vec<String>,
}

impl Row {
    /// A step of the history from its keys and values.
    pub(super) fn new(pairs: impl IntoIterator<Item = (String, Value)>) -> Self {
        let mut row = Self { step: Some(0), ..Self::default() };
        for (key, value) in pairs {
            match key.as_str() {
                "_step" => row.step = value.as_f64().map(|step| step as i64),
                "_timestamp" => row.time = value.as_f64().map(seconds),
                "_runtime" => row.runtime_s = value.as_f64(),
                _ => values::flatten(&key, value, &mut |key, value| row.add(key, &value)),
            }
        }
        row
    }

    pub(super) fn add(&mut self, key: String, value: &Value) {
        if key.starts_with('_') || value.is_null() {
            return;
        }
        match values::number(value) {
            Some(number) => self.values.push((key, number)),
            None => self.other.push(key),
        }
    }
}

/// The moment so many seconds after the epoch.
pub(super) fn seconds(seconds: f64) -> Timestamp {
    Timestamp::from_micros((seconds * 1e6) as i64)
}
