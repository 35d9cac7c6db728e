//! Distributions and tests for comparing two models on the same rows.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The cumulative distribution of the standard normal.
///
/// `erfc` by its Taylor series below 3 and by its continued fraction above (Abramowitz and Stegun
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

/// Two areas under the curve on the same rows, with their covariance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DeLong {
    /// Areas under the curve of the first and the second score.
    pub auc: [f64; 2],
    /// Their covariance matrix.
    pub covariance: [[f64; 2]; 2],
}

impl DeLong {
    /// Standard error of the difference of the areas.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        let [[a, ab], [ba, b]] = self.covariance;
        (a + b - ab - ba).max(0.0).sqrt()
    }

    /// Difference of the areas in standard errors; zero when there is neither difference nor error.
    #[must_use]
    pub fn z(&self) -> f64 {
        let difference = self.auc[0] - self.auc[1];
        if difference == 0.0 { 0.0 } else { difference / self.standard_error() }
    }

    /// Probability of a difference at least as large, in either direction, if there were none.
    #[must_use]
    pub fn p_value(&self) -> f64 {
        2.0 * normal_cdf(-self.z().abs())
    }
}

/// The test of DeLong, DeLong and Clarke-Pearson (1988) for two correlated areas under the curve.
///
/// Placements are by midranks (Sun and Xu 2014), so it takes `n log n` time and ties count one
/// half.
///
/// # Errors
/// `InvalidArgument` when lengths differ, a number is not finite or a label is not 0 or 1;
/// `FailedPrecondition` when a class has fewer than two rows.
pub fn delong(labels: &[f64], first: &[f64], second: &[f64]) -> Result<DeLong> {
    let counts = check_two_classes(labels, first, second)?;
    let (a, b) = (Placements::of(labels, first), Placements::of(labels, second));
    let off = a.covariance(&b, counts);
    Ok(DeLong {
        auc: [mean(&a.of_positives), mean(&b.of_positives)],
        covariance: [[a.covariance(&a, counts), off], [off, b.covariance(&b, counts)]],
    })
}

/// Positives and negatives, at least two of each.
fn check_two_classes(labels: &[f64], first: &[f64], second: &[f64]) -> Result<(f64, f64)> {
    let lengths = first.len() == labels.len() && second.len() == labels.len();
    let binary = labels.iter().all(|&label| label == 0.0 || label == 1.0);
    if !lengths || !binary || !first.iter().chain(second).all(|score| score.is_finite()) {
        return Err(Error::invalid_argument(
            "DeLong's test needs labels 0 and 1 and as many finite scores of both models",
        ));
    }
    let positives = labels.iter().filter(|&&label| label == 1.0).count();
    let negatives = labels.len() - positives;
    if positives.min(negatives) < 2 {
        return Err(Error::failed_precondition(format!(
            "DeLong's test needs two rows of each class, found {positives} positive and {negatives} negative"
        )));
    }
    Ok((positives as f64, negatives as f64))
}

/// The area under the curve of one score and DeLong's variance of it.
///
/// # Errors
/// As [`delong`].
pub fn auc_variance(labels: &[f64], scores: &[f64]) -> Result<(f64, f64)> {
    let counts = check_two_classes(labels, scores, scores)?;
    let placements = Placements::of(labels, scores);
    Ok((mean(&placements.of_positives), placements.covariance(&placements, counts)))
}

/// For each positive the share of negatives below it, for each negative the share of positives
/// above it.
struct Placements {
    of_positives: Vec<f64>,
    of_negatives: Vec<f64>,
}

impl Placements {
    fn of(labels: &[f64], scores: &[f64]) -> Self {
        let of = |class: f64| -> Vec<f64> {
            labels.iter().zip(scores).filter(|pair| *pair.0 == class).map(|pair| *pair.1).collect()
        };
        let (positives, negatives) = (of(1.0), of(0.0));
        let below = |value: f64, sorted: &[f64]| {
            let (less, up_to) = (sorted.partition_point(|&s| s < value), sorted.partition_point(|&s| s <= value));
            (less as f64 + up_to as f64) / 2.0 / sorted.len() as f64
        };
        let sorted = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values
        };
        let (sorted_positives, sorted_negatives) = (sorted(positives.clone()), sorted(negatives.clone()));
        Self {
            of_positives: positives.into_iter().map(|value| below(value, &sorted_negatives)).collect(),
            of_negatives: negatives.into_iter().map(|value| 1.0 - below(value, &sorted_positives)).collect(),
        }
    }
}

impl Placements {
    /// Of two areas, with so many positives and negatives.
    fn covariance(&self, other: &Self, (positives, negatives): (f64, f64)) -> f64 {
        covariance(&self.of_positives, &other.of_positives) / positives
            + covariance(&self.of_negatives, &other.of_negatives) / negatives
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn covariance(x: &[f64], y: &[f64]) -> f64 {
    let (mean_x, mean_y) = (mean(x), mean(y));
    let sum: f64 = x.iter().zip(y).map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    sum / (x.len() as f64 - 1.0)
}

/// McNemar's test on the rows that exactly one of two classifiers gets right: the mid-p form of
/// Fagerland, Lydersen and Laake (2013), two-sided. One when there are no such rows.
///
/// ```
/// // One row decided for the first, nine for the second.
/// assert!((mlops_metrics::stats::mcnemar_mid_p(1, 9) - 0.011_718_75).abs() < 1e-12);
/// ```
#[must_use]
pub fn mcnemar_mid_p(only_first: u64, only_second: u64) -> f64 {
    let n = only_first + only_second;
    let least = only_first.min(only_second);
    // Binomial probabilities with p = 1/2 by logarithms, so that large counts do not overflow.
    let (mut log_choose, mut below, mut at) = (0.0_f64, 0.0, 0.0);
    for k in 0..=least {
        at = (log_choose - n as f64 * std::f64::consts::LN_2).exp();
        if k < least {
            below += at;
        }
        log_choose += ((n - k) as f64 / (k + 1) as f64).ln();
    }
    // Twice the probability of fewer, plus once that of exactly as many.
    (2.0 * below + at).min(1.0)
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

    #[test]
    fn equal_scores_do_not_differ() {
        let labels = [0.0, 1.0, 0.0, 1.0, 1.0];
        let scores = [0.1, 0.2, 0.3, 0.4, 0.5];
        let test = delong(&labels, &scores, &scores).unwrap();
        assert_eq!((test.z(), test.p_value()), (0.0, 1.0));
        assert!(delong(&labels[..2], &scores[..2], &scores[..2]).is_err());
        assert!(delong(&labels, &scores[..2], &scores).is_err());
    }
}
