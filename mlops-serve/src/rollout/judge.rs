//! Is the candidate worse? Counts in, a decision out.
//!
//! Two guards. A sequential test looks at every call, however often it is asked, and rolls back early on strong evidence
//! with a bounded chance of a false alarm. Plain limits are checked once per step, when it has seen enough
//! requests.
//!
//! The test is an e-process for a rare event (errors; answers slower than a limit). Under the hypothesis that both
//! arms have the same rate, a given event falls on the candidate with probability w0 = n_c / (n_c + n_s). With C events on
//! the candidate and S on the champion, E = mean over w > w0 of (w/w0)^C ((1-w)/(1-w0))^S exceeds 1/a with
//! probability at most a (Ville's inequality). Computed in logarithms; E = 1 without events or when an arm is empty.
//! a is alpha shared equally between two tests in each step.

use serde::{Deserialize, Serialize};

use super::{Phase, Rollout};

/// What one arm did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ArmStats {
    /// Requests answered, errors included.
    pub requests: u64,
    /// Answers that failed by the server's fault.
    pub errors: u64,
    /// Answers slower than [`RolloutSettings::slow_above_us`](super::RolloutSettings::slow_above_us).
    pub slow: u64,
    /// Sum of the latencies, microseconds.
    pub latency_us_sum: u64,
}

impl ArmStats {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            errors: self.errors.saturating_add(other.errors),
            slow: self.slow.saturating_add(other.slow),
            latency_us_sum: self.latency_us_sum.saturating_add(other.latency_us_sum),
        }
    }

    /// Errors per request; 0 without requests.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        ratio(self.errors, self.requests)
    }

    /// Mean latency in microseconds; 0 without requests.
    #[must_use]
    pub fn latency_us_mean(&self) -> f64 {
        ratio(self.latency_us_sum, self.requests)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Both arms since the current step began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RolloutStats {
    /// The version in service.
    pub champion: ArmStats,
    /// The candidate (in the shadow phase: its copies).
    pub canary: ArmStats,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Wait for more requests, or the rollout is over.
    Hold,
    /// Raise the candidate's share to this.
    Advance(f64),
    /// Let the candidate answer everything.
    Promote,
    /// Give everything back to the champion, for this reason.
    RollBack(String),
}

pub(super) fn judge(rollout: &Rollout, stats: &RolloutStats) -> Decision {
    let settings = &rollout.settings;
    let next_step = match rollout.phase {
        Phase::Idle | Phase::Promoted | Phase::RolledBack { .. } => return Decision::Hold,
        Phase::Shadow => 0,
        Phase::Canary { step } => step + 1,
    };
    // At full weight the champion sees nothing; what it did before stands in for it.
    let champion = if stats.champion.requests >= settings.min_requests {
        stats.champion
    } else {
        stats.champion.plus(&rollout.baseline)
    };
    let canary = stats.canary;
    let stages = settings.steps.len() + usize::from(settings.shadow);
    let log_limit = -(settings.alpha / (2.0 * stages as f64)).ln();
    for (what, events_canary, events_champion) in
        [("errors", canary.errors, champion.errors), ("slow answers", canary.slow, champion.slow)]
    {
        if log_e_value(events_canary, canary.requests, events_champion, champion.requests) >= log_limit {
            return Decision::RollBack(format!(
                "{what}: {events_canary} of {} requests to the candidate against {events_champion} of {} to the champion",
                canary.requests, champion.requests
            ));
        }
    }
    if canary.requests < settings.min_requests {
        return Decision::Hold;
    }
    if let Some(reason) = over_limit(rollout, &champion, &canary) {
        return Decision::RollBack(reason);
    }
    settings.steps.get(next_step).map_or(Decision::Promote, |&weight| Decision::Advance(weight))
}

fn over_limit(rollout: &Rollout, champion: &ArmStats, canary: &ArmStats) -> Option<String> {
    let settings = &rollout.settings;
    let increase = canary.error_rate() - champion.error_rate();
    if increase > settings.max_error_rate_increase {
        let limit = settings.max_error_rate_increase;
        return Some(format!("error rate rose by {increase:.4}, allowed is {limit:.4}"));
    }
    let (slow, fast) = (canary.latency_us_mean(), champion.latency_us_mean());
    // Without a champion to compare with, or below clock resolution, a ratio says nothing.
    if fast > 0.0 && slow > fast * settings.max_latency_ratio {
        let limit = settings.max_latency_ratio;
        return Some(format!("mean latency is {slow:.0} us against {fast:.0} us, allowed is {limit:.2} times"));
    }
    None
}

/// ln E of the module's e-process.
fn log_e_value(events_canary: u64, n_canary: u64, events_champion: u64, n_champion: u64) -> f64 {
    /// Alternatives: the candidate's odds of an event are this many times the champion's.
    const ODDS: [f64; 6] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0];
    if n_canary == 0 || n_champion == 0 || events_canary + events_champion == 0 {
        return 0.0;
    }
    let (n_c, n_s) = (n_canary as f64, n_champion as f64);
    let w0 = n_c / (n_c + n_s);
    let logs = ODDS.map(|odds| {
        let w = odds * w0 / (odds * w0 + 1.0 - w0);
        events_canary as f64 * (w / w0).ln() + events_champion as f64 * ((1.0 - w) / (1.0 - w0)).ln()
    });
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logs.iter().map(|log| (log - top).exp()).sum();
    top + (sum / ODDS.len() as f64).ln()
}

#[cfg(test)]
mod tests {
    use mlops_core::{ModelName, Version, testing::SplitMix64};

    use super::*;
    use crate::rollout::RolloutSettings;

    fn rollout(settings: RolloutSettings) -> Rollout {
        Rollout::new(ModelName::new("m").unwrap(), Version(1), Version(2), settings).unwrap().started()
    }

    fn arm(requests: u64, errors: u64, mean_us: u64) -> ArmStats {
        ArmStats { requests, errors, slow: 0, latency_us_sum: requests * mean_us }
    }

    #[track_caller]
    fn check(champion: ArmStats, canary: ArmStats, expected: &str) {
        let decision = rollout(RolloutSettings::default()).advance(&RolloutStats { champion, canary });
        assert!(format!("{decision:?}").contains(expected), "{decision:?}");
    }

    #[test]
    fn decisions() {
        check(arm(9000, 9, 400), arm(499, 0, 400), "Hold");
        check(arm(9000, 9, 400), arm(500, 1, 400), "Advance(0.5)");
        check(arm(9000, 9, 400), arm(100, 20, 400), "RollBack(\"errors: 20 of 100");
        check(arm(9000, 9, 400), arm(500, 0, 700), "RollBack(\"mean latency is 700 us against 400");
        check(arm(100, 0, 400), arm(500, 6, 400), "RollBack(\"error rate rose by 0.0120");
        check(arm(0, 0, 0), arm(500, 0, 700), "Advance(0.5)");
    }

    #[test]
    fn the_whole_way_to_promotion_and_the_last_step_uses_the_baseline() {
        let good = RolloutStats { champion: arm(5000, 5, 400), canary: arm(600, 1, 400) };
        let mut state = rollout(RolloutSettings { shadow: true, ..Default::default() });
        let mut seen = vec![(state.state_name(), state.weight())];
        for _ in 0..3 {
            state = state.apply(&state.advance(&good), &good);
            seen.push((state.state_name(), state.weight()));
        }
        assert_eq!(seen, [("shadow", 0.0), ("canary", 0.1), ("canary", 0.5), ("canary", 1.0)]);
        let alone = |errors| RolloutStats { champion: ArmStats::default(), canary: arm(600, errors, 400) };
        assert!(matches!(state.advance(&alone(60)), Decision::RollBack(_)));
        assert_eq!(state.advance(&alone(1)), Decision::Promote);
        let done = state.apply(&Decision::Promote, &alone(1));
        assert_eq!((done.state_name(), done.weight(), done.advance(&good)), ("promoted", 1.0, Decision::Hold));
    }

    #[test]
    fn state_survives_json() {
        let state = rollout(RolloutSettings::default());
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<Rollout>(&json).unwrap(), state);
    }

    /// 400 runs of equal arms, judged after each of 40 batches: the share of false alarms of the sequential test keeps to
    /// alpha; and a fivefold error rate is found nearly always.
    #[test]
    fn false_alarms_are_bounded_under_continuous_looking_and_a_bad_candidate_is_caught() {
        let (data, mut drawn) = (SplitMix64::new(11), 0);
        let mut random = || {
            drawn += 1;
            data.uniform(drawn)
        };
        let mut alarms = |rate_canary: f64| {
            let settings = RolloutSettings { min_requests: u64::MAX, steps: vec![0.1], ..Default::default() };
            let state = rollout(settings);
            let mut count = 0;
            for _ in 0..400 {
                let mut stats = RolloutStats::default();
                for _ in 0..40 {
                    for _ in 0..500 {
                        let on_canary = random() < 0.1;
                        let (arm, rate) =
                            if on_canary { (&mut stats.canary, rate_canary) } else { (&mut stats.champion, 0.01) };
                        arm.requests += 1;
                        arm.errors += u64::from(random() < rate);
                    }
                    if state.advance(&stats) != Decision::Hold {
                        count += 1;
                        break;
                    }
                }
            }
            count
        };
        assert!(alarms(0.01) <= 20, "5 % of 400");
        assert!(alarms(0.05) >= 396);
    }
}
