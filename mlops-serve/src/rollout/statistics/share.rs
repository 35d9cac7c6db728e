//! A share of events, exactly, at every look: the beta-binomial confidence sequence; and the variance of the difference
//! of two shares.
//!
//! With s events in n, E(p) = B(1/2 + s, 1/2 + n - s) / B(1/2, 1/2) / (p^s (1-p)^(n-s)) is a test martingale where p is
//! the share (Robbins, Ann. Math. Stat. 41, 1970, with Jeffreys' prior as the mixture).

use mlops_metrics::special::ln_gamma;

/// Halvings of an interval; 60 come to the spacing of doubles near one.
const HALVINGS: u32 = 60;

/// ln E(p) of `events` in `n` against the share p. 0 for n = 0; infinite when p makes what was seen impossible.
#[must_use]
pub fn ln_e_value(events: u64, n: u64, p: f64) -> f64 {
    let (yes, no) = (events.min(n) as f64, n.saturating_sub(events) as f64);
    let ln_beta = |a: f64, b: f64| ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b);
    // 0 ln 0 is 0: a share of 0 or 1 explains what has only that.
    let times_ln = |count: f64, chance: f64| if count == 0.0 { 0.0 } else { count * chance.ln() };
    let likelihood = times_ln(yes, p) + if no == 0.0 { 0.0 } else { no * (-p).ln_1p() };
    ln_beta(0.5 + yes, 0.5 + no) - ln_beta(0.5, 0.5) - likelihood
}

/// The shares that are not refused at `alpha`; 0 to 1 for n = 0.
#[must_use]
pub fn interval(events: u64, n: u64, alpha: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let estimate = events.min(n) as f64 / n as f64;
    let limit = -alpha.ln();
    let edge = |outside: f64| {
        if ln_e_value(events, n, outside) < limit {
            return outside;
        }
        let (mut refused, mut kept) = (outside, estimate);
        for _ in 0..HALVINGS {
            let middle = 0.5 * (refused + kept);
            if ln_e_value(events, n, middle) < limit { kept = middle } else { refused = middle }
        }
        refused
    };
    (edge(0.0), edge(1.0))
}

/// Variance of the difference of two shares, each (events, n), when both are the same share: p (1-p) (1/n1 + 1/n2) at
/// the pooled p. 0, which is no evidence, while there are no events or an arm is empty.
#[must_use]
pub fn pooled_variance(first: (u64, u64), second: (u64, u64)) -> f64 {
    let n = first.1.saturating_add(second.1) as f64;
    if first.1 == 0 || second.1 == 0 {
        return 0.0;
    }
    let p = first.0.saturating_add(second.0) as f64 / n;
    p * (1.0 - p) * (1.0 / first.1 as f64 + 1.0 / second.1 as f64)
}

/// Variance of the difference of two shares, each (events, n), whatever they are: the sum of q (1-q) / n with
/// q = (events + 1/2) / (n + 1), so that an arm that saw no event is not taken for certain. 0 when an arm is empty.
#[must_use]
pub fn variance(first: (u64, u64), second: (u64, u64)) -> f64 {
    if first.1 == 0 || second.1 == 0 {
        return 0.0;
    }
    let of = |(events, n): (u64, u64)| {
        let q = (events as f64 + 0.5) / (n as f64 + 1.0);
        q * (1.0 - q) / n as f64
    };
    of(first) + of(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17.1: `betaln(0.5 + s, 0.5 + n - s) - betaln(0.5, 0.5) - s log(p) - (n - s) log1p(-p)`, and `brentq` for where it
    /// is log(20).
    #[test]
    fn values_and_intervals_are_those_of_scipy() {
        for (events, n, p, expected, low, high) in [
            (3, 50, 0.01, 0.7413424199654333, 0.0043118401695147945, 0.22684167404770184),
            (20, 1000, 0.01, 0.23174170423643226, 0.007818989084868928, 0.040635405895269774),
            (0, 200, 0.05, 7.036510251962334, 0.0, 0.03061109852401997),
            (700, 1000, 0.5, 78.6029277669839, 0.6454376526177059, 0.7510166114505514),
        ] {
            let found = ln_e_value(events, n, p);
            assert!(
                (found - expected).abs() < 1e-8 * expected.abs().max(1.0),
                "{events}/{n}: {found} is not {expected}"
            );
            let (found_low, found_high) = interval(events, n, 0.05);
            assert!((found_low - low).abs() < 1e-9 && (found_high - high).abs() < 1e-9, "{found_low} {found_high}");
        }
    }

    #[test]
    fn edges() {
        assert_eq!(interval(0, 0, 0.05), (0.0, 1.0));
        assert_eq!(interval(0, 50, 0.05).0, 0.0);
        assert_eq!(interval(50, 50, 0.05).1, 1.0);
        assert!(ln_e_value(1, 10, 0.0).is_infinite());
        assert_eq!((pooled_variance((0, 10), (0, 10)), variance((0, 0), (1, 2))), (0.0, 0.0));
        assert!(variance((0, 10), (0, 10)) > 0.0);
    }
}
