//! Which trials are stopped early.
//!
//! A pruner is plain data and judges from the reports of the trials alone, so that every worker of a study judges
//! alike. Values are compared in the direction of the first objective.

mod halving;
mod hyperband;
mod patience;
mod percentile;
mod wilcoxon;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub use self::{
    halving::HalvingSettings, hyperband::HyperbandSettings, patience::PatienceSettings, percentile::PercentileSettings,
    wilcoxon::WilcoxonSettings,
};
use super::{sampler::StudyView, trial::Trial};

/// What a pruner says of a trial that has just reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Go on.
    Continue,
    /// Stop for good.
    Prune,
    /// Stop; the trial may be resumed once it is among the best of its rung.
    Pause,
}

impl Judgement {
    fn prune_if(prune: bool) -> Self {
        if prune { Self::Prune } else { Self::Continue }
    }
}

/// Which pruner a study uses, as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PrunerSettings {
    /// Stops a trial whose best report is in the worse part of the others' reports at that step.
    Percentile(PercentileSettings),
    /// Lets the best share of each rung go on to the next, which takes some times the steps.
    SuccessiveHalving(HalvingSettings),
    /// Successive halving with several first rungs side by side.
    Hyperband(HyperbandSettings),
    /// Stops a trial that is worse than the best one step by step, by Wilcoxon's signed-rank test.
    Wilcoxon(WilcoxonSettings),
    /// Stops a trial that no longer gets better.
    Patience(PatienceSettings),
    /// Stops a trial whose report leaves an interval.
    Threshold(ThresholdSettings),
}

/// Bounds of sane reports.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThresholdSettings {
    /// Least report that lives on.
    pub lower: Option<f64>,
    /// Largest report that lives on.
    pub upper: Option<f64>,
    /// First step that is judged. Default 0.
    pub warmup_steps: u64,
}

impl PrunerSettings {
    /// A pruner by its usual name, with its defaults: `median`, `percentile`, `successive_halving`, `asha` (successive
    /// halving that resumes paused trials), `hyperband`, `wilcoxon` or `patience`; none for `none`.
    ///
    /// # Errors
    /// `InvalidArgument` for another name.
    pub fn by_name(name: &str) -> Result<Option<Self>> {
        Ok(Some(match name {
            "none" => return Ok(None),
            "median" => Self::Percentile(PercentileSettings::default()),
            "percentile" => Self::Percentile(PercentileSettings { percentile: 25.0, ..PercentileSettings::default() }),
            "successive_halving" => Self::SuccessiveHalving(HalvingSettings::default()),
            "asha" => Self::SuccessiveHalving(HalvingSettings { promote: true, ..HalvingSettings::default() }),
            "hyperband" => Self::Hyperband(HyperbandSettings::default()),
            "wilcoxon" => Self::Wilcoxon(WilcoxonSettings::default()),
            "patience" => Self::Patience(PatienceSettings::default()),
            _ => {
                return Err(Error::invalid_argument(format!(
                    "unknown pruner {name:?}, expected median, percentile, successive_halving, asha, hyperband, \
                     wilcoxon, patience or none"
                )));
            }
        }))
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is out of range.
    pub fn validate(&self) -> Result<()> {
        let fault = match self {
            Self::Percentile(settings) => settings.fault(),
            Self::SuccessiveHalving(settings) => settings.fault(),
            Self::Hyperband(settings) => settings.fault(),
            Self::Wilcoxon(settings) => settings.fault(),
            Self::Patience(settings) => return settings.validate(),
            Self::Threshold(settings) => (settings.lower.is_none() && settings.upper.is_none())
                .then_some("threshold pruner needs a lower or an upper bound"),
        };
        fault.map_or(Ok(()), |fault| Err(Error::invalid_argument(fault)))
    }

    /// Judges a trial by its last report.
    pub(crate) fn judge(&self, view: &StudyView<'_>, study: &str, trial: &Trial) -> Judgement {
        let Some((step, value)) = trial.last_report() else { return Judgement::Continue };
        match self {
            Self::Percentile(settings) => Judgement::prune_if(settings.prunes(view, trial, step)),
            Self::SuccessiveHalving(settings) => settings.judge(view, trial, |_| true),
            Self::Hyperband(settings) => settings.judge(view, study, trial),
            Self::Wilcoxon(settings) => Judgement::prune_if(settings.prunes(view, trial)),
            Self::Patience(settings) => settings.judge(view, study, trial),
            Self::Threshold(settings) => {
                let low = settings.lower.is_some_and(|lower| value < lower);
                let high = settings.upper.is_some_and(|upper| value > upper);
                Judgement::prune_if(step >= settings.warmup_steps && (low || high))
            }
        }
    }

    /// Whether it may pause trials.
    pub(crate) fn pauses(&self) -> bool {
        match self {
            Self::SuccessiveHalving(settings) => settings.promote,
            Self::Patience(settings) => settings.wrapped.as_ref().is_some_and(|wrapped| wrapped.pauses()),
            _ => false,
        }
    }

    /// The paused trial to go on with before a new one begins.
    pub(crate) fn resumes(&self, view: &StudyView<'_>) -> Option<usize> {
        match self {
            Self::SuccessiveHalving(settings) => settings.resumes(view),
            _ => None,
        }
    }

    /// Which trials a sampler learns from together: those of one bracket.
    pub(crate) fn bracket(&self, study: &str, number: usize) -> u64 {
        match self {
            Self::Hyperband(settings) => settings.bracket(study, number),
            _ => 0,
        }
    }
}
