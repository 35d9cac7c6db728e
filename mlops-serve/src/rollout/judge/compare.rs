//! One guardrail, one candidate: the tests, and their evidence in numbers and words.

use mlops_core::Version;
use mlops_metrics::Direction;

use crate::rollout::{
    Finding, Verdict,
    statistics::{Moments, asymptotic, higher_rate, mixture, share},
};

/// A candidate beside the champion, under one guardrail.
pub(super) struct Pair {
    pub(super) guardrail: String,
    pub(super) version: Version,
    /// Fewer reported figures than this say nothing about a mean.
    pub(super) samples_min: u64,
    pub(super) alpha: f64,
    /// Whether both saw traffic at the same time, always in the same proportion.
    pub(super) constant_split: bool,
}

/// Events among requests.
type Events = (u64, u64);

impl Pair {
    /// Events against the champion's.
    ///
    /// Otherwise than in a constant split: two intervals, each at half of alpha, which hold at any pace of the two sides.
    pub(super) fn events(self, candidate: Events, champion: Events, margin: f64) -> Finding {
        if candidate.1 == 0 || champion.1 == 0 {
            return self.without_data(candidate.1, champion.1, margin);
        }
        let difference = rate(candidate) - rate(champion);
        let (low, high, p_value) = if self.constant_split {
            let ln_e_value = higher_rate::ln_e_value(candidate, champion, margin);
            let half = mixture::half_width(share::variance(candidate, champion), margin, self.alpha);
            (difference - half, difference + half, Some((-ln_e_value).exp().min(1.0)))
        } else {
            let (c, s) = (self.share_interval(candidate), self.share_interval(champion));
            (c.0 - s.1, c.1 - s.0, None)
        };
        let worse = p_value.map_or(low > 0.0, |p_value| p_value <= self.alpha);
        let verdict = verdict(worse, high < margin);
        let reason = format!(
            "{}: {} of {} requests to the candidate against {} of {} to the champion",
            self.guardrail, candidate.0, candidate.1, champion.0, champion.1
        );
        self.finding(verdict, difference, (low, high), margin)
            .with_p_value(p_value)
            .with_samples(candidate.1, champion.1)
            .said(reason)
    }

    fn share_interval(&self, events: Events) -> (f64, f64) {
        share::interval(events.0, events.1, self.alpha / 2.0)
    }

    /// Events against an objective.
    pub(super) fn objective(self, candidate: Events, at_most: f64) -> Finding {
        if candidate.1 == 0 {
            return self.without_data(0, 0, at_most);
        }
        let (low, high) = share::interval(candidate.0, candidate.1, self.alpha);
        let reason = format!("{}: {} of {} requests to the candidate", self.guardrail, candidate.0, candidate.1);
        let verdict = verdict(low > at_most, high < at_most);
        self.finding(verdict, rate(candidate), (low, high), at_most).with_samples(candidate.1, 0).said(reason)
    }

    /// A mean against the champion's.
    pub(super) fn mean(self, candidate: &Moments, champion: &Moments, direction: Direction, margin: f64) -> Finding {
        if candidate.n < self.samples_min || champion.n < self.samples_min {
            return self.without_data(candidate.n, champion.n, margin);
        }
        let rho = asymptotic::rho_for(self.samples_min.saturating_mul(4), self.alpha / 2.0);
        let (low, high) = asymptotic::difference(champion, candidate, rho, self.alpha);
        // As harm, the ends change places where more is better.
        let (least, most) = match direction {
            Direction::Minimize => (low, high),
            Direction::Maximize => (-high, -low),
        };
        let reason = format!(
            "{}: mean {:.6} over {} to the candidate against {:.6} over {} to the champion",
            self.guardrail, candidate.mean, candidate.n, champion.mean, champion.n
        );
        self.finding(verdict(least > 0.0, most < margin), candidate.mean - champion.mean, (low, high), margin)
            .with_samples(candidate.n, champion.n)
            .said(reason)
    }

    fn without_data(self, samples: u64, champion_samples: u64, limit: f64) -> Finding {
        let reason = format!(
            "{}: no verdict on {samples} to the candidate and {champion_samples} to the champion",
            self.guardrail
        );
        let mut finding = self.finding(Verdict::Undecided, f64::NAN, (f64::NEG_INFINITY, f64::INFINITY), limit);
        finding.reason = reason;
        finding.with_samples(samples, champion_samples)
    }

    fn finding(self, verdict: Verdict, value: f64, (low, high): (f64, f64), limit: f64) -> Finding {
        let known = |value: f64| Some(value).filter(|value| value.is_finite());
        Finding {
            guardrail: self.guardrail,
            candidate: Some(self.version),
            verdict,
            value: known(value),
            low: known(low),
            high: known(high),
            limit,
            p_value: None,
            samples: 0,
            champion_samples: 0,
            reason: String::new(),
        }
    }
}

impl Finding {
    fn with_p_value(mut self, p_value: Option<f64>) -> Self {
        self.p_value = p_value;
        self
    }

    fn with_samples(mut self, candidate: u64, champion: u64) -> Self {
        (self.samples, self.champion_samples) = (candidate, champion);
        self
    }

    fn said(mut self, reason: String) -> Self {
        self.reason = reason;
        self
    }
}

fn verdict(broken: bool, kept: bool) -> Verdict {
    match (broken, kept) {
        (true, _) => Verdict::Fail,
        (false, true) => Verdict::Pass,
        (false, false) => Verdict::Undecided,
    }
}

fn rate((events, requests): Events) -> f64 {
    events as f64 / requests as f64
}
