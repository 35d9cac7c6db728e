//! Asynchronous successive halving: the best share of each rung goes on to the next.
//!
//! Rung `r` ends at step `min_resource * factor^(rate + r)`; a trial's value there is its first report at or after that
//! step, so that rungs need not be stored. Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys
//! 2020), algorithm 2, with `promote`: a trial that is not among the best of its rung is paused, and resumed once
//! enough trials have reached the rung that it is. Without, it is stopped for good, as Optuna does.

use serde::{Deserialize, Serialize};

use super::Judgement;
use crate::search::{
    sampler::StudyView,
    trial::{Trial, TrialState},
};

/// Rungs that one trial may have.
const RUNGS_MAX: u32 = 64;

/// Settings of successive halving.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HalvingSettings {
    /// Step at which the first rung ends, at least 1; by default a hundredth of the first complete trial's last step.
    pub min_resource: Option<u64>,
    /// How many times the steps the next rung takes, and of how many trials one goes on; at least 2. Default 4.
    pub factor: u64,
    /// How many rungs the first one leaves out. Default 0.
    pub rate: u32,
    /// Trials that must have reached a rung before any goes on. Default 0.
    pub bootstrap: usize,
    /// Whether trials are paused and resumed rather than stopped. Default false.
    pub promote: bool,
}

impl Default for HalvingSettings {
    fn default() -> Self {
        Self { min_resource: None, factor: 4, rate: 0, bootstrap: 0, promote: false }
    }
}

impl HalvingSettings {
    pub(super) fn fault(&self) -> Option<&'static str> {
        let sound = self.min_resource.is_none_or(|steps| steps > 0) && self.factor >= 2 && self.rate <= RUNGS_MAX;
        (!sound).then_some("successive halving needs min_resource >= 1, factor >= 2 and rate <= 64")
    }

    /// The step at which the first rung ends; none while no trial is complete.
    fn resource(&self, view: &StudyView<'_>) -> Option<u64> {
        self.min_resource.or_else(|| {
            let complete = view.trials.iter().filter(|trial| trial.state == TrialState::Complete);
            let reported = complete.filter_map(|trial| Some((trial.ended?, trial.last_report()?.0)));
            reported.min().map(|(_, last)| (last / 100).max(1))
        })
    }

    fn end(&self, resource: u64, rung: u32) -> Option<u64> {
        resource.checked_mul(self.factor.checked_pow(self.rate + rung)?)
    }

    /// The values of a rung as something to minimize, ascending.
    fn values(view: &StudyView<'_>, end: u64, of: &impl Fn(&Trial) -> bool) -> Vec<f64> {
        let mut values: Vec<f64> =
            view.trials.iter().filter(|trial| of(trial)).filter_map(|trial| value_at(view, trial, end)).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// Whether a value is among the best of a rung, at least the best one when `any`.
    fn is_best(&self, values: &[f64], value: f64, any: bool) -> bool {
        let count = values.len() / self.factor as usize;
        let count = if any { count.max(1) } else { count };
        values.len() > self.bootstrap && count.checked_sub(1).and_then(|at| values.get(at)).is_some_and(|b| value <= *b)
    }

    /// Judges a trial that may have reached the end of a rung with its last report; `of` are the trials it competes
    /// with.
    pub(super) fn judge(&self, view: &StudyView<'_>, trial: &Trial, of: impl Fn(&Trial) -> bool) -> Judgement {
        let (Some(resource), Some((step, _))) = (self.resource(view), trial.last_report()) else {
            return Judgement::Continue;
        };
        let before = trial.reports.range(..step).next_back().map_or(0, |(&before, _)| before);
        for end in (0..RUNGS_MAX).map_while(|rung| self.end(resource, rung)).take_while(|&end| end <= step) {
            if before >= end {
                continue;
            }
            let Some(value) = value_at(view, trial, end) else { continue };
            if !self.is_best(&Self::values(view, end, &of), value, !self.promote) {
                return if self.promote { Judgement::Pause } else { Judgement::Prune };
            }
        }
        Judgement::Continue
    }

    /// The best paused trial of the highest rung whose best share it is among.
    pub(super) fn resumes(&self, view: &StudyView<'_>) -> Option<usize> {
        let resource = self.resource(view).filter(|_| self.promote)?;
        let paused: Vec<&Trial> = view.trials.iter().filter(|trial| trial.state == TrialState::Paused).collect();
        let highest = paused.iter().filter_map(|trial| Some(trial.last_report()?.0)).max()?;
        let ends: Vec<u64> =
            (0..RUNGS_MAX).map_while(|rung| self.end(resource, rung)).take_while(|&end| end <= highest).collect();
        for (rung, &end) in ends.iter().enumerate().rev() {
            let next = self.end(resource, rung as u32 + 1).unwrap_or(u64::MAX);
            let here = |trial: &&&Trial| trial.last_report().is_some_and(|(step, _)| (end..next).contains(&step));
            let values = Self::values(view, end, &|_| true);
            let best = paused
                .iter()
                .filter(here)
                .filter_map(|trial| Some((value_at(view, trial, end)?, trial.number)))
                .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            if let Some((_, number)) = best.filter(|(value, _)| self.is_best(&values, *value, false)) {
                return Some(number);
            }
        }
        None
    }
}

/// A trial's first report at or after a step, as something to minimize.
fn value_at(view: &StudyView<'_>, trial: &Trial, end: u64) -> Option<f64> {
    let direction = view.directions.first()?;
    trial.reports.range(end..).next().map(|(_, &value)| direction.loss(value))
}
