//! The plan of a rollout as plain data.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    Guardrail, StickyCookie, Strategy,
    bandit::{BanditSettings, Policy},
};

/// When a stage is passed, beside having seen [`RolloutSettings::min_requests`] and lasted
/// [`RolloutSettings::stage_min_s`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requirement {
    /// Every guardrail passes: the candidate is shown to be no worse, by more than the margins.
    #[default]
    NoWorse,
    /// No guardrail fails: nothing is known against the candidate.
    NoFailure,
}

/// Strategy and guardrails.
///
/// ```
/// use mlops_serve::rollout::{Guardrail, RolloutSettings, Strategy};
///
/// let plan: RolloutSettings = serde_json::from_str(
///     r#"{
///         "strategy": {"kind": "canary", "steps": [0.01, 0.1, 1.0], "mirror": 1.0},
///         "guardrails": [{"kind": "errors", "margin": 0.005}, {"kind": "slow_at_most", "share": 0.01}],
///         "slow_above_us": 20000
///     }"#,
/// )?;
/// assert_eq!((plan.min_requests, plan.guardrails.len()), (500, 2));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutSettings {
    /// How traffic gets to the candidates.
    pub strategy: Strategy,
    /// What the candidates must not do; at most [`GUARDRAILS_MAX`].
    pub guardrails: Vec<Guardrail>,
    /// When a stage is passed.
    pub requirement: Requirement,
    /// Chance that a guardrail fails a candidate that is as good as the champion, over the whole rollout and however
    /// often it is judged.
    pub alpha: f64,
    /// Requests that each candidate must have seen in a stage before it may go on; the least number of reported figures
    /// before a mean is judged.
    pub min_requests: u64,
    /// How long a stage lasts at least, seconds.
    pub stage_min_s: u64,
    /// How long a stage may stay undecided before it pauses for a person, seconds; 0 for ever. Default seven days.
    pub stage_max_s: u64,
    /// A request longer than this counts as slow, microseconds.
    pub slow_above_us: u64,
    /// Chance of taking a fair split of traffic for an unfair one. 0 does not check. Not checked where
    /// [`RolloutSettings::sticky_by`] or [`RolloutSettings::sticky_cookie`] is set, for the requests of one key are not
    /// independent.
    pub sample_ratio_alpha: f64,
    /// Separates the bucketing of this rollout from that of others.
    pub salt: String,
    /// Header or text input whose value is the routing key, for stickiness; none routes by request id. The statistics
    /// take requests for independent; with few keys that make many requests each, they are too sure.
    pub sticky_by: Option<String>,
    /// Cookie that holds a routing key of clients over HTTP that send none, for stickiness of browsers; none sets none. A
    /// client over gRPC may send it as metadata, and is not told to keep one.
    pub sticky_cookie: Option<StickyCookie>,
    /// Header, or gRPC metadata, with what a bandit on a linear model knows of the request: numbers with commas between.
    /// Open Inference's parameter `context` says the same and goes before. None takes no header for it.
    pub context_by: Option<String>,
    /// Header, or gRPC metadata, whose value, the name of a variant (`champion`, `canary`, `treatment-1`), overrides the key, for testers.
    /// Such requests are not counted. None lets no header do that.
    pub override_by: Option<String>,
    /// Answers that may wait for a reported figure; the oldest are forgotten.
    pub outcomes_pending_max: usize,
}

/// Most guardrails of a rollout.
pub const GUARDRAILS_MAX: usize = 32;

impl Default for RolloutSettings {
    fn default() -> Self {
        Self {
            strategy: Strategy::Canary { steps: vec![0.1, 0.5, 1.0], mirror: 0.0 },
            guardrails: vec![Guardrail::Errors { margin: 0.01 }, Guardrail::Slow { margin: 0.01 }],
            requirement: Requirement::NoWorse,
            alpha: 0.05,
            min_requests: 500,
            stage_min_s: 0,
            stage_max_s: 7 * 24 * 60 * 60,
            slow_above_us: 100_000,
            sample_ratio_alpha: 0.001,
            salt: String::new(),
            sticky_by: None,
            sticky_cookie: None,
            context_by: None,
            override_by: None,
            outcomes_pending_max: 100_000,
        }
    }
}

impl RolloutSettings {
    /// The defaults with a strategy.
    #[must_use]
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, ..Self::default() }
    }

    /// A canary with these shares, rising.
    #[must_use]
    pub fn canary(steps: impl Into<Vec<f64>>) -> Self {
        Self::new(Strategy::Canary { steps: steps.into(), mirror: 0.0 })
    }

    /// Checks every number, for so many candidates.
    ///
    /// # Errors
    /// `InvalidArgument` naming all settings at fault.
    pub fn validate(&self, candidates: usize) -> Result<()> {
        let mut faults = self.strategy.faults(candidates);
        faults.extend(self.guardrails.iter().filter_map(Guardrail::fault));
        if self.guardrails.len() > GUARDRAILS_MAX {
            faults.push(format!("{} guardrails; at most {GUARDRAILS_MAX}", self.guardrails.len()));
        }
        faults.extend(self.sticky_cookie.as_ref().and_then(StickyCookie::fault));
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            faults.push(format!("alpha {} must be between 0 and 1", self.alpha));
        }
        if !(self.sample_ratio_alpha >= 0.0 && self.sample_ratio_alpha < 1.0) {
            faults.push(format!("sample_ratio_alpha {} must be 0 to 1", self.sample_ratio_alpha));
        }
        if self.min_requests == 0 {
            faults.push("min_requests is 0".into());
        }
        if self.stage_max_s > 0 && self.stage_max_s < self.stage_min_s {
            faults.push(format!("stage_max_s {} is below stage_min_s {}", self.stage_max_s, self.stage_min_s));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("rollout settings: {}", faults.join(", "))))
    }

    /// Whether requests of one client stay together.
    pub(crate) fn is_sticky(&self) -> bool {
        self.sticky_by.is_some() || self.sticky_cookie.is_some()
    }

    /// How many numbers a bandit wants to know of a request; none when it wants none.
    pub(crate) fn context_wanted(&self) -> Option<usize> {
        match &self.strategy {
            Strategy::Bandit(BanditSettings { policy: Policy::LinUcb { dimension, .. }, .. }) => Some(*dimension),
            _ => None,
        }
    }

    /// Whether answers are remembered until a figure is reported for them.
    pub(crate) fn awaits_outcomes(&self) -> bool {
        let by_goal = matches!(&self.strategy, Strategy::Experiment { goal: Some(_), .. } | Strategy::Bandit(_));
        by_goal || self.guardrails.iter().any(|guardrail| matches!(guardrail, Guardrail::Kpi { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_must_rise_and_all_faults_are_named() {
        RolloutSettings::default().validate(1).unwrap();
        for steps in [vec![], vec![0.0], vec![0.5, 0.5], vec![0.1, 1.1], vec![f64::NAN]] {
            assert!(RolloutSettings::canary(steps).validate(1).is_err());
        }
        let guardrails = vec![Guardrail::Errors { margin: 0.0 }];
        let settings = RolloutSettings { alpha: 0.0, min_requests: 0, guardrails, ..Default::default() };
        let error = settings.validate(2).unwrap_err();
        for fault in ["alpha 0", "min_requests", "margin 0", "2 candidates"] {
            assert!(error.message().contains(fault), "{error}");
        }
    }

    #[test]
    fn weights_must_fit_the_candidates() {
        let experiment = |weights: Vec<f64>| RolloutSettings::new(Strategy::Experiment { weights, goal: None });
        experiment(vec![0.5, 0.5]).validate(2).unwrap();
        for (weights, candidates) in [(vec![0.5, 0.6], 2), (vec![0.5], 2), (vec![0.0, 0.1], 2), (vec![], 0)] {
            assert!(experiment(weights).validate(candidates).is_err());
        }
    }
}
