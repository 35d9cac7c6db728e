//! Tests for comparing models on the same rows, on folds and on data sets.
//!
//! Invariant: p-values are two-sided, and a test that its numbers do not allow is an error. Tests
//! of calls and signs, and DeLong's, give one where nothing differs.
//!
//! | compared | test |
//! |---|---|
//! | areas under the curve on the same rows | [`delong`] |
//! | right and wrong calls on the same rows | [`mcnemar`], [`mcnemar_mid_p`] |
//! | losses of the same rows or data sets | [`paired_t`], [`wilcoxon`], [`sign_test`], [`permutation_test`] |
//! | folds of repeated cross-validation | [`corrected_resampled_t`], [`cv_5x2_t`], [`cv_5x2_f`] |
//! | several models on several data sets | [`friedman`] |
//! | many tests at once | [`Correction`] |

mod correction;
mod delong;
mod friedman;
mod mcnemar;
mod paired;
mod resampled;
mod wilcoxon;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

pub use correction::Correction;
pub use delong::{DeLong, auc_variance, delong};
pub use friedman::{Friedman, friedman};
pub use mcnemar::{McNemar, mcnemar, mcnemar_mid_p};
pub use paired::{cohen_d_paired, paired_t, permutation_test, sign_test};
pub use resampled::{corrected_resampled_t, cv_5x2_f, cv_5x2_t};
pub use wilcoxon::{WilcoxonMode, ZeroRule, wilcoxon};

/// A statistic and how probable one at least as extreme is if there is no difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TestResult {
    /// The statistic.
    pub statistic: f64,
    /// The two-sided p-value.
    pub p_value: f64,
}

/// Differences first minus second of paired finite numbers, at least two.
fn paired_differences(test: &str, first: &[f64], second: &[f64]) -> Result<Vec<f64>> {
    if first.len() != second.len() || !first.iter().chain(second).all(|value| value.is_finite()) {
        return Err(Error::invalid_argument(format!(
            "{test} needs as many finite numbers of both sides, found {} and {}",
            first.len(),
            second.len()
        )));
    }
    if first.len() < 2 {
        return Err(Error::failed_precondition(format!("{test} needs two pairs, found {}", first.len())));
    }
    Ok(first.iter().zip(second).map(|(a, b)| a - b).collect())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// With n - 1 in the denominator.
fn variance(values: &[f64]) -> f64 {
    let center = mean(values);
    values.iter().map(|value| (value - center).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

fn no_spread(test: &str) -> Error {
    Error::failed_precondition(format!("{test} needs differences that vary; all are the same"))
}

/// The cumulative distribution of the standard normal.
///
/// `erfc` by its Taylor series below 2 and by its continued fraction above (Abramowitz and Stegun
/// 7.1.5 and 7.1.14); relative error below 1e-13 to the left of zero as well.
///
/// ```
/// assert_eq!(mlops_metrics::stats::normal_cdf(0.0), 0.5);
/// assert!((mlops_metrics::stats::normal_cdf(1.959_963_984_540_054) - 0.975).abs() < 1e-12);
/// ```
#[must_use]
pub fn normal_cdf(x: f64) -> f64 {
    let z = x / std::f64::consts::SQRT_2;
    if z >= 0.0 { 1.0 - 0.5 * erfc(z) } else { 0.5 * erfc(-z) }
}

/// `erfc(x)` for `x >= 0`.
fn erfc(x: f64) -> f64 {
    if x < 2.0 { 1.0 - erf_series(x) } else { erfc_fraction(x) }
}

/// `2/sqrt(pi) e^(-x^2) sum of 2^n x^(2n+1) / (1 3 5 ... (2n+1))`: all terms are positive.
fn erf_series(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `e^(-x^2) / sqrt(pi) / (x + (1/2)/(x + (2/2)/(x + (3/2)/(x + ...))))` from the inside out.
fn erfc_fraction(x: f64) -> f64 {
    let tail = (1..=120).rev().fold(x, |tail, n| x + f64::from(n) / 2.0 / tail);
    0.5 * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() / tail
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::unreadable_literal, clippy::excessive_precision, reason = "printed by another program")]
    fn normal_matches_the_c_library() {
        // 0.5 * math.erfc(-x / sqrt(2)) of Python, which asks the C library.
        let table = [
            (-8.0, 6.220960574271819e-16),
            (-3.0, 0.0013498980316300957),
            (-2.8, 0.002555130330427937),
            (-1.0, 0.15865525393145707),
            (0.5, 0.6914624612740131),
            (2.5, 0.9937903346742238),
        ];
        for (x, expected) in table {
            assert!((normal_cdf(x) / expected - 1.0).abs() < 1e-11, "{x} {}", normal_cdf(x));
        }
    }
}
