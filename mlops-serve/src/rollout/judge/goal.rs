//! Has a candidate of an experiment won, and can any still win?

use mlops_core::Version;
use mlops_metrics::Direction;

use crate::rollout::{
    Finding, Goal, Verdict,
    statistics::{Moments, asymptotic},
};

/// The name of the finding.
pub(super) const NAME: &str = "goal";

/// What the candidates of an experiment compete in.
pub(super) struct Trial<'a> {
    pub(super) goal: &'a Goal,
    pub(super) champion: Moments,
    pub(super) samples_min: u64,
    /// Of one candidate.
    pub(super) alpha: f64,
}

/// How one candidate stands: the ends of the interval of its improvement.
pub(super) struct Standing {
    pub(super) finding: Finding,
    version: Version,
    improvement: f64,
    wins: bool,
    hopeless: bool,
}

impl Trial<'_> {
    pub(super) fn stand(&self, version: Version, candidate: &Moments) -> Standing {
        let enough = candidate.n >= self.samples_min && self.champion.n >= self.samples_min;
        let rho = asymptotic::rho_for(self.samples_min.saturating_mul(4), self.alpha / 2.0);
        let (low, high) = if enough {
            asymptotic::difference(&self.champion, candidate, rho, self.alpha)
        } else {
            (f64::NEG_INFINITY, f64::INFINITY)
        };
        let difference = candidate.mean - self.champion.mean;
        let (improvement, least, most) = match self.goal.direction {
            Direction::Maximize => (difference, low, high),
            Direction::Minimize => (-difference, -high, -low),
        };
        let wins = least > 0.0;
        let known = |value: f64| Some(value).filter(|value| value.is_finite());
        let finding = Finding {
            guardrail: NAME.into(),
            candidate: Some(version),
            verdict: if wins { Verdict::Pass } else { Verdict::Undecided },
            value: known(difference).filter(|_| enough),
            low: known(low),
            high: known(high),
            limit: self.goal.effect,
            p_value: None,
            samples: candidate.n,
            champion_samples: self.champion.n,
            reason: format!(
                "{}: mean {:.6} over {} to version {version} against {:.6} over {} to the champion",
                self.goal.kpi, candidate.mean, candidate.n, self.champion.mean, self.champion.n
            ),
        };
        Standing { finding, version, improvement, wins, hopeless: most < self.goal.effect }
    }
}

/// The best of those that won.
pub(super) fn winner(standings: &[Standing]) -> Option<Version> {
    let winners = standings.iter().filter(|standing| standing.wins);
    winners.max_by(|a, b| a.improvement.total_cmp(&b.improvement)).map(|standing| standing.version)
}

/// Why going on is futile, where it is: no candidate can be better by the effect that is of interest.
pub(super) fn futile(standings: &[Standing]) -> Option<String> {
    let hopeless = !standings.is_empty() && standings.iter().all(|standing| standing.hopeless);
    let reasons = standings.iter().map(|standing| standing.finding.reason.as_str()).collect::<Vec<_>>();
    hopeless.then(|| format!("futile: no candidate can reach the effect; {}", reasons.join("; ")))
}
