//! Tails of the distributions behind tests.
//!
//! Invariant: a tail is computed as a tail, never as one minus something close to one, so small
//! p-values keep their digits. Sources: NIST DLMF 8.17 (incomplete beta), 8.7.1 and 8.9.2
//! (incomplete gamma).

use crate::special::{incomplete_beta, ln_gamma, ln_gamma_q};

/// P(|T| >= |t|) of Student's distribution with `df` > 0 degrees of freedom.
///
/// ```
/// // scipy: 2 * t.sf(2, 10)
/// assert!((mlops_metrics::distribution::student_two_sided(2.0, 10.0) - 0.073_388_034_770_740_37).abs() < 1e-14);
/// ```
#[must_use]
pub fn student_two_sided(t: f64, df: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    incomplete_beta(df / 2.0, 0.5, df / (df + t * t))
}

/// P(X >= x) of the chi-squared distribution with `df` > 0 degrees of freedom.
///
/// ```
/// assert!((mlops_metrics::distribution::chi_squared_tail(3.841_458_820_694_124, 1.0) - 0.05).abs() < 1e-14);
/// ```
#[must_use]
pub fn chi_squared_tail(x: f64, df: f64) -> f64 {
    ln_gamma_q(df / 2.0, x / 2.0).exp()
}

/// P(F >= f) of Fisher's distribution with `df1` and `df2` > 0 degrees of freedom.
///
/// ```
/// // scipy: f.sf(2.5, 10, 5)
/// assert!((mlops_metrics::distribution::fisher_tail(2.5, 10.0, 5.0) - 0.161_834_741_521_957_6).abs() < 1e-12);
/// ```
#[must_use]
pub fn fisher_tail(f: f64, df1: f64, df2: f64) -> f64 {
    if f <= 0.0 {
        return 1.0;
    }
    incomplete_beta(df2 / 2.0, df1 / 2.0, df2 / (df2 + df1 * f))
}

/// P(X < k) and P(X = k) of a binomial count of `n` fair coins.
#[must_use]
pub fn binomial_half(k: u64, n: u64) -> (f64, f64) {
    if k > n {
        return (1.0, 0.0);
    }
    let at = (ln_choose(n, k.min(n - k)) - n as f64 * std::f64::consts::LN_2).exp();
    // Terms rise up to n / 2; from k down they soon no longer add anything.
    let (mut below, mut term) = (0.0, at);
    for count in (0..k).rev() {
        term *= (count + 1) as f64 / (n - count) as f64;
        below += term;
        if term < below * 1e-18 {
            break;
        }
    }
    (below, at)
}

/// ln of n over k, term by term where that is quick: logarithms of large factorials lose digits.
fn ln_choose(n: u64, k: u64) -> f64 {
    if k <= 1_000_000 {
        return (0..k).map(|i| ((n - i) as f64 / (i + 1) as f64).ln()).sum();
    }
    let ln_factorial = |count: u64| ln_gamma(count as f64 + 1.0);
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unreadable_literal, reason = "printed by another program")]
    fn tails_match_scipy() {
        // scipy 1.17.1: 2 * t.sf, chi2.sf, f.sf, binom.cdf and binom.pmf.
        let close = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-10, "{found} {expected}");
        close(student_two_sided(12.0, 3.0), 0.0012450158007893362);
        close(student_two_sided(0.1, 39.0), 0.9208566174215234);
        close(chi_squared_tail(80.0, 4.0), 1.7418252446695558e-16);
        close(fisher_tail(30.0, 10.0, 5.0), 0.0007701789592916634);
        let (below, at) = binomial_half(46, 101);
        close(below + at, 0.213080007733497);
        close(at, 0.053216347383364254);
        assert_eq!(fisher_tail(0.0, 1.0, 1.0), 1.0);
        assert_eq!(student_two_sided(f64::INFINITY, 2.0), 0.0);
    }

    #[test]
    fn coins_add_up() {
        for n in [1, 2, 17, 1_000] {
            let (below, at) = binomial_half(n, n);
            assert!((below + at - 1.0).abs() < 1e-12, "{n}");
        }
        assert_eq!(binomial_half(0, 0), (0.0, 1.0));
    }
}
