//! Sequences that spread a level over an endless number of tests: positive, falling, with a sum of at most one.
//!
//! Each is indexed from one. Falling matters: it is what makes a level rise with every alarm before it, which the
//! proofs of the online procedures need.

use crate::stats::float;

/// 0.07720838 ln(max(m, 2)) / (m exp(sqrt(ln m))): the sequence of LORD (Javanmard, Montanari, Ann. Stat. 46, 2018).
/// Its sum is 0.976.
pub(super) fn lord(m: u64) -> f64 {
    let m = float(m);
    0.077_208_38 * m.max(2.0).ln() / (m * m.ln().sqrt().exp())
}

/// m^-1.6 / zeta(1.6): the sequence of SAFFRON.
pub(super) fn saffron(m: u64) -> f64 {
    0.437_490_165_774 * float(m).powf(-1.6)
}

#[cfg(test)]
mod tests {
    use super::{float, lord, saffron};

    const M: u64 = 200_000;

    /// The sum of the terms up to M, and of those beyond it by Euler and Maclaurin: the integral from M less half of
    /// the M-th term. The integral is 2 (r^3 + 3 r^2 + 6 r + 6) exp(-r) with r = sqrt(ln M) for LORD (before its
    /// factor) and M^-0.6 / 0.6 for SAFFRON.
    #[test]
    fn sequences_fall_and_their_endless_sums_are_at_most_one() {
        let r = float(M).ln().sqrt();
        let lord_beyond = 0.077_208_38 * 2.0 * (r.powi(3) + 3.0 * r * r + 6.0 * r + 6.0) * (-r).exp();
        let saffron_beyond = 0.437_490_165_774 * float(M).powf(-0.6) / 0.6;
        check(lord, lord_beyond, 0.976_308);
        check(saffron, saffron_beyond, 1.0);
    }

    fn check(sequence: fn(u64) -> f64, beyond: f64, expected: f64) {
        let terms: Vec<f64> = (1..=M).map(sequence).collect();
        assert!(terms.windows(2).all(|pair| pair[0] > pair[1] && pair[1] > 0.0));
        let sum = terms.iter().sum::<f64>() + beyond - sequence(M) / 2.0;
        assert!((sum - expected).abs() < 1e-6 && sum <= 1.0 + 1e-12, "{sum}");
    }
}
