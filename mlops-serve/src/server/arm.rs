//! A rollout in progress: the plan with the counts of its current stage, and the answers that wait for an outcome.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mlops_core::{Error, Result};

use crate::rollout::{
    ArmStats, Rollout, RolloutStats, Variant,
    bandit::{Bandit, Choice, RewardedChoice},
    bucket_of, mirrors,
    statistics::Moments,
    unit_of,
};

/// Figures of different names that one arm keeps; more are refused.
const KPIS_MAX: usize = 64;

#[derive(Debug, Default)]
struct ArmCounters {
    requests: AtomicU64,
    errors: AtomicU64,
    slow: AtomicU64,
    latency_us_sum: AtomicU64,
    kpis: Mutex<BTreeMap<String, Moments>>,
}

impl ArmCounters {
    fn add(&self, took: Duration, failed: bool, slow_above_us: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
        self.slow.fetch_add(u64::from(micros > slow_above_us), Ordering::Relaxed);
        self.latency_us_sum.fetch_add(micros, Ordering::Relaxed);
    }

    fn read(&self) -> ArmStats {
        ArmStats {
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            slow: self.slow.load(Ordering::Relaxed),
            latency_us_sum: self.latency_us_sum.load(Ordering::Relaxed),
            kpis: self.kpis.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// An answer whose outcome may be reported.
#[derive(Debug, Clone)]
struct Pending {
    arm: usize,
    /// Where a bandit decided.
    propensity: Option<f64>,
    context: Vec<f64>,
    /// Figures that were reported.
    reported: Vec<String>,
}

/// The newest answers by request id, up to a bound.
#[derive(Debug, Default)]
struct Outcomes {
    pending: HashMap<Arc<str>, Pending>,
    order: VecDeque<Arc<str>>,
    rewarded: VecDeque<RewardedChoice>,
}

/// Who answers a request, and with what chance that was decided.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) variant: Variant,
    /// Where a bandit decided.
    pub(crate) propensity: Option<f64>,
}

/// A rollout and what the arms did since its current stage began.
#[derive(Debug)]
pub(crate) struct ActiveRollout {
    pub(crate) rollout: Rollout,
    /// What the plan says, at hand for every request.
    salt: String,
    draw_salt: String,
    mirror_share: f64,
    /// The champion, then the candidates.
    arms: Vec<ArmCounters>,
    /// Shared with the rollout's earlier stages: an outcome may come late.
    outcomes: Arc<Mutex<Outcomes>>,
    /// The next stage begins with a copy.
    bandit: Option<Arc<Mutex<Bandit>>>,
}

impl ActiveRollout {
    pub(crate) fn new(rollout: Rollout) -> Self {
        let arms = (0..=rollout.candidates.len()).map(|_| ArmCounters::default()).collect();
        let bandit = rollout.bandit.clone().map(|bandit| Arc::new(Mutex::new(bandit)));
        let salt = rollout.salt();
        let (draw_salt, mirror_share) = (format!("{salt}/draw"), rollout.mirror_share());
        Self { salt, draw_salt, mirror_share, arms, outcomes: Arc::default(), bandit, rollout }
    }

    /// The next state of the same rollout.
    pub(crate) fn succeeded_by(&self, next: Rollout) -> Self {
        let outcomes = Arc::clone(&self.outcomes);
        // A candidate that is taken out is known to the next state's bandit alone.
        Self { outcomes, ..Self::new(next) }
    }

    /// Who answers the request with this id and routing key.
    pub(crate) fn choose(&self, key: &str, request_id: &str, context: &[f64]) -> Chosen {
        match &self.bandit {
            // The request id decides, so that a replay makes the same choices.
            Some(bandit) if self.rollout.is_open() => {
                let Choice { arm, propensity } = lock(bandit).choose(context, unit_of(&self.draw_salt, request_id));
                Chosen { variant: self.rollout.variant(arm), propensity: Some(propensity) }
            }
            _ => {
                let arm = self.rollout.allocation.arm_of(bucket_of(&self.salt, key));
                Chosen { variant: self.rollout.variant(arm), propensity: None }
            }
        }
    }

    /// Whether the first candidate gets a copy of this request.
    pub(crate) fn mirrors(&self, request_id: &str) -> bool {
        self.mirror_share > 0.0 && mirrors(&self.salt, request_id, self.mirror_share)
    }

    /// Counts a prediction of one arm; pinned requests belong to none.
    pub(crate) fn count(&self, variant: Variant, took: Duration, failed: bool) {
        if let Some(arm) = self.rollout.arm(variant).and_then(|arm| self.arms.get(arm)) {
            arm.add(took, failed, self.rollout.settings.slow_above_us);
        }
    }

    /// Remembers an answer until its outcome is reported, where outcomes are asked for.
    pub(crate) fn expect_outcome(&self, request_id: &Arc<str>, chosen: &Chosen, context: &[f64]) {
        let (variant, propensity) = (chosen.variant, chosen.propensity);
        let most = self.rollout.settings.outcomes_pending_max;
        let Some(arm) = self.rollout.arm(variant).filter(|_| self.rollout.settings.awaits_outcomes() && most > 0)
        else {
            return;
        };
        let mut outcomes = lock(&self.outcomes);
        let pending = Pending { arm, propensity, context: context.to_vec(), reported: Vec::new() };
        if outcomes.pending.insert(Arc::clone(request_id), pending).is_none() {
            outcomes.order.push_back(Arc::clone(request_id));
        }
        while outcomes.order.len() > most {
            let oldest = outcomes.order.pop_front();
            oldest.and_then(|oldest| outcomes.pending.remove(&oldest));
        }
    }

    /// Takes what came of an answer. False when that was reported before.
    pub(crate) fn take_outcome(&self, request_id: &str, kpi: &str, value: f64) -> Result<bool> {
        if !value.is_finite() {
            return Err(Error::invalid_argument(format!("outcome {kpi:?} is {value}, no finite number")));
        }
        let mut outcomes = lock(&self.outcomes);
        let Outcomes { pending, rewarded, .. } = &mut *outcomes;
        let Some(pending) = pending.get_mut(request_id) else {
            return Err(Error::not_found(format!("no answer {request_id:?} of this rollout waits for an outcome")));
        };
        if pending.reported.iter().any(|reported| reported == kpi) {
            return Ok(false);
        }
        let Some(arm) = self.arms.get(pending.arm) else { return Ok(false) };
        if let Some(bandit) = &self.bandit {
            let mut bandit = lock(bandit);
            if bandit.kpi() == kpi {
                bandit.reward(pending.arm, &pending.context, value)?;
                rewarded.extend(pending.propensity.map(|propensity| RewardedChoice {
                    request_id: request_id.to_owned(),
                    context: pending.context.clone(),
                    choice: Choice { arm: pending.arm, propensity },
                    reward: value,
                }));
                let surplus = rewarded.len().saturating_sub(self.rollout.settings.outcomes_pending_max);
                rewarded.drain(..surplus);
            }
        }
        let mut kpis = lock(&arm.kpis);
        if !kpis.contains_key(kpi) && kpis.len() >= KPIS_MAX {
            return Err(Error::resource_exhausted(format!(
                "outcome {kpi:?} would be one figure too many; {KPIS_MAX} are kept"
            )));
        }
        kpis.entry(kpi.to_owned()).or_default().add(value);
        pending.reported.push(kpi.to_owned());
        Ok(true)
    }

    /// The choices that were rewarded since the last call.
    pub(crate) fn take_rewarded(&self) -> Vec<RewardedChoice> {
        lock(&self.outcomes).rewarded.drain(..).collect()
    }

    /// What was counted in this stage, also by the process before this one.
    pub(crate) fn stats(&self) -> RolloutStats {
        let mut arms = self.arms.iter().map(ArmCounters::read);
        let champion = arms.next().unwrap_or_default();
        self.rollout.seen.plus(&RolloutStats { champion, candidates: arms.collect() })
    }

    /// The rollout with what was counted and learnt up to now.
    pub(crate) fn snapshot(&self) -> Rollout {
        let mut rollout = Rollout { seen: self.stats(), ..self.rollout.clone() };
        if let Some(bandit) = &self.bandit {
            rollout.bandit = Some(lock(bandit).clone());
        }
        rollout
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use mlops_core::{Timestamp, Version};

    use super::*;
    use crate::rollout::{
        Guardrail, RolloutSettings, Strategy,
        bandit::{BanditSettings, Policy},
        off_policy::ips,
    };

    fn active(settings: RolloutSettings) -> ActiveRollout {
        let planned = Rollout::new("m".parse().unwrap(), Version(1), Version(2), settings).unwrap();
        ActiveRollout::new(planned.started(Timestamp::default()))
    }

    fn chosen(variant: Variant) -> Chosen {
        Chosen { variant, propensity: None }
    }

    #[test]
    fn outcomes_count_once_and_the_oldest_are_forgotten() {
        let kpi = Guardrail::Kpi { name: "sale".into(), direction: mlops_metrics::Direction::Maximize, margin: 1.0 };
        let active = active(RolloutSettings { guardrails: vec![kpi], outcomes_pending_max: 2, ..Default::default() });
        for id in ["a", "b", "c"] {
            active.expect_outcome(&id.into(), &chosen(Variant::Canary), &[]);
        }
        assert_eq!(active.take_outcome("a", "sale", 1.0).unwrap_err().kind(), mlops_core::ErrorKind::NotFound);
        assert!(active.take_outcome("b", "sale", 2.0).unwrap());
        assert!(!active.take_outcome("b", "sale", 2.0).unwrap(), "reported again, counted once");
        assert!(active.take_outcome("b", "visit", 1.0).unwrap());
        assert!(active.take_outcome("c", "sale", f64::NAN).is_err());
        let sale = active.stats().candidate(0).kpi("sale");
        assert_eq!((sale.n, sale.mean), (1, 2.0));
        let next = active.succeeded_by(active.snapshot());
        assert!(next.take_outcome("c", "sale", 4.0).unwrap(), "an outcome may come in the next stage");
    }

    #[test]
    fn without_a_figure_to_judge_nothing_is_remembered() {
        let active = active(RolloutSettings::default());
        active.expect_outcome(&"a".into(), &chosen(Variant::Canary), &[]);
        assert!(lock(&active.outcomes).pending.is_empty());
    }

    #[test]
    fn a_bandit_learns_from_outcomes_and_its_choices_can_be_replayed() {
        let policy = Policy::Thompson { successes: 1.0, failures: 1.0 };
        let settings = BanditSettings { learn_every: 1, ..BanditSettings::new("click", policy) };
        let active = active(RolloutSettings::new(Strategy::Bandit(settings)));
        let before = active.choose("k", "r1", &[]);
        assert!((before.propensity.unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(active.choose("k", "r1", &[]).variant, before.variant);
        for i in 0..60 {
            let id: Arc<str> = format!("r{i}").into();
            let chosen = Chosen { variant: Variant::Treatment(1), propensity: Some(0.5) };
            active.expect_outcome(&id, &chosen, &[]);
            active.take_outcome(&id, "click", 1.0).unwrap();
        }
        let rewarded = active.take_rewarded();
        assert_eq!((rewarded.len(), rewarded[0].choice), (60, Choice { arm: 1, propensity: 0.5 }));
        assert_eq!(ips(&rewarded.iter().map(|one| one.logged(1.0)).collect::<Vec<_>>()).unwrap().value, 2.0);
        assert!(active.take_rewarded().is_empty());
        let snapshot = active.snapshot();
        let resumed = ActiveRollout::new(snapshot);
        let likely = (0..1_000).filter(|i| resumed.choose("k", &i.to_string(), &[]).variant == Variant::Treatment(1));
        assert!(likely.count() > 950);
        assert!(active.take_outcome("r1", "click", 3.0).is_ok_and(|counted| !counted));
    }
}
