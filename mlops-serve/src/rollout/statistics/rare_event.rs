//! An e-process for rare events: errors, answers slower than a limit.
//!
//! Under the hypothesis that both arms have the same rate, a given event falls on the candidate with probability
//! w0 = n_c / (n_c + n_s). With C events on the candidate and S on the champion, E is the mean over alternatives w > w0
//! of (w/w0)^C ((1-w)/(1-w0))^S, a test martingale in the events one by one. It needs no variance and is valid for
//! the first event. Traffic must be split in the same proportion all along, as it is within a stage.

use super::ln_mean;

/// Alternatives: the candidate's odds of an event are this many times the champion's.
const ODDS: [f64; 6] = [1.25, 1.5, 2.0, 3.0, 5.0, 10.0];

/// ln E of `candidate` and `champion`, each (events, requests). 0 without events or when an arm is empty.
#[must_use]
pub fn ln_e_value(candidate: (u64, u64), champion: (u64, u64)) -> f64 {
    if candidate.1 == 0 || champion.1 == 0 || (candidate.0 == 0 && champion.0 == 0) {
        return 0.0;
    }
    let (n_c, n_s) = (candidate.1 as f64, champion.1 as f64);
    let w0 = n_c / (n_c + n_s);
    ln_mean(&ODDS.map(|odds| {
        // w / w0 and (1 - w) / (1 - w0) without the cancellation in 1 - w.
        let whole = odds * w0 + 1.0 - w0;
        candidate.0 as f64 * (odds / whole).ln() - champion.0 as f64 * whole.ln()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17.1 `logsumexp` of `binom.logpmf(C, C + S, w) - binom.logpmf(C, C + S, w0)`, less ln 6.
    #[test]
    fn values_are_those_of_binomial_likelihoods() {
        for (candidate, champion, expected) in [
            ((12, 1000), (50, 10000), 2.0881617743293686),
            ((3, 100), (0, 900), 3.591415568520391),
            ((0, 500), (20, 4500), -1.6406826828838719),
            ((400, 20000), (300, 20000), 5.381338468026216),
        ] {
            let found = ln_e_value(candidate, champion);
            assert!((found - expected).abs() < 1e-9, "{candidate:?} {champion:?}: {found} is not {expected}");
        }
    }

    #[test]
    fn no_events_or_an_empty_arm_are_no_evidence() {
        assert_eq!(ln_e_value((0, 10), (0, 100)), 0.0);
        assert_eq!(ln_e_value((3, 10), (0, 0)), 0.0);
        assert!(ln_e_value((0, 100), (50, 1000)) < 0.0);
    }

    /// The mean of E under the hypothesis is exactly 1: summed over where each of 12 events falls.
    #[test]
    fn the_mean_under_the_hypothesis_is_one() {
        let (events, w0) = (12_u64, 0.1_f64);
        let mut choose = 1.0;
        let mut mean = 0.0;
        for c in 0..=events {
            let chance = choose * w0.powi(c as i32) * (1.0 - w0).powi((events - c) as i32);
            mean += chance * ln_e_value((c, 100), (events - c, 900)).exp();
            choose *= (events - c) as f64 / (c + 1) as f64;
        }
        assert!((mean - 1.0).abs() < 1e-12, "{mean}");
    }
}
