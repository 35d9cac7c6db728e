//! The tail of the chi-squared law in log space.
//!
//! Invariant: relative error of the logarithm stays near machine precision however small the
//! probability is; nothing is ever computed as one minus something close to one.

pub(crate) use mlops_metrics::special::{ln_gamma, ln_gamma_q, ln_one_minus_exp};

use super::{Tail, float};

/// ln n!.
pub(crate) fn ln_factorial(n: u64) -> f64 {
    if n < 2 { 0.0 } else { ln_gamma(float(n) + 1.0) }
}

/// ln B(a, b), the beta function, for a and b above 0; the error is that of rounding the largest of its three terms.
pub(crate) fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The probability that a chi-squared variable with `degrees_of_freedom` reaches `x`.
///
/// Q(df/2, x/2). With no degree of freedom the variable is zero: probability one for `x <= 0`.
///
/// ```
/// use mlops_monitor::stats::chi_squared_tail;
///
/// // R: pchisq(3.841458820694124, 1, lower.tail = FALSE)
/// assert!((chi_squared_tail(3.841458820694124, 1).p() - 0.05).abs() < 1e-14);
/// ```
#[must_use]
pub fn chi_squared_tail(x: f64, degrees_of_freedom: u64) -> Tail {
    if degrees_of_freedom == 0 {
        return Tail::from_ln(if x <= 0.0 { 0.0 } else { f64::NEG_INFINITY });
    }
    Tail::from_ln(ln_gamma_q(float(degrees_of_freedom) / 2.0, x / 2.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(left: f64, right: f64, tolerance: f64) {
        assert!((left - right).abs() <= tolerance * right.abs().max(1.0), "{left} != {right}");
    }

    #[test]
    fn ln_gamma_matches_known_values() {
        close(ln_gamma(0.5), std::f64::consts::PI.sqrt().ln(), 1e-13);
        close(ln_gamma(1.0), 0.0, 1e-14);
        close(ln_gamma(2.0), 0.0, 1e-14);
        // 20! exactly.
        close(ln_factorial(20), 2_432_902_008_176_640_000_f64.ln(), 1e-13);
    }

    #[test]
    fn even_degrees_of_freedom_have_a_closed_form() {
        // Q(k, x) = exp(-x) sum_{j<k} x^j / j!.
        for x in [0.01, 0.5, 1.0, 3.0, 9.0, 40.0, 300.0] {
            for k in [1_u64, 2, 3, 10] {
                let terms = (0..k).map(|j| (float(j) * f64::ln(x) - ln_factorial(j)).exp());
                close(chi_squared_tail(2.0 * x, 2 * k).ln(), terms.sum::<f64>().ln() - x, 1e-13);
            }
        }
    }

    #[test]
    fn tails_beyond_the_range_of_doubles_survive() {
        let tail = chi_squared_tail(7_386.827_126_307_534, 956);
        assert_eq!(tail.p(), 0.0);
        close(tail.log10(), -974.539_190_514_926_3, 1e-9);
    }

    #[test]
    fn no_degree_of_freedom_means_no_doubt() {
        assert_eq!(chi_squared_tail(0.0, 0), Tail::ONE);
        assert_eq!(chi_squared_tail(1.0, 0).p(), 0.0);
    }
}
