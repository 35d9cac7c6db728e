//! Stops a trial that no longer gets better, or lets another pruner judge it only then.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{Judgement, PrunerSettings};
use crate::search::{sampler::StudyView, trial::Trial};

/// Settings of the patience pruner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatienceSettings {
    /// Reports without improvement that are borne. Default 10.
    pub patience: usize,
    /// Least difference that is an improvement, at least 0. Default 0.
    pub min_delta: f64,
    /// Who judges a trial that got no better; by default it is stopped.
    pub wrapped: Option<Box<PrunerSettings>>,
}

impl Default for PatienceSettings {
    fn default() -> Self {
        Self { patience: 10, min_delta: 0.0, wrapped: None }
    }
}

impl PatienceSettings {
    pub(super) fn validate(&self) -> Result<()> {
        if !(0.0..).contains(&self.min_delta) {
            return Err(Error::invalid_argument(format!("min_delta must be at least 0, found {}", self.min_delta)));
        }
        self.wrapped.as_ref().map_or(Ok(()), |wrapped| wrapped.validate())
    }

    pub(super) fn judge(&self, view: &StudyView<'_>, study: &str, trial: &Trial) -> Judgement {
        let Some(direction) = view.directions.first() else { return Judgement::Continue };
        let losses: Vec<f64> = trial.reports.values().map(|&value| direction.loss(value)).collect();
        let Some(split) = losses.len().checked_sub(self.patience + 1).filter(|&split| split > 0) else {
            return Judgement::Continue;
        };
        let (before, after) = losses.split_at(split);
        let best = |losses: &[f64]| losses.iter().copied().fold(f64::INFINITY, f64::min);
        if best(before) + self.min_delta >= best(after) {
            return Judgement::Continue;
        }
        self.wrapped.as_ref().map_or(Judgement::Prune, |wrapped| wrapped.judge(view, study, trial))
    }
}
