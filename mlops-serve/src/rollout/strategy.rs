//! How traffic gets to candidates: every strategy is a list of stages, and one state machine walks through it.

use mlops_metrics::Direction;
use serde::{Deserialize, Serialize};

use super::{bandit::BanditSettings, variant::CANDIDATES_MAX};

/// How traffic gets to the candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Strategy {
    /// One candidate, with a share that rises step by step and ends in promotion.
    Canary {
        /// Shares of traffic of the candidate, rising, each above 0 and at most 1.
        steps: Vec<f64>,
        /// Share of requests that is copied to the candidate before the first step; 0 leaves that stage out.
        #[serde(default)]
        mirror: f64,
    },
    /// One candidate: a look at it, then all traffic at once, watched until the stage has passed. Until then, and after
    /// it until the alias has moved, switching back is instant, for the champion stays loaded.
    BlueGreen {
        /// Share of requests that is copied to the candidate before the switch; with 0 the stage before the switch only
        /// learns what is normal.
        #[serde(default)]
        mirror: f64,
    },
    /// One candidate that gets copies and answers nobody. It is never promoted by itself: having kept its guardrails it
    /// waits for a person.
    Shadow {
        /// Share of requests that is copied.
        mirror: f64,
    },
    /// Several candidates side by side, at fixed shares, until one wins or the time is over.
    Experiment {
        /// Shares of the candidates, together at most 1; the champion, which is the control, has the rest.
        weights: Vec<f64>,
        /// What decides; without it the experiment only collects, and waits for a person at its end.
        #[serde(default)]
        goal: Option<Goal>,
    },
    /// Several candidates and the champion, at shares that follow the rewards. Every request is drawn by itself: keys do not
    /// stick.
    Bandit(BanditSettings),
}

/// What an experiment is for. A candidate that is better beyond chance is promoted; the chance that one is that is no better is
/// at most [`RolloutSettings::alpha`](super::RolloutSettings::alpha), shared by the candidates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Goal {
    /// Name of the figure that is reported for answers.
    pub kpi: String,
    /// Which values are better.
    pub direction: Direction,
    /// The least improvement that is of interest, in the figure's unit: when no candidate can have it any more, going on
    /// is futile.
    pub effect: f64,
}

/// What a stage does with traffic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stage {
    /// Of the candidates, in their order.
    pub(super) shares: Vec<f64>,
    /// Share of requests that the first candidate gets a copy of.
    pub(super) mirror: f64,
    /// The word for it.
    pub(super) name: &'static str,
}

impl Strategy {
    /// The stages for so many candidates.
    pub(super) fn stages(&self, candidates: usize) -> Vec<Stage> {
        let live = |share: f64, name| Stage { shares: vec![share], mirror: 0.0, name };
        let mirrored = |mirror: f64, name| Stage { shares: vec![0.0], mirror, name };
        match self {
            Self::Canary { steps, mirror } => {
                let before = (*mirror > 0.0).then(|| mirrored(*mirror, "shadow"));
                before.into_iter().chain(steps.iter().map(|&share| live(share, "canary"))).collect()
            }
            Self::BlueGreen { mirror } => vec![mirrored(*mirror, "preview"), live(1.0, "switched")],
            Self::Shadow { mirror } => vec![mirrored(*mirror, "shadow")],
            Self::Experiment { weights, .. } => {
                vec![Stage { shares: weights.clone(), mirror: 0.0, name: "experiment" }]
            }
            // What the arms have before the first reward; the policy decides request by request.
            Self::Bandit(_) => {
                let share = 1.0 / (candidates as f64 + 1.0);
                vec![Stage { shares: vec![share; candidates], mirror: 0.0, name: "bandit" }]
            }
        }
    }

    /// Whether there may be more than one candidate, each with a number.
    pub(super) fn is_experiment(&self) -> bool {
        matches!(self, Self::Experiment { .. } | Self::Bandit(_))
    }

    /// What is wrong with it for so many candidates.
    pub(super) fn faults(&self, candidates: usize) -> Vec<String> {
        let mut faults = self.own_faults();
        let most = if self.is_experiment() { CANDIDATES_MAX } else { 1 };
        if candidates == 0 || candidates > most {
            faults.push(format!("{candidates} candidates; this strategy has 1 to {most}"));
        }
        if let Self::Experiment { weights, .. } = self
            && weights.len() != candidates
        {
            faults.push(format!("{} weights for {candidates} candidates", weights.len()));
        }
        faults
    }

    fn own_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut share_of_copies = |mirror: f64, least: f64| {
            if !(mirror >= least && mirror <= 1.0) {
                faults.push(format!("mirror {mirror} must be {least} to 1"));
            }
        };
        match self {
            Self::Canary { steps, mirror } => {
                share_of_copies(*mirror, 0.0);
                let in_range = steps.iter().all(|&step| step > 0.0 && step <= 1.0);
                let rising = steps.windows(2).all(|pair| matches!(pair, [low, high] if low < high));
                if steps.is_empty() || !in_range || !rising {
                    faults.push(format!("steps {steps:?} must rise within 0 (exclusive) to 1"));
                }
            }
            Self::BlueGreen { mirror } => share_of_copies(*mirror, 0.0),
            Self::Shadow { mirror } => share_of_copies(*mirror, 1e-4),
            Self::Experiment { weights, goal } => {
                let fits = weights.iter().all(|&weight| weight > 0.0) && weights.iter().sum::<f64>() <= 1.0 + 1e-9;
                if weights.is_empty() || !fits {
                    faults.push(format!("weights {weights:?} must be above 0 and together at most 1"));
                }
                let effect = goal.as_ref().map(|goal| goal.effect);
                faults.extend(
                    effect
                        .filter(|e| !(*e > 0.0 && e.is_finite()))
                        .map(|e| format!("goal: effect {e} must be above 0")),
                );
            }
            Self::Bandit(settings) => faults.extend(settings.faults()),
        }
        faults
    }
}
