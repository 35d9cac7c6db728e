//! Kuiper's two-sample test: as sensitive in the tails as at the median.

use std::f64::consts::LN_2;

use super::{KsStatistic, Tail, float};

/// Below this argument the law gives one to machine precision.
const LAMBDA_MIN: f64 = 0.4;

/// V = D+ + D- and its p-value, from the two one-sided distances.
///
/// p = 2 sum_j (4 j^2 l^2 - 1) exp(-2 j^2 l^2) with l = (sqrt(e) + 0.155 + 0.24 / sqrt(e)) V and e = nm / (n + m)
/// (Stephens, Journal of the Royal Statistical Society B 32, 1970).
///
/// ```
/// use mlops_monitor::stats::{ks_statistic, kuiper};
///
/// let (v, tail) = kuiper(&ks_statistic(&[1.0, 2.0, 5.0, 6.0], &[3.0, 4.0]).expect("both have values"));
/// assert_eq!(v, 1.0); // all of the current values lie in a gap of the reference
/// assert!(tail.p() < 0.5);
/// ```
#[must_use]
pub fn kuiper(ks: &KsStatistic) -> (f64, Tail) {
    let v = ks.d_plus + ks.d_minus;
    let (n, m) = (float(ks.n), float(ks.m));
    let root = (n * m / (n + m)).sqrt();
    (v, limit_tail((root + 0.155 + 0.24 / root) * v))
}

fn limit_tail(lambda: f64) -> Tail {
    if lambda < LAMBDA_MIN {
        return Tail::ONE;
    }
    let square = lambda * lambda;
    if lambda < 1.0 {
        let term = |j: f64| (4.0 * j * j * square - 1.0) * (-2.0 * j * j * square).exp();
        return Tail::from_ln((2.0 * (1..40).map(f64::from).map(term).sum::<f64>()).ln());
    }
    // Relative to the first term, so that far tails keep their digits.
    let first = 4.0 * square - 1.0;
    let term = |j: f64| (4.0 * j * j * square - 1.0) / first * (-2.0 * (j * j - 1.0) * square).exp();
    let rest: f64 = (2..20).map(f64::from).map(term).sum();
    Tail::from_ln(LN_2 + first.ln() - 2.0 * square + rest.ln_1p())
}
