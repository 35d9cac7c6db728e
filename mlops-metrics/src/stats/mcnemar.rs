//! Rows that exactly one of two classifiers gets right.

use serde::{Deserialize, Serialize};

use super::TestResult;
use crate::distribution::{binomial_half, chi_squared_tail};

/// The forms of McNemar's test (Psychometrika 12, 1947).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct McNemar {
    /// The exact conditional test: twice the smaller binomial tail, at most one. Never too small.
    pub exact_p: f64,
    /// Chi-squared with Edwards' continuity correction, `(|b - c| - 1)^2 / (b + c)`; for 25 rows
    /// or more.
    pub corrected: TestResult,
    /// The mid-p form, see [`mcnemar_mid_p`]: the one to take by default.
    pub mid_p: f64,
}

/// McNemar's test from the numbers of rows that only the first and only the second gets right.
/// Without such rows all p-values are one.
///
/// ```
/// let test = mlops_metrics::stats::mcnemar(1, 9);
/// // statsmodels: mcnemar([[0, 1], [9, 0]], exact=True)
/// assert!((test.exact_p - 0.021_484_375).abs() < 1e-12);
/// ```
#[must_use]
pub fn mcnemar(only_first: u64, only_second: u64) -> McNemar {
    let n = only_first + only_second;
    if n == 0 {
        return McNemar { exact_p: 1.0, corrected: TestResult { statistic: 0.0, p_value: 1.0 }, mid_p: 1.0 };
    }
    let (below, at) = binomial_half(only_first.min(only_second), n);
    let gap = (only_first.abs_diff(only_second) as f64 - 1.0).max(0.0);
    let statistic = gap * gap / n as f64;
    McNemar {
        exact_p: (2.0 * (below + at)).min(1.0),
        corrected: TestResult { statistic, p_value: chi_squared_tail(statistic, 1.0) },
        mid_p: mcnemar_mid_p(only_first, only_second),
    }
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
    let (below, at) = binomial_half(only_first.min(only_second), only_first + only_second);
    // Twice the probability of fewer, plus once that of exactly as many.
    (2.0 * below + at).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rows_to_decide_by_prove_nothing() {
        let test = mcnemar(0, 0);
        assert_eq!((test.exact_p, test.corrected.p_value, test.mid_p), (1.0, 1.0, 1.0));
        let even = mcnemar(5, 5);
        assert_eq!((even.exact_p, even.corrected.statistic), (1.0, 0.0));
        assert_eq!(mcnemar(3, 8), mcnemar(8, 3));
    }
}
