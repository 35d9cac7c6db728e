//! Two models on the same rows, folds or data sets, by the differences of their losses.

use mlops_core::{Error, Result};

use super::{TestResult, mean, no_spread, paired_differences, variance};
use crate::{
    bootstrap::RESAMPLES_MAX,
    distribution::{binomial_half, student_two_sided},
    random::draw_below,
};

/// Student's t-test of paired differences, first minus second; the statistic is t.
///
/// Rows must be independent of each other: for folds of a cross-validation, which share training
/// rows, take [`corrected_resampled_t`](super::corrected_resampled_t).
///
/// ```
/// let test = mlops_metrics::stats::paired_t(&[1.0, 2.0, 4.0], &[0.0, 2.0, 2.0])?;
/// // scipy.stats.ttest_rel
/// assert!((test.statistic - 1.732_050_807_568_877).abs() < 1e-12 && (test.p_value - 0.225_403_330_758_516_6).abs() < 1e-12);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when lengths differ or a number is not finite; `FailedPrecondition` for fewer
/// than two pairs or differences that are all the same.
pub fn paired_t(first: &[f64], second: &[f64]) -> Result<TestResult> {
    let differences = paired_differences("the paired t-test", first, second)?;
    let n = differences.len() as f64;
    let spread = variance(&differences);
    if spread <= 0.0 {
        return Err(no_spread("the paired t-test"));
    }
    let statistic = mean(&differences) / (spread / n).sqrt();
    Ok(TestResult { statistic, p_value: student_two_sided(statistic, n - 1.0) })
}

/// Cohen's d of paired differences: their mean over their standard deviation.
///
/// # Errors
/// As [`paired_t`].
pub fn cohen_d_paired(first: &[f64], second: &[f64]) -> Result<f64> {
    let differences = paired_differences("Cohen's d", first, second)?;
    let spread = variance(&differences);
    if spread <= 0.0 {
        return Err(no_spread("Cohen's d"));
    }
    Ok(mean(&differences) / spread.sqrt())
}

/// The sign test: how many differences are positive, among those that are not zero, against a fair
/// coin. The statistic is the number of positive ones. One when no difference is left.
///
/// # Errors
/// `InvalidArgument` when lengths differ or a number is not finite; `FailedPrecondition` for fewer
/// than two pairs.
pub fn sign_test(first: &[f64], second: &[f64]) -> Result<TestResult> {
    let differences = paired_differences("the sign test", first, second)?;
    let positive = differences.iter().filter(|d| **d > 0.0).count() as u64;
    let n = differences.iter().filter(|d| **d != 0.0).count() as u64;
    let (below, at) = binomial_half(positive.min(n - positive), n);
    Ok(TestResult { statistic: positive as f64, p_value: (2.0 * (below + at)).min(1.0) })
}

/// The sign-flip permutation test of the mean difference: how often a mean is at least as far from
/// zero when each difference takes its sign by a coin. Exact up to 20 pairs, else over `resamples`
/// draws of a seed, with the sample itself counted in (Phipson and Smyth, SAGMB 9, 2010), so that
/// the p-value is never zero. The statistic is the mean difference.
///
/// # Errors
/// As [`sign_test`]; `InvalidArgument` for resamples not from 100 to [`RESAMPLES_MAX`].
pub fn permutation_test(first: &[f64], second: &[f64], resamples: u32, seed: u64) -> Result<TestResult> {
    if !(100..=RESAMPLES_MAX).contains(&resamples) {
        return Err(Error::invalid_argument(format!(
            "the permutation test draws 100 to {RESAMPLES_MAX} resamples, found {resamples}"
        )));
    }
    let differences = paired_differences("the permutation test", first, second)?;
    let total: f64 = differences.iter().sum();
    // A sum in another order may differ in its last digits.
    let reach = total.abs() * (1.0 - 1e-12) - f64::MIN_POSITIVE;
    let p_value = if differences.len() <= EXACT_MAX {
        exact(&differences, reach)
    } else {
        drawn(&differences, reach, resamples, seed)
    };
    Ok(TestResult { statistic: total / differences.len() as f64, p_value })
}

/// Pairs up to which all sign vectors are gone through.
const EXACT_MAX: usize = 20;

fn exact(differences: &[f64], reach: f64) -> f64 {
    let all = 1_u64 << differences.len();
    let sum = |signs: u64| -> f64 {
        differences.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 0 { *d } else { -d }).sum()
    };
    let extreme = (0..all).filter(|&signs| sum(signs).abs() >= reach).count();
    extreme as f64 / all as f64
}

fn drawn(differences: &[f64], reach: f64, resamples: u32, seed: u64) -> f64 {
    let words = differences.len().div_ceil(64) as u64;
    let extreme = (0..u64::from(resamples)).filter(|resample| {
        let mut sum = 0.0;
        for (word, part) in (0..words).zip(differences.chunks(64)) {
            let signs = draw_below(seed, resample * words + word, u64::MAX);
            sum += part.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 0 { *d } else { -d }).sum::<f64>();
        }
        sum.abs() >= reach
    });
    (extreme.count() as f64 + 1.0) / (f64::from(resamples) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swapping_sides_changes_the_sign_only() {
        let (a, b) = ([1.0, 4.0, 2.5, 0.3, 7.0], [0.5, 4.5, 1.0, 0.1, 5.0]);
        let (forth, back) = (paired_t(&a, &b).unwrap(), paired_t(&b, &a).unwrap());
        assert_eq!((forth.statistic, forth.p_value), (-back.statistic, back.p_value));
        assert_eq!(sign_test(&a, &b).unwrap().p_value, sign_test(&b, &a).unwrap().p_value);
        assert_eq!(
            permutation_test(&a, &b, 100, 1).unwrap().p_value,
            permutation_test(&b, &a, 100, 1).unwrap().p_value
        );
    }

    #[test]
    fn exact_permutations_by_hand() {
        // Differences 1, 2, 3: only +++ and --- reach 6 of eight sign vectors.
        let p = permutation_test(&[1.0, 2.0, 3.0], &[0.0; 3], 100, 0).unwrap().p_value;
        assert_eq!(p, 0.25);
        let none = permutation_test(&[1.0; 3], &[1.0; 3], 100, 0).unwrap();
        assert_eq!((none.statistic, none.p_value), (0.0, 1.0));
    }

    #[test]
    fn what_cannot_be_tested_is_refused() {
        assert!(paired_t(&[1.0], &[1.0, 2.0]).is_err() && paired_t(&[1.0], &[2.0]).is_err());
        assert!(paired_t(&[1.0, 2.0], &[0.0, 1.0]).is_err() && cohen_d_paired(&[f64::NAN, 0.0], &[0.0; 2]).is_err());
        assert!(permutation_test(&[1.0, 2.0], &[0.0, 1.0], 5, 0).is_err());
        assert_eq!(sign_test(&[1.0, 1.0], &[1.0, 1.0]).unwrap().p_value, 1.0);
    }
}
