//! One set of parameters and what became of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::params::Params;

/// Attribute of a trial that repeats a dead one: the number of that one.
pub(crate) const RETRY_OF: &str = "retry:of";

/// What became of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// Asked for and not told yet.
    Running,
    /// Stopped at a rung by a pruner that may resume it; holds its reports.
    Paused,
    /// Told its values.
    Complete,
    /// Stopped early; proposals learn from its reports.
    Pruned,
    /// Ended without a value; proposals ignore it.
    Failed,
}

impl TrialState {
    /// Whether the trial is over.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Complete | Self::Pruned | Self::Failed)
    }
}

/// One set of parameters and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number, counting from zero.
    pub number: usize,
    /// What to try.
    pub params: Params,
    /// What became of it.
    pub state: TrialState,
    /// Values of the objectives once complete, all finite.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<f64>,
    /// How far constraints are violated; a trial is feasible when none is above zero.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<f64>,
    /// Values reported on the way, by step; all finite.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reports: BTreeMap<u64, f64>,
    /// What samplers and pruners keep with the trial.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Value>,
    /// What its evaluation noted about it; neither samplers nor pruners look at it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub user_attributes: BTreeMap<String, Value>,
    /// How many trials had ended before this one did; none before it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<usize>,
}

impl Trial {
    /// A trial that has just begun.
    pub(crate) fn begin(number: usize, params: Params, attributes: BTreeMap<String, Value>) -> Self {
        Self {
            number,
            params,
            state: TrialState::Running,
            values: Vec::new(),
            constraints: Vec::new(),
            reports: BTreeMap::new(),
            attributes,
            user_attributes: BTreeMap::new(),
            ended: None,
        }
    }

    /// The value of the first objective, once complete.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        self.values.first().copied().filter(|_| self.state == TrialState::Complete)
    }

    /// Whether no constraint is violated.
    #[must_use]
    pub fn is_feasible(&self) -> bool {
        self.violation() <= 0.0
    }

    /// Sum of the violations; zero when feasible.
    #[must_use]
    pub fn violation(&self) -> f64 {
        self.constraints.iter().filter(|&&violation| violation > 0.0).sum()
    }

    /// The last step reported, and its value.
    #[must_use]
    pub fn last_report(&self) -> Option<(u64, f64)> {
        self.reports.last_key_value().map(|(&step, &value)| (step, value))
    }
}
