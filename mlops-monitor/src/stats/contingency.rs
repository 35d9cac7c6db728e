//! Chi-squared test of homogeneity for two samples of counted levels, and its effect size.
//!
//! Invariant: deviations from expectation are formed in integers, so counts of billions lose no
//! digit. It is not a goodness-of-fit test: the reference is a sample too, not the true law.

use super::{Tail, chi_squared_tail, float, total_of};

/// Whether the statistic of a 2x2 table is corrected for continuity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Continuity {
    /// Pearson's statistic as it is.
    #[default]
    None,
    /// Yates' correction: every deviation shrinks by min(0.5, itself). Only with one degree of
    /// freedom; other tables are left alone.
    Yates,
}

/// Outcome of [`chi_squared`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChiSquaredResult {
    /// Pearson's X^2, corrected when asked for.
    pub statistic: f64,
    /// Levels that occur, minus one.
    pub degrees_of_freedom: u64,
    /// Upper tail of the chi-squared law.
    pub tail: Tail,
    /// sqrt(X^2 / N) of the uncorrected statistic: Cramer's V of a table with two rows, 0 to 1.
    pub cramers_v: f64,
    /// Smallest expected count; below 5 the law is only approximate (Cochran, Biometrics 10, 1954).
    pub expected_min: f64,
}

/// Tests whether both rows of counts come from one distribution; `None` when a row is all zero.
///
/// X^2 = sum (O - E)^2 / E over the 2 x k table. For level j with counts a, b and totals n, m,
/// both deviations equal (a m - b n) / N. Levels that occur on neither side are ignored; a single
/// level gives X^2 = 0 and p = 1.
///
/// ```
/// use mlops_monitor::stats::{Continuity, chi_squared};
///
/// let test = chi_squared(&[50, 50, 0], &[40, 40, 20], Continuity::None).expect("rows have counts");
/// assert!((test.statistic - 200.0 / 9.0).abs() < 1e-12);
/// assert_eq!(test.degrees_of_freedom, 2);
/// ```
#[must_use]
pub fn chi_squared(reference: &[u64], current: &[u64], continuity: Continuity) -> Option<ChiSquaredResult> {
    let (n, m) = (total_of(reference), total_of(current));
    if n == 0 || m == 0 {
        return None;
    }
    let total = float(n) + float(m);
    let levels = reference.iter().zip(current).filter(|(a, b)| **a > 0 || **b > 0);
    let degrees_of_freedom = super::count_of(levels.clone().count()).saturating_sub(1);
    let yates = continuity == Continuity::Yates && degrees_of_freedom == 1;
    let (mut plain, mut statistic, mut expected_min) = (0.0, 0.0, f64::INFINITY);
    for (&a, &b) in levels {
        let deviation = cross_difference(a, b, n, m) / total;
        let column = float(a) + float(b);
        // 1/E_ref + 1/E_cur
        let weight = total / column * (1.0 / float(n) + 1.0 / float(m));
        plain += deviation * deviation * weight;
        let shrunk = if yates { deviation - deviation.min(0.5) } else { deviation };
        statistic += shrunk * shrunk * weight;
        expected_min = expected_min.min(column * float(n.min(m)) / total);
    }
    let tail = chi_squared_tail(statistic, degrees_of_freedom);
    let cramers_v = (plain / total).sqrt().min(1.0);
    Some(ChiSquaredResult { statistic, degrees_of_freedom, tail, cramers_v, expected_min })
}

/// |a m - b n| without rounding before the end.
#[allow(clippy::cast_precision_loss, reason = "the exact integer is rounded once")]
pub(super) fn cross_difference(a: u64, b: u64, n: u64, m: u64) -> f64 {
    (u128::from(a) * u128::from(m)).abs_diff(u128::from(b) * u128::from(n)) as f64
}

/// Pooled two-proportion z test of `a` among `n` (reference) against `b` among `m` (current): z,
/// positive when the current share is the higher one, and the two-sided tail; `None` when a side is
/// empty.
///
/// z = (b/m - a/n) / sqrt(s (1-s) (1/n + 1/m)) with s = (a+b)/(n+m). Equal to the signed root of
/// the uncorrected 2x2 chi-squared statistic, which is how it is computed. When all or none have
/// the property, z = 0 and p = 1.
#[must_use]
pub fn two_proportions((a, n): (u64, u64), (b, m): (u64, u64)) -> Option<(f64, Tail)> {
    let (not_a, not_b) = (n.checked_sub(a)?, m.checked_sub(b)?);
    let test = chi_squared(&[a, not_a], &[b, not_b], Continuity::None)?;
    let lower = u128::from(b) * u128::from(n) < u128::from(a) * u128::from(m);
    let z = test.statistic.sqrt();
    Some((if lower { -z } else { z }, test.tail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_level_is_no_evidence() {
        let test = chi_squared(&[30, 0], &[50, 0], Continuity::Yates).unwrap();
        assert_eq!((test.statistic, test.degrees_of_freedom, test.tail), (0.0, 0, Tail::ONE));
        assert!(chi_squared(&[3, 2], &[0, 0], Continuity::None).is_none());
    }

    #[test]
    fn z_is_positive_when_the_current_share_is_higher() {
        let (z, tail) = two_proportions((3, 4), (1, 4)).unwrap();
        assert!((z + 2.0_f64.sqrt()).abs() < 1e-15, "{z}");
        assert_eq!(two_proportions((1, 4), (3, 4)).unwrap(), (-z, tail));
    }

    #[test]
    fn billions_keep_their_digits() {
        let (reference, current) = ([1_000_000_000, 1_000_000], [1_000_000_000, 1_010_000]);
        let test = chi_squared(&reference, &current, Continuity::None).unwrap();
        assert!((test.statistic / 49.701_293_981_885_09 - 1.0).abs() < 1e-12, "{}", test.statistic);
    }

    #[test]
    fn proportions_match_the_textbook() {
        // 700 of 1000 against 300 of 1000: X^2 = 320.
        let (z, tail) = two_proportions((700, 1000), (300, 1000)).unwrap();
        assert!((z * z - 320.0).abs() < 1e-9);
        assert!((tail.log10() + 70.839_098_759_466_88).abs() < 1e-9);
        assert_eq!(two_proportions((0, 10), (0, 20)).unwrap(), (0.0, Tail::ONE));
        assert!(two_proportions((3, 2), (0, 20)).is_none());
    }
}
