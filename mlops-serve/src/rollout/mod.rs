//! Moving traffic from the champion to a candidate in steps, judged on the way.
//!
//! A [`Rollout`] is a value: routing, judging and stepping are pure functions of it, so it can be stored,
//! resumed and replayed. Counting requests and moving traffic is the server's part.

mod bucket;
mod judge;
mod settings;

use mlops_core::{Error, ModelName, Result, Version};
use serde::{Deserialize, Serialize};

pub use bucket::{BUCKETS, bucket_of};
pub use judge::{ArmStats, Decision, RolloutStats};
pub use settings::RolloutSettings;

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Planned; the champion answers everything.
    Idle,
    /// The champion answers everything; the candidate sees copies and its answers are thrown away.
    Shadow,
    /// The candidate answers a share of the requests.
    Canary {
        /// Index into [`RolloutSettings::steps`].
        step: usize,
    },
    /// The candidate answers everything, until the alias catches up.
    Promoted,
    /// The champion answers everything again.
    RolledBack {
        /// Why.
        reason: String,
    },
}

/// Who answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// The version in service.
    Champion,
    /// The candidate of a rollout.
    Canary,
    /// The version that the request named.
    Pinned,
}

impl Variant {
    /// The word in logs, headers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Champion => "champion",
            Self::Canary => "canary",
            Self::Pinned => "pinned",
        }
    }
}

/// One candidate on its way into service.
///
/// ```
/// use mlops_core::{ModelName, Version};
/// use mlops_serve::rollout::{ArmStats, Decision, Rollout, RolloutSettings, RolloutStats};
///
/// let settings = RolloutSettings { min_requests: 100, ..RolloutSettings::default() };
/// let rollout = Rollout::new(ModelName::new("fraud")?, Version(1), Version(2), settings)?.started();
/// assert_eq!(rollout.weight(), 0.1);
///
/// let healthy = |requests| ArmStats { requests, latency_us_sum: requests * 500, ..ArmStats::default() };
/// let stats = RolloutStats { champion: healthy(900), canary: healthy(100) };
/// let decision = rollout.advance(&stats);
/// assert_eq!(decision, Decision::Advance(0.5));
/// assert_eq!(rollout.apply(&decision, &stats).weight(), 0.5);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The served model.
    pub model: ModelName,
    /// The version in service when it began.
    pub champion: Version,
    /// The version on trial.
    pub candidate: Version,
    /// The plan.
    pub settings: RolloutSettings,
    /// Where it stands.
    pub phase: Phase,
    /// What the champion did in the steps that are over; the last step compares with it.
    pub baseline: ArmStats,
}

impl Rollout {
    /// A planned rollout.
    ///
    /// # Errors
    /// `InvalidArgument` when the settings are wrong or the candidate is the champion.
    pub fn new(model: ModelName, champion: Version, candidate: Version, settings: RolloutSettings) -> Result<Self> {
        settings.validate()?;
        if champion == candidate {
            return Err(Error::invalid_argument(format!(
                "version {candidate} of model \"{model}\" is in service already"
            )));
        }
        Ok(Self { model, champion, candidate, settings, phase: Phase::Idle, baseline: ArmStats::default() })
    }

    /// The same, begun: in shadow when the settings ask for it, else at the first step.
    #[must_use]
    pub fn started(mut self) -> Self {
        if self.phase == Phase::Idle {
            self.phase = if self.settings.shadow { Phase::Shadow } else { Phase::Canary { step: 0 } };
        }
        self
    }

    /// Share of requests that the candidate answers, 0 to 1.
    #[must_use]
    pub fn weight(&self) -> f64 {
        match &self.phase {
            Phase::Canary { step } => self.settings.steps.get(*step).copied().unwrap_or(0.0),
            Phase::Promoted => 1.0,
            Phase::Idle | Phase::Shadow | Phase::RolledBack { .. } => 0.0,
        }
    }

    /// The word for the phase, as `Fact::RolloutChanged` carries it.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match self.phase {
            Phase::Idle => "idle",
            Phase::Shadow => "shadow",
            Phase::Canary { .. } => "canary",
            Phase::Promoted => "promoted",
            Phase::RolledBack { .. } => "rolled_back",
        }
    }

    /// Whether the candidate must stay loaded.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Shadow | Phase::Canary { .. } | Phase::Promoted)
    }

    /// Who answers the unit with this key. Monotone: a key in the canary stays there when the weight rises.
    #[must_use]
    pub fn route(&self, key: &str) -> Variant {
        let threshold = (self.weight() * f64::from(BUCKETS)).round();
        let salt = format!("{}/{}/{}", self.settings.salt, self.model, self.candidate);
        if f64::from(bucket_of(&salt, key)) < threshold { Variant::Canary } else { Variant::Champion }
    }

    /// What should happen, given what was counted since the current step began. Changes nothing.
    #[must_use]
    pub fn advance(&self, stats: &RolloutStats) -> Decision {
        judge::judge(self, stats)
    }

    /// The rollout after `decision`.
    #[must_use]
    pub fn apply(&self, decision: &Decision, stats: &RolloutStats) -> Self {
        let mut next = self.clone();
        match decision {
            Decision::Hold => return next,
            Decision::Advance(_) => {
                let step = match self.phase {
                    Phase::Canary { step } => step + 1,
                    _ => 0,
                };
                next.phase = Phase::Canary { step };
            }
            Decision::Promote => next.phase = Phase::Promoted,
            Decision::RollBack(reason) => next.phase = Phase::RolledBack { reason: reason.clone() },
        }
        next.baseline = self.baseline.plus(&stats.champion);
        next
    }
}
