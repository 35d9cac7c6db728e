//! Does the candidate have more events per request than the champion? Two e-processes in one.
//!
//! The mean of two e-values is one: of the mixture test, quick where events are many, and of the rare-event process, valid from
//! the first event. The mixture test estimates its variance from the events, so with a few of them it is too sure: alone, at
//! 0.001 errors per request, 100 canary requests a minute and 30 looks at 5 %, it rolls back 7 % of equal canaries.
//! It counts, therefore, only from two expected events on the smaller side; until then its e-value is taken as 0, which keeps
//! what remains valid. Traffic must be split in the same proportion all along.

use super::{ln_mean, mixture, rare_event, share};

/// Events that each side must be expected to have, at the pooled rate, before the mixture test counts.
const EXPECTED_MIN: f64 = 2.0;

/// ln of the e-value against "no more events per request", of sides given as (events, requests); `tau` is the difference
/// worth detecting. 0 without events or when a side is empty.
#[must_use]
pub fn ln_e_value(candidate: (u64, u64), champion: (u64, u64), tau: f64) -> f64 {
    let events = candidate.0.saturating_add(champion.0) as f64;
    if candidate.1 == 0 || champion.1 == 0 || events == 0.0 {
        return 0.0;
    }
    let requests = candidate.1.saturating_add(champion.1) as f64;
    let expected = events / requests * candidate.1.min(champion.1) as f64;
    let by_mixture = if expected < EXPECTED_MIN {
        f64::NEG_INFINITY
    } else {
        let difference = candidate.0 as f64 / candidate.1 as f64 - champion.0 as f64 / champion.1 as f64;
        mixture::ln_ratio_above(difference, share::pooled_variance(candidate, champion), tau)
    };
    ln_mean(&[by_mixture, rare_event::ln_e_value(candidate, champion)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_events_are_left_to_the_rare_event_process() {
        let alone = rare_event::ln_e_value((2, 500), (0, 4_500));
        let both = ln_e_value((2, 500), (0, 4_500), 0.01);
        assert!((both - (alone - 2.0_f64.ln())).abs() < 1e-12, "{both} {alone}");
        // The mixture test alone would be sure at 0.2 %, yet one equal canary in a hundred looks like this.
        assert!(mixture::ln_ratio_above(0.004, share::pooled_variance((2, 500), (0, 4_500)), 0.01) > 6.0);
        assert_eq!(ln_e_value((0, 500), (0, 4_500), 0.01), 0.0);
        assert_eq!(ln_e_value((5, 500), (0, 0), 0.01), 0.0);
    }

    #[test]
    fn many_events_have_the_mean_of_both() {
        let sides = ((40, 1_000), (100, 9_000));
        let parts = [
            mixture::ln_ratio_above(0.04 - 100.0 / 9_000.0, share::pooled_variance(sides.0, sides.1), 0.01).exp(),
            rare_event::ln_e_value(sides.0, sides.1).exp(),
        ];
        let mean = (0.5 * (parts[0] + parts[1])).ln();
        assert!((ln_e_value(sides.0, sides.1, 0.01) - mean).abs() < 1e-9);
    }
}
