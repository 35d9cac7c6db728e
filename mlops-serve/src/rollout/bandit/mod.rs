//! Policies that learn from rewards which arm answers.
//!
//! A [`Bandit`] is a value: it gives every arm a chance, one draw decides, and rewards change the chances. The chance of the
//! arm that was drawn is its propensity, exactly: it is what was drawn by, not an estimate made afterwards, so that
//! [`off_policy`](super::off_policy) estimates stand on firm ground. Every arm keeps a minimum share.
//!
//! A p-value or interval that ignores the propensities is wrong on data that a bandit collected.

mod lin_ucb;
mod posterior;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{off_policy::LoggedReward, statistics::Moments};
use lin_ucb::LinearArm;

/// Most numbers of a context.
pub const CONTEXT_MAX: usize = 64;

/// How the chances follow from the rewards.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Policy {
    /// The chance that the arm is the best, given rewards from 0 to 1 (Thompson 1933): the mean of each arm is
    /// Beta(successes + sum of rewards, failures + sum of 1 - reward).
    Thompson {
        /// Of the prior, at least 1.
        successes: f64,
        /// Of the prior, at least 1.
        failures: f64,
    },
    /// The same for rewards of any size: the mean of each arm is normal, with the prior N(mean, deviation^2) and rewards
    /// that spread by `noise` about it.
    ThompsonGaussian {
        /// Of the prior.
        mean: f64,
        /// Of the prior, above 0.
        deviation: f64,
        /// Standard deviation of a reward, above 0.
        noise: f64,
    },
    /// The arm with the best mean, and now and then any. An arm without rewards counts as the best.
    EpsilonGreedy {
        /// Share of the requests that any arm answers.
        epsilon: f64,
    },
    /// The arm with the highest upper bound of a linear forecast from the context (Li, Chu, Langford and Schapire, WWW
    /// 2010, disjoint models).
    LinUcb {
        /// Standard deviations of the bound above the forecast.
        alpha: f64,
        /// Numbers of a context, from 1 to [`CONTEXT_MAX`].
        dimension: usize,
        /// Weight of the prior that nothing matters, above 0.
        ridge: f64,
    },
}

/// Settings of a [`Bandit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanditSettings {
    /// Name of the figure that is the reward; more is better.
    pub kpi: String,
    /// How the chances follow from the rewards.
    pub policy: Policy,
    /// The least chance of each arm, the champion's too.
    #[serde(default = "min_share")]
    pub min_share: f64,
    /// Rewards after which the chances are computed anew; they cost about a millisecond.
    #[serde(default = "learn_every")]
    pub learn_every: u32,
}

fn min_share() -> f64 {
    0.01
}

fn learn_every() -> u32 {
    100
}

impl BanditSettings {
    /// A policy with the defaults of the rest.
    #[must_use]
    pub fn new(kpi: impl Into<String>, policy: Policy) -> Self {
        Self { kpi: kpi.into(), policy, min_share: min_share(), learn_every: learn_every() }
    }

    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !(self.min_share > 0.0 && self.min_share <= 0.1) {
            faults.push(format!("bandit: min_share {} must be above 0 and at most 0.1", self.min_share));
        }
        if self.learn_every == 0 {
            faults.push("bandit: learn_every is 0".into());
        }
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let fits = match &self.policy {
            Policy::Thompson { successes, failures } => {
                *successes >= 1.0 && *failures >= 1.0 && positive(successes + failures)
            }
            Policy::ThompsonGaussian { mean, deviation, noise } => {
                mean.is_finite() && positive(*deviation) && positive(*noise)
            }
            Policy::EpsilonGreedy { epsilon } => (0.0..=1.0).contains(epsilon),
            Policy::LinUcb { alpha, dimension, ridge } => {
                *alpha >= 0.0 && alpha.is_finite() && positive(*ridge) && (1..=CONTEXT_MAX).contains(dimension)
            }
        };
        if !fits {
            faults.push(format!("bandit: {:?} is out of range", self.policy));
        }
        faults
    }
}

/// An arm with the chance it had.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// 0 is the champion.
    pub arm: usize,
    /// The chance of that arm for this request.
    pub propensity: f64,
}

/// A choice with what came of it: a line of the log that policies are compared on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RewardedChoice {
    /// The request.
    pub request_id: String,
    /// What the policy knew of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<f64>,
    /// Who answered, with what chance.
    #[serde(flatten)]
    pub choice: Choice,
    /// What it earned.
    pub reward: f64,
}

impl RewardedChoice {
    /// As the estimators take it, for a policy that gives the arm of the choice the chance `target`.
    #[must_use]
    pub fn logged(&self, target: f64) -> LoggedReward {
        LoggedReward { propensity: self.choice.propensity, target, reward: self.reward }
    }
}

/// Arms and what was learnt of them, as plain data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bandit {
    settings: BanditSettings,
    arms: Vec<Arm>,
    /// Chances without context, before the minimum; computed every `learn_every` rewards.
    chances: Vec<f64>,
    rewards: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Arm {
    rewards: Moments,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    linear: Option<LinearArm>,
    stopped: bool,
}

impl Bandit {
    /// So many arms, of which nothing is known. Settings that are out of range are for
    /// [`Rollout::validate`](super::Rollout::validate) to refuse.
    #[must_use]
    pub fn new(settings: BanditSettings, arms: usize) -> Self {
        let linear = match &settings.policy {
            Policy::LinUcb { dimension, ridge, .. } => Some(LinearArm::new(*dimension, *ridge)),
            _ => None,
        };
        let arm = Arm { rewards: Moments::default(), linear, stopped: false };
        let mut bandit = Self { settings, arms: vec![arm; arms], chances: Vec::new(), rewards: 0 };
        bandit.learn();
        bandit
    }

    /// The chance of each arm for a request with this context, which only [`Policy::LinUcb`] looks at; together 1. Numbers
    /// that the context lacks count as 0.
    #[must_use]
    pub fn propensities(&self, context: &[f64]) -> Vec<f64> {
        let by_context;
        let chances = if let Policy::LinUcb { alpha, .. } = &self.settings.policy {
            let score = |arm: &Arm| arm.linear.as_ref().map_or(0.0, |linear| linear.upper_bound(context, *alpha));
            by_context = best_of(&self.open_values(score));
            &by_context
        } else {
            &self.chances
        };
        let open = self.arms.iter().filter(|arm| !arm.stopped).count() as f64;
        let floor = self.settings.min_share.min(1.0 / open.max(1.0));
        let spread = (1.0 - open * floor).max(0.0);
        let share = |(arm, chance): (&Arm, &f64)| if arm.stopped { 0.0 } else { floor + spread * chance };
        self.arms.iter().zip(chances).map(share).collect()
    }

    /// The arm for a request, by a number drawn evenly from 0 (inclusive) to 1.
    #[must_use]
    pub fn choose(&self, context: &[f64], drawn: f64) -> Choice {
        let propensities = self.propensities(context);
        let mut below = 0.0;
        let mut choice = Choice { arm: 0, propensity: 1.0 };
        for (arm, propensity) in propensities.into_iter().enumerate().filter(|(_, propensity)| *propensity > 0.0) {
            below += propensity;
            choice = Choice { arm, propensity };
            if drawn < below {
                break;
            }
        }
        choice
    }

    /// Takes what came of an answer of `arm` in `context`.
    ///
    /// # Errors
    /// `InvalidArgument` for an arm that is not there, a reward that is not finite (or, for [`Policy::Thompson`], not from
    /// 0 to 1), or a context of another length than the settings say; nothing is learnt then.
    pub fn reward(&mut self, arm: usize, context: &[f64], value: f64) -> Result<()> {
        let fits = match &self.settings.policy {
            Policy::Thompson { .. } => (0.0..=1.0).contains(&value),
            _ => value.is_finite(),
        };
        if !fits {
            return Err(Error::invalid_argument(format!("{value} is no reward of this policy")));
        }
        let arms = self.arms.len();
        let found = self
            .arms
            .get_mut(arm)
            .ok_or_else(|| Error::invalid_argument(format!("there is no arm {arm} of {arms}")))?;
        if let Some(linear) = &mut found.linear {
            linear.learn(context, value)?;
        }
        found.rewards.add(value);
        self.rewards = self.rewards.saturating_add(1);
        if self.rewards.is_multiple_of(u64::from(self.settings.learn_every.max(1))) {
            self.learn();
        }
        Ok(())
    }

    /// Rewards of each arm.
    #[must_use]
    pub fn rewards(&self) -> Vec<Moments> {
        self.arms.iter().map(|arm| arm.rewards).collect()
    }

    /// The figure that is the reward.
    #[must_use]
    pub fn kpi(&self) -> &str {
        &self.settings.kpi
    }

    /// Gives an arm no more requests.
    pub(super) fn stop(&mut self, arm: usize) {
        if let Some(arm) = self.arms.get_mut(arm) {
            arm.stopped = true;
        }
        self.learn();
    }

    fn learn(&mut self) {
        self.chances = match &self.settings.policy {
            Policy::Thompson { successes, failures } => {
                let beta = |arm: &Arm| {
                    let (n, sum) = (arm.rewards.n as f64, arm.rewards.n as f64 * arm.rewards.mean);
                    posterior::beta(successes + sum, failures + (n - sum).max(0.0))
                };
                self.spread(&posterior::chances_best(&self.open(beta)))
            }
            Policy::ThompsonGaussian { mean, deviation, noise } => {
                let normal = |arm: &Arm| {
                    let (prior, data) = (deviation.powi(-2), arm.rewards.n as f64 * noise.powi(-2));
                    let middle = (prior * mean + data * arm.rewards.mean) / (prior + data);
                    posterior::normal(middle, (prior + data).recip().sqrt())
                };
                self.spread(&posterior::chances_best(&self.open(normal)))
            }
            Policy::EpsilonGreedy { epsilon } => {
                let value = |arm: &Arm| if arm.rewards.n == 0 { f64::INFINITY } else { arm.rewards.mean };
                let values = self.open_values(value);
                let open = self.arms.iter().filter(|arm| !arm.stopped).count().max(1) as f64;
                best_of(&values).iter().map(|best| epsilon / open + (1.0 - epsilon) * best).collect()
            }
            Policy::LinUcb { .. } => Vec::new(),
        };
    }

    fn open<T>(&self, of: impl Fn(&Arm) -> T) -> Vec<T> {
        self.arms.iter().filter(|arm| !arm.stopped).map(of).collect()
    }

    /// One value for each arm; of those that are stopped the lowest there is.
    fn open_values(&self, of: impl Fn(&Arm) -> f64) -> Vec<f64> {
        self.arms.iter().map(|arm| if arm.stopped { f64::NEG_INFINITY } else { of(arm) }).collect()
    }

    /// Chances of the open arms at their places among all.
    fn spread(&self, open: &[f64]) -> Vec<f64> {
        let mut open = open.iter().copied();
        self.arms.iter().map(|arm| if arm.stopped { 0.0 } else { open.next().unwrap_or(0.0) }).collect()
    }
}

/// 1 for the highest value; shared equally where several are.
fn best_of(values: &[f64]) -> Vec<f64> {
    let top = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let ties = values.iter().filter(|value| **value == top).count().max(1) as f64;
    values.iter().map(|value| if *value == top { 1.0 / ties } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use mlops_core::testing::SplitMix64;

    use super::*;

    fn thompson() -> Bandit {
        Bandit::new(BanditSettings::new("click", Policy::Thompson { successes: 1.0, failures: 1.0 }), 3)
    }

    #[test]
    fn chances_sum_to_one_and_no_arm_falls_below_its_share() {
        let policies = [
            Policy::Thompson { successes: 1.0, failures: 1.0 },
            Policy::ThompsonGaussian { mean: 0.0, deviation: 1.0, noise: 1.0 },
            Policy::EpsilonGreedy { epsilon: 0.1 },
            Policy::LinUcb { alpha: 1.0, dimension: 2, ridge: 1.0 },
        ];
        for policy in policies {
            let mut bandit = Bandit::new(BanditSettings::new("k", policy.clone()), 3);
            for i in 0..600 {
                bandit.reward(i % 3, &[1.0, 0.5], if i % 3 == 2 { 1.0 } else { 0.0 }).unwrap();
            }
            let chances = bandit.propensities(&[1.0, 0.5]);
            assert!((chances.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{policy:?} {chances:?}");
            assert!(
                chances[2] > 0.85 && chances.iter().all(|&chance| chance >= 0.01 - 1e-12),
                "{policy:?} {chances:?}"
            );
            let back: Bandit = serde_json::from_str(&serde_json::to_string(&bandit).unwrap()).unwrap();
            assert_eq!(back, bandit);
        }
    }

    #[test]
    fn draws_follow_the_propensities() {
        let mut bandit = thompson();
        for i in 0..100 {
            bandit.reward(1, &[], f64::from(u8::from(i % 3 == 0))).unwrap();
        }
        let (data, expected) = (SplitMix64::new(8), bandit.propensities(&[]));
        let mut counts = [0.0; 3];
        for i in 0..20_000 {
            let choice = bandit.choose(&[], data.uniform(i));
            assert_eq!(choice.propensity, expected[choice.arm]);
            counts[choice.arm] += 1.0 / 20_000.0;
        }
        for (count, expected) in counts.iter().zip(&expected) {
            assert!((count - expected).abs() < 0.02, "{counts:?} {expected:?}");
        }
        assert_eq!(bandit.choose(&[], 1.0).arm, 2, "rounding never leaves a request without an arm");
    }

    /// 3,000 requests to arms that click at 5, 6 and 12 %: the best is found, and it pays against equal shares.
    #[test]
    fn the_best_arm_is_found() {
        let data = SplitMix64::new(4);
        let mut bandit = thompson();
        let mut clicks = 0.0;
        for i in 0..3_000 {
            let arm = bandit.choose(&[], data.uniform(2 * i)).arm;
            let reward = f64::from(u8::from(data.uniform(2 * i + 1) < [0.05, 0.06, 0.12][arm]));
            clicks += reward;
            bandit.reward(arm, &[], reward).unwrap();
        }
        assert!(bandit.propensities(&[])[2] > 0.9, "{:?}", bandit.propensities(&[]));
        assert!(clicks > 3_000.0 * 0.095, "{clicks}");
    }

    #[test]
    fn a_stopped_arm_gets_nothing_and_wrong_rewards_teach_nothing() {
        let mut bandit = thompson();
        bandit.stop(1);
        assert_eq!(bandit.propensities(&[])[1], 0.0);
        let before = bandit.clone();
        assert!(bandit.reward(0, &[], 1.5).is_err() && bandit.reward(9, &[], 1.0).is_err());
        assert!(bandit.reward(0, &[], f64::NAN).is_err());
        assert_eq!(bandit, before);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for policy in [
            Policy::Thompson { successes: 0.5, failures: 1.0 },
            Policy::EpsilonGreedy { epsilon: f64::NAN },
            Policy::LinUcb { alpha: 1.0, dimension: 65, ridge: 1.0 },
            Policy::ThompsonGaussian { mean: 0.0, deviation: 0.0, noise: 1.0 },
        ] {
            assert_eq!(BanditSettings::new("k", policy).faults().len(), 1);
        }
    }
}
