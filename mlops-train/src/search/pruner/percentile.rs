//! Stops a trial whose best report so far is worse than a percentile of the complete trials' reports at that step.
//! With 50 percent, the median stopping rule (Golovin et al., "Google Vizier", KDD 2017).

use serde::{Deserialize, Serialize};

use crate::search::{
    sampler::StudyView,
    trial::{Trial, TrialState},
};

/// Settings of the percentile pruner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PercentileSettings {
    /// Share of the trials that live on, in percent. Default 50, the median.
    pub percentile: f64,
    /// Complete trials before which nothing is stopped. Default 5.
    pub startup_trials: usize,
    /// First step that is judged. Default 0.
    pub warmup_steps: u64,
    /// Steps from one judgement to the next, at least 1. Default 1.
    pub interval_steps: u64,
    /// Reports at a step below which nothing is stopped, at least 1. Default 1.
    pub trials_min: usize,
}

impl Default for PercentileSettings {
    fn default() -> Self {
        Self { percentile: 50.0, startup_trials: 5, warmup_steps: 0, interval_steps: 1, trials_min: 1 }
    }
}

impl PercentileSettings {
    pub(super) fn fault(&self) -> Option<&'static str> {
        let ranges = (0.0..=100.0).contains(&self.percentile) && self.interval_steps > 0 && self.trials_min > 0;
        (!ranges).then_some("percentile must be from 0 to 100, interval_steps and trials_min at least 1")
    }

    pub(super) fn prunes(&self, view: &StudyView<'_>, trial: &Trial, step: u64) -> bool {
        let Some(&direction) = view.directions.first() else { return false };
        let complete = || view.trials.iter().filter(|other| other.state == TrialState::Complete);
        if complete().count() < self.startup_trials.max(1) || step < self.warmup_steps || !self.is_due(trial, step) {
            return false;
        }
        let best = trial.reports.values().map(|&value| direction.loss(value)).fold(f64::INFINITY, f64::min);
        let mut others: Vec<f64> =
            complete().filter_map(|other| other.reports.get(&step)).map(|&value| direction.loss(value)).collect();
        if others.len() < self.trials_min {
            return false;
        }
        others.sort_by(f64::total_cmp);
        percentile(&others, self.percentile).is_some_and(|bound| best > bound)
    }

    /// Whether this is the first report since the last step at which trials are judged.
    fn is_due(&self, trial: &Trial, step: u64) -> bool {
        let due = (step - self.warmup_steps) / self.interval_steps * self.interval_steps + self.warmup_steps;
        trial.reports.range(..step).next_back().is_none_or(|(&before, _)| before < due)
    }
}

/// A percentile of ascending values, between two of them in proportion.
fn percentile(ascending: &[f64], percent: f64) -> Option<f64> {
    let place = percent / 100.0 * (ascending.len().checked_sub(1)?) as f64;
    let below = *ascending.get(place.floor() as usize)?;
    let above = *ascending.get(place.ceil() as usize)?;
    Some(below + (above - below) * place.fract())
}
