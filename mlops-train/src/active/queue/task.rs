//! What is labelled, by whom, and how far it is.

use std::{fmt, str::FromStr};

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::active::Reason;

/// Something to be labelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelTask {
    /// Its name within the queue; a task that is there already is not added again.
    pub id: String,
    /// What a labeler is shown.
    pub data: Value,
    /// Higher ones are handed out first.
    pub priority: f64,
    /// Why it was chosen; labels of random rows estimate accuracy without bias.
    #[serde(default)]
    pub reason: Option<Reason>,
    /// What a model says, with its probability, to be shown as a proposal.
    #[serde(default)]
    pub prediction: Option<(String, f64)>,
}

impl LabelTask {
    /// A task of priority zero.
    #[must_use]
    pub fn new(id: impl Into<String>, data: Value) -> Self {
        Self { id: id.into(), data, priority: 0.0, reason: None, prediction: None }
    }
}

/// A task that a labeler holds until its lease ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The task.
    pub task: LabelTask,
    /// Until when nobody else gets this place on the task.
    pub lease_until: Timestamp,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It still needs labels.
    Open,
    /// Its labels differ too much; an adjudicator must settle it.
    Disputed,
    /// It has its label.
    Labeled,
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Disputed => "disputed",
            Self::Labeled => "labeled",
        })
    }
}

impl FromStr for TaskState {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "open" => Ok(Self::Open),
            "disputed" => Ok(Self::Disputed),
            "labeled" => Ok(Self::Labeled),
            other => Err(Error::new(mlops_core::ErrorKind::DataLoss, format!("task state {other:?} is unknown"))),
        }
    }
}

/// What one labeler said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Who.
    pub labeler: String,
    /// What.
    pub label: String,
    /// When.
    pub at: Timestamp,
}

/// A task with all that was said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// The task.
    pub task: LabelTask,
    /// How far it is.
    pub state: TaskState,
    /// The label that counts, once labeled.
    pub label: Option<String>,
    /// The adjudicator who settled it, where labelers differed.
    pub settled_by: Option<String>,
    /// Labels by labeler.
    pub submissions: Vec<Submission>,
}

/// Tasks by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueProgress {
    /// Tasks that still need labels.
    pub open: u64,
    /// Tasks that wait for an adjudicator.
    pub disputed: u64,
    /// Tasks with their label.
    pub labeled: u64,
}
