//! Two models on the folds of repeated cross-validation, whose training rows overlap.
//!
//! Differences are first minus second, one a fold. An uncorrected t-test over folds takes them for
//! independent and finds differences that are none.

use mlops_core::{Error, Result};

use super::{TestResult, mean, no_spread, variance};
use crate::distribution::{fisher_tail, student_two_sided};

/// The corrected resampled t-test (Nadeau and Bengio, Machine Learning 52, 2003): the variance of
/// the mean of n differences is `(1/n + n_test/n_train) s^2`; n - 1 degrees of freedom.
///
/// ```
/// let test = mlops_metrics::stats::corrected_resampled_t(&[0.1, 0.2, 0.05, 0.15], 0.25)?;
/// assert!((test.statistic - 2.738_612_787_525_831).abs() < 1e-12);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when a number is not finite or the ratio of test to training rows not above
/// zero; `FailedPrecondition` for fewer than two folds or differences that are all the same.
pub fn corrected_resampled_t(differences: &[f64], test_over_train: f64) -> Result<TestResult> {
    let name = "the corrected resampled t-test";
    if !(differences.iter().all(|d| d.is_finite()) && test_over_train > 0.0 && test_over_train.is_finite()) {
        return Err(Error::invalid_argument(format!(
            "{name} needs finite differences and a ratio of test to training rows above zero"
        )));
    }
    if differences.len() < 2 {
        return Err(Error::failed_precondition(format!("{name} needs two folds, found {}", differences.len())));
    }
    let n = differences.len() as f64;
    let spread = variance(differences);
    if spread <= 0.0 {
        return Err(no_spread(name));
    }
    let statistic = mean(differences) / ((1.0 / n + test_over_train) * spread).sqrt();
    Ok(TestResult { statistic, p_value: student_two_sided(statistic, n - 1.0) })
}

/// Five repetitions of two-fold cross-validation: the differences on both folds of each.
type FiveByTwo = [[f64; 2]; 5];

/// The 5x2cv t-test (Dietterich, Neural Computation 10, 1998): the first difference over the root
/// of the mean of the five variances; 5 degrees of freedom.
///
/// # Errors
/// `InvalidArgument` when a number is not finite; `FailedPrecondition` when no repetition varies.
pub fn cv_5x2_t(differences: &FiveByTwo) -> Result<TestResult> {
    let spread = variances(differences)?;
    let [[first, _], ..] = differences;
    let statistic = first / (spread / 5.0).sqrt();
    Ok(TestResult { statistic, p_value: student_two_sided(statistic, 5.0) })
}

/// The 5x2cv F-test (Alpaydin, Neural Computation 11, 1999), which uses all ten differences:
/// their sum of squares over twice the sum of the variances; 10 and 5 degrees of freedom.
///
/// # Errors
/// As [`cv_5x2_t`].
pub fn cv_5x2_f(differences: &FiveByTwo) -> Result<TestResult> {
    let spread = variances(differences)?;
    let squares: f64 = differences.iter().flatten().map(|d| d * d).sum();
    let statistic = squares / (2.0 * spread);
    Ok(TestResult { statistic, p_value: fisher_tail(statistic, 10.0, 5.0) })
}

/// The sum over repetitions of the squared deviations of both differences from their mean.
fn variances(differences: &FiveByTwo) -> Result<f64> {
    let name = "the 5x2cv test";
    if !differences.iter().flatten().all(|d| d.is_finite()) {
        return Err(Error::invalid_argument(format!("{name} needs finite differences")));
    }
    let sum: f64 = differences.iter().map(|[a, b]| (a - b).powi(2) / 2.0).sum();
    if sum > 0.0 { Ok(sum) } else { Err(no_spread(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_correction_only_widens() {
        let differences = [0.1, 0.2, 0.05, 0.15, -0.02];
        let small = corrected_resampled_t(&differences, 1e-9).unwrap();
        let large = corrected_resampled_t(&differences, 0.25).unwrap();
        assert!(large.p_value > small.p_value && large.statistic < small.statistic);
        let plain = crate::stats::paired_t(&differences, &[0.0; 5]).unwrap();
        assert!((small.p_value - plain.p_value).abs() < 1e-8);
    }

    #[test]
    fn what_cannot_be_tested_is_refused() {
        assert!(corrected_resampled_t(&[0.1], 0.1).is_err() && corrected_resampled_t(&[0.1, 0.1], 0.1).is_err());
        assert!(corrected_resampled_t(&[0.1, 0.2], 0.0).is_err());
        assert!(cv_5x2_t(&[[0.1, 0.1]; 5]).is_err() && cv_5x2_f(&[[f64::NAN, 0.1]; 5]).is_err());
    }
}
