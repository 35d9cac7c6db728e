//! The state machine of a rollout.
//!
//! Invariant: a [`Rollout`] is a value. Routing, judging and stepping are pure functions of it, of what was counted and of
//! the time, so that it can be stored, resumed and replayed. Counting requests and moving traffic is the server's part.

use mlops_core::{Error, ModelName, Result, Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::{
    Allocation, ArmStats, BUCKETS, Decision, Finding, Look, RolloutSettings, RolloutStats, Variant,
    bandit::Bandit,
    bucket_of, judge,
    strategy::{Stage, Strategy},
};

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Planned; the champion answers everything.
    Idle,
    /// Traffic is as this stage of the strategy has it.
    Running {
        /// From 0.
        stage: usize,
    },
    /// Traffic stays as this stage has it, until a person decides; guardrails that fail still roll back.
    Paused {
        /// From 0.
        stage: usize,
        /// Why nothing more can be concluded.
        reason: String,
    },
    /// A candidate answers everything, until the alias catches up.
    Promoted {
        /// The candidate.
        version: Version,
    },
    /// The champion answers everything again.
    RolledBack {
        /// Why.
        reason: String,
    },
}

/// What a person may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Keep traffic as it is and decide nothing.
    Pause {
        /// Why.
        reason: String,
    },
    /// Go on after a pause; the time of the stage begins anew, its counts go on.
    Continue,
    /// Let a candidate answer everything, whatever the guardrails say.
    Promote {
        /// Which; may be left out where there is one.
        version: Option<Version>,
    },
    /// Give everything back to the champion.
    RollBack {
        /// Why.
        reason: String,
    },
}

/// Candidates on their way into service.
///
/// ```
/// use mlops_core::{ModelName, Timestamp, Version};
/// use mlops_serve::rollout::{ArmStats, Decision, Rollout, RolloutSettings, RolloutStats};
///
/// let settings = RolloutSettings { min_requests: 100, ..RolloutSettings::default() };
/// let now = Timestamp::default();
/// let rollout = Rollout::new(ModelName::new("fraud")?, Version(1), Version(2), settings)?.started(now);
/// assert_eq!(rollout.weight(), 0.1);
///
/// let healthy = |requests| ArmStats { requests, latency_us_sum: requests * 500, ..ArmStats::default() };
/// let stats = RolloutStats::of(healthy(18_000), healthy(2_000));
/// let look = rollout.look(&stats, now);
/// assert_eq!(look.decision, Decision::Advance(0.5));
/// assert_eq!(rollout.after(&look, &stats, now).weight(), 0.5);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// The served model.
    pub model: ModelName,
    /// The version in service when it began.
    pub champion: Version,
    /// The versions on trial.
    pub candidates: Vec<Version>,
    /// The plan.
    pub settings: RolloutSettings,
    /// Where it stands.
    pub phase: Phase,
    /// Which buckets each arm has.
    pub allocation: Allocation,
    /// Candidates that broke a guardrail while others go on.
    #[serde(default)]
    pub stopped: Vec<Version>,
    /// When the current stage began.
    pub stage_began: Timestamp,
    /// What the champion did in the stages that are over; a stage without champion compares with it.
    pub baseline: ArmStats,
    /// What was counted in this stage up to the last look, so that a restart forgets little.
    #[serde(default)]
    pub seen: RolloutStats,
    /// What the last look found.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What a bandit has learnt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandit: Option<Bandit>,
}

impl Rollout {
    /// A planned rollout of one candidate.
    ///
    /// # Errors
    /// As [`Rollout::with_candidates`].
    pub fn new(model: ModelName, champion: Version, candidate: Version, settings: RolloutSettings) -> Result<Self> {
        Self::with_candidates(model, champion, [candidate], settings)
    }

    /// A planned rollout.
    ///
    /// # Errors
    /// `InvalidArgument` when the settings are wrong, or a candidate is the champion or named twice.
    pub fn with_candidates(
        model: ModelName,
        champion: Version,
        candidates: impl Into<Vec<Version>>,
        settings: RolloutSettings,
    ) -> Result<Self> {
        let candidates = candidates.into();
        let rollout = Self {
            model,
            champion,
            candidates,
            settings,
            phase: Phase::Idle,
            allocation: Allocation::default(),
            stopped: Vec::new(),
            stage_began: Timestamp::default(),
            baseline: ArmStats::default(),
            seen: RolloutStats::default(),
            findings: Vec::new(),
            bandit: None,
        };
        rollout.validate()?;
        Ok(rollout)
    }

    /// Checks a rollout that comes from outside.
    ///
    /// # Errors
    /// As [`Rollout::with_candidates`].
    pub fn validate(&self) -> Result<()> {
        self.settings.validate(self.candidates.len())?;
        for (place, candidate) in self.candidates.iter().enumerate() {
            if *candidate == self.champion {
                return Err(Error::invalid_argument(format!(
                    "version {candidate} of model \"{}\" is in service already",
                    self.model
                )));
            }
            if self.candidates.iter().skip(place + 1).any(|other| other == candidate) {
                return Err(Error::invalid_argument(format!("version {candidate} is a candidate twice")));
            }
        }
        if let Phase::Running { stage } | Phase::Paused { stage, .. } = self.phase
            && stage >= self.stages().len()
        {
            return Err(Error::invalid_argument(format!("the strategy has no stage {stage}")));
        }
        Ok(())
    }

    /// The same, begun: in the first stage of its strategy.
    #[must_use]
    pub fn started(mut self, now: Timestamp) -> Self {
        if self.phase == Phase::Idle {
            if let Strategy::Bandit(settings) = &self.settings.strategy {
                self.bandit = Some(Bandit::new(settings.clone(), self.candidates.len() + 1));
            }
            self.enter(0, now);
        }
        self
    }

    /// Share of requests that the candidates answer, 0 to 1.
    #[must_use]
    pub fn weight(&self) -> f64 {
        self.allocation.candidates_share()
    }

    /// The word for where it stands, as `Fact::RolloutChanged` carries it: `idle`, `paused`, `promoted`, `rolled_back`, or
    /// what the stage is called: `shadow`, `preview`, `canary`, `switched`, `experiment`, `bandit`.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        match self.phase {
            Phase::Idle => "idle",
            Phase::Running { .. } => self.stage().map_or("idle", |stage| stage.name),
            Phase::Paused { .. } => "paused",
            Phase::Promoted { .. } => "promoted",
            Phase::RolledBack { .. } => "rolled_back",
        }
    }

    /// Whether the candidates must stay loaded.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Running { .. } | Phase::Paused { .. } | Phase::Promoted { .. })
    }

    /// Why it is paused or was rolled back.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.phase {
            Phase::Paused { reason, .. } | Phase::RolledBack { reason } => Some(reason),
            _ => None,
        }
    }

    /// The candidate that was promoted, else the first.
    #[must_use]
    pub fn leading(&self) -> Version {
        match self.phase {
            Phase::Promoted { version } => version,
            _ => self.candidates.first().copied().unwrap_or(self.champion),
        }
    }

    /// Whether it is under way: neither planned nor over.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Running { .. } | Phase::Paused { .. })
    }

    /// Who answers the unit with this key. Monotone: a key that a candidate has stays there while its share rises.
    #[must_use]
    pub fn route(&self, key: &str) -> Variant {
        self.variant(self.allocation.arm_of(bucket_of(&self.salt(), key)))
    }

    /// What separates its buckets from those of other rollouts.
    #[must_use]
    pub fn salt(&self) -> String {
        let first = self.candidates.first().copied().unwrap_or(self.champion);
        format!("{}/{}/{first}", self.settings.salt, self.model)
    }

    /// Share of requests of which the first candidate gets a copy.
    #[must_use]
    pub fn mirror_share(&self) -> f64 {
        self.stage().map_or(0.0, |stage| stage.mirror)
    }

    /// The variant of an arm: 0 is the champion.
    #[must_use]
    pub fn variant(&self, arm: usize) -> Variant {
        if arm == 0 || arm > self.candidates.len() {
            return Variant::Champion;
        }
        match u8::try_from(arm) {
            Ok(arm) if self.settings.strategy.is_experiment() => Variant::Treatment(arm),
            _ => Variant::Canary,
        }
    }

    /// The arm of a variant; none for one that this rollout does not have.
    #[must_use]
    pub fn arm(&self, variant: Variant) -> Option<usize> {
        (0..=self.candidates.len()).find(|&arm| self.variant(arm) == variant)
    }

    /// What is found and should happen, given what was counted since the current stage began. Changes nothing.
    #[must_use]
    pub fn look(&self, stats: &RolloutStats, now: Timestamp) -> Look {
        judge::judge(self, stats, now)
    }

    /// The rollout after a look.
    #[must_use]
    pub fn after(&self, look: &Look, stats: &RolloutStats, now: Timestamp) -> Self {
        let mut next = self.apply(&look.decision, stats, now);
        next.findings.clone_from(&look.findings);
        next
    }

    /// The rollout after a decision.
    #[must_use]
    pub fn apply(&self, decision: &Decision, stats: &RolloutStats, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.seen.clone_from(stats);
        let stage = match self.phase {
            Phase::Running { stage } | Phase::Paused { stage, .. } => Some(stage),
            _ => None,
        };
        match (decision, stage) {
            (Decision::Advance(_), Some(stage)) => next.enter(stage + 1, now),
            (Decision::Stop(version, _), Some(_)) => next.stop(*version),
            (Decision::Pause(reason), Some(stage)) => next.phase = Phase::Paused { stage, reason: reason.clone() },
            (Decision::Continue, Some(stage)) => (next.phase, next.stage_began) = (Phase::Running { stage }, now),
            (Decision::Promote(version), _) => next.promote(*version),
            (Decision::RollBack(reason), _) => {
                next.phase = Phase::RolledBack { reason: reason.clone() };
                next.allocation = Allocation::default();
            }
            _ => {}
        }
        next
    }

    /// What a person's wish comes to.
    ///
    /// # Errors
    /// `FailedPrecondition` when the rollout is not where that can be asked for; `InvalidArgument` for a version that is
    /// no candidate, or none where there are several.
    pub fn command(&self, command: &Command) -> Result<Decision> {
        let refuse = |what: &str| {
            let (model, state) = (&self.model, self.state_name());
            Err(Error::failed_precondition(format!("the rollout of model \"{model}\" is {state}: it cannot {what}")))
        };
        match command {
            Command::Pause { reason } if matches!(self.phase, Phase::Running { .. }) => {
                Ok(Decision::Pause(reason.clone()))
            }
            Command::Pause { .. } => refuse("pause"),
            Command::Continue if matches!(self.phase, Phase::Paused { .. }) => Ok(Decision::Continue),
            Command::Continue => refuse("continue"),
            Command::Promote { version } if self.is_open() => self.promotable(*version).map(Decision::Promote),
            Command::Promote { .. } => refuse("be promoted"),
            Command::RollBack { reason } if self.is_active() => Ok(Decision::RollBack(reason.clone())),
            Command::RollBack { .. } => refuse("be rolled back"),
        }
    }

    fn promotable(&self, version: Option<Version>) -> Result<Version> {
        let open: Vec<Version> = self.candidates.iter().copied().filter(|v| !self.stopped.contains(v)).collect();
        match (version, open.as_slice()) {
            (Some(version), open) if open.contains(&version) => Ok(version),
            (Some(version), _) => {
                Err(Error::invalid_argument(format!("version {version} is no candidate of the rollout")))
            }
            (None, [only]) => Ok(*only),
            (None, _) => Err(Error::invalid_argument(format!("say which of the versions {open:?} is promoted"))),
        }
    }

    pub(super) fn stages(&self) -> Vec<Stage> {
        self.settings.strategy.stages(self.candidates.len())
    }

    fn stage(&self) -> Option<Stage> {
        match self.phase {
            Phase::Running { stage } | Phase::Paused { stage, .. } => self.stages().into_iter().nth(stage),
            _ => None,
        }
    }

    /// Whether the champion answers requests in this stage.
    pub(super) fn champion_is_live(&self) -> bool {
        self.allocation.share(0) > 0.0
    }

    /// Whether the candidates see requests in this stage, their own or copies.
    pub(super) fn candidates_are_watched(&self) -> bool {
        self.weight() > 0.0 || self.mirror_share() > 0.0
    }

    fn enter(&mut self, stage: usize, now: Timestamp) {
        self.baseline = self.baseline.plus(&self.seen.champion);
        self.seen = RolloutStats::default();
        self.phase = Phase::Running { stage };
        self.stage_began = now;
        self.allocate();
    }

    fn stop(&mut self, version: Version) {
        if !self.stopped.contains(&version) {
            self.stopped.push(version);
        }
        if let (Some(bandit), Some(place)) = (&mut self.bandit, self.candidates.iter().position(|v| *v == version)) {
            bandit.stop(place + 1);
        }
        self.allocate();
    }

    fn promote(&mut self, version: Version) {
        let shares: Vec<f64> = self.candidates.iter().map(|v| f64::from(u8::from(*v == version))).collect();
        self.allocation = self.allocation.with_shares(&shares);
        self.phase = Phase::Promoted { version };
    }

    /// Gives the buckets as the stage has it, without the candidates that are stopped.
    fn allocate(&mut self) {
        let Some(stage) = self.stage() else { return };
        let kept = |(version, share): (&Version, f64)| if self.stopped.contains(version) { 0.0 } else { share };
        let shares: Vec<f64> = self.candidates.iter().zip(stage.shares).map(kept).collect();
        self.allocation = self.allocation.with_shares(&shares);
    }
}

/// Whether the request with this id is one of the share that is mirrored.
pub(crate) fn mirrors(salt: &str, request_id: &str, share: f64) -> bool {
    share >= 1.0 || f64::from(bucket_of(&format!("{salt}/mirror"), request_id)) < share * f64::from(BUCKETS)
}
