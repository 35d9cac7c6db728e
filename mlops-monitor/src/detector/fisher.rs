//! Fisher's exact test of a column with two levels.
//!
//! Statistic: the sample odds ratio. Effect: Cramer's V, which is |phi| here. A column with more than two levels on both
//! sides together is degenerate, never cut down to two.

use super::{DriftDetector, DriftTest, Thresholds, levels::test_two_levels};
use crate::{
    sample::{ColumnKind, ColumnSample},
    stats::{Tail, fisher, float, g_test},
};

/// Rows up to which tables are counted out: some hundredths of a second at worst.
pub const FISHER_EXACT_MAX: u64 = 1_000_000;

/// Fisher's exact test, two-sided by probability as in R and scipy.
///
/// The odds are those of the last level by name (`true`, `1`, `yes`), current over reference: above one when the current
/// window has more of it, infinite when only the current window has it or only the reference has the other level. Beyond
/// [`FISHER_EXACT_MAX`] rows the p-value is that of the G test, which has the same exponent.
///
/// ```
/// use mlops_monitor::{CategoricalSample, ColumnSample, DriftDetector, Fisher, Verdict};
///
/// let column = |no, yes| ColumnSample::categorical(CategoricalSample::new([("no", no), ("yes", yes)]));
/// let test = Fisher::default().test(&column(180, 20), &column(120, 60));
/// assert_eq!(test.verdict, Verdict::Drift);
/// assert!((test.statistic - 4.5).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Fisher {
    /// When it counts as drift; the effect is Cramer's V.
    pub thresholds: Thresholds,
}

impl Default for Fisher {
    fn default() -> Self {
        Self { thresholds: Thresholds::effect(crate::settings::CRAMERS_V_MIN) }
    }
}

impl DriftDetector for Fisher {
    fn name(&self) -> &'static str {
        "fisher"
    }

    fn applies_to(&self, kind: ColumnKind) -> bool {
        kind == ColumnKind::Categorical
    }

    fn test(&self, reference: &ColumnSample, current: &ColumnSample) -> DriftTest {
        test_two_levels((self.name(), self.thresholds), (reference, current), |left, right| {
            let odds = float(right.0) * float(left.1) / (float(right.1) * float(left.0));
            tail(left, right).map(|tail| (odds, tail))
        })
    }
}

fn tail(left: (u64, u64), right: (u64, u64)) -> Option<Tail> {
    let ((a, b), (c, d)) = (left, right);
    let rows = [a, b, c, d].into_iter().fold(0, u64::saturating_add);
    if rows > FISHER_EXACT_MAX {
        return g_test(&[a, b], &[c, d]).map(|test| test.tail);
    }
    (a + b > 0 && c + d > 0).then(|| fisher(left, right))
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};
    use crate::sample::CategoricalSample;

    fn column(counts: &[(&str, u64)]) -> ColumnSample {
        ColumnSample::categorical(CategoricalSample::new(counts.iter().copied()))
    }

    #[test]
    fn p_and_odds_match_scipy() {
        // scipy 1.17.1: fisher_exact([[60, 120], [20, 180]]).
        let test = Fisher::default().test(&column(&[("0", 180), ("1", 20)]), &column(&[("0", 120), ("1", 60)]));
        assert!((test.statistic - 4.5).abs() < 1e-12, "{test:?}");
        assert!((test.p() / 3.153_688_270_451_279e-8 - 1.0).abs() < 1e-9, "{test:?}");
        assert!((test.effect / 0.285_773_803_324_704_15 - 1.0).abs() < 1e-12, "{test:?}");
    }

    #[test]
    fn one_sided_levels_are_two_levels() {
        let test = Fisher::default().test(&column(&[("a", 200)]), &column(&[("a", 100), ("b", 100)]));
        assert_eq!((test.verdict, test.statistic), (Verdict::Drift, f64::INFINITY));
        let swapped = Fisher::default().test(&column(&[("a", 200)]), &column(&[("b", 200)]));
        assert_eq!((swapped.verdict, swapped.effect), (Verdict::Drift, 1.0));
        assert!(swapped.log10_p() < -100.0);
    }

    #[test]
    fn other_than_two_levels_is_degenerate() {
        let two = column(&[("a", 300), ("b", 300)]);
        for other in [column(&[("a", 200), ("c", 200)]), column(&[("a", 100), ("b", 100), ("d", 100)])] {
            let test = Fisher::default().test(&two, &other);
            assert_eq!((test.verdict, test.tail), (Verdict::Degenerate, None));
        }
        let one = column(&[("a", 300)]);
        assert_eq!(Fisher::default().test(&one, &one).verdict, Verdict::Degenerate);
        assert!(matches!(Fisher::default().test(&two, &column(&[])).verdict, Verdict::Insufficient { .. }));
    }

    #[test]
    fn beyond_the_limit_the_tail_goes_on() {
        let at = |scale: u64| {
            let (left, right) =
                (column(&[("0", 500 * scale), ("1", 500 * scale)]), column(&[("0", 400 * scale), ("1", 600 * scale)]));
            Fisher::default().test(&left, &right).tail.unwrap().ln() / scale as f64
        };
        // 998,000 and 1,002,000 rows: ln p per row is the same.
        assert!((at(499) / at(501) - 1.0).abs() < 1e-3, "{} {}", at(499), at(501));
    }
}
