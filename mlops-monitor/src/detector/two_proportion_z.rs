//! The two-proportion z test of a column with two levels, with the direction of the change in its sign.
//!
//! Effect: Cramer's V, which is |z| / sqrt(rows) here. A column with more than two levels on both sides together is
//! degenerate, never cut down to two.

use super::{DriftDetector, DriftTest, Thresholds, levels::test_two_levels};
use crate::{
    sample::{ColumnKind, ColumnSample},
    stats::two_proportions,
};

/// Pooled two-proportion z test, two-sided.
///
/// z is positive when the current window has a higher share of the last level by name (`true`, `1`, `yes`).
///
/// ```
/// use mlops_monitor::{CategoricalSample, ColumnSample, DriftDetector, TwoProportionZ, Verdict};
///
/// let column = |no, yes| ColumnSample::categorical(CategoricalSample::new([("no", no), ("yes", yes)]));
/// let test = TwoProportionZ::default().test(&column(300, 700), &column(700, 300));
/// assert_eq!(test.verdict, Verdict::Drift);
/// assert!((test.statistic + 320_f64.sqrt()).abs() < 1e-9, "fewer of yes: below zero");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TwoProportionZ {
    /// When it counts as drift; the effect is Cramer's V.
    pub thresholds: Thresholds,
}

impl Default for TwoProportionZ {
    fn default() -> Self {
        Self { thresholds: Thresholds::effect(crate::settings::CRAMERS_V_MIN) }
    }
}

impl DriftDetector for TwoProportionZ {
    fn name(&self) -> &'static str {
        "two_proportion_z"
    }

    fn applies_to(&self, kind: ColumnKind) -> bool {
        kind == ColumnKind::Categorical
    }

    fn test(&self, reference: &ColumnSample, current: &ColumnSample) -> DriftTest {
        test_two_levels((self.name(), self.thresholds), (reference, current), |left, right| {
            two_proportions((left.0, left.0.saturating_add(left.1)), (right.0, right.0.saturating_add(right.1)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};
    use crate::sample::CategoricalSample;

    fn column(counts: &[(&str, u64)]) -> ColumnSample {
        ColumnSample::categorical(CategoricalSample::new(counts.iter().copied()))
    }

    #[test]
    fn z_squared_is_pearsons_statistic() {
        let (left, right) = (column(&[("0", 180), ("1", 20)]), column(&[("0", 120), ("1", 60)]));
        let (z, chi) =
            (TwoProportionZ::default().test(&left, &right), super::super::ChiSquared::default().test(&left, &right));
        assert!(z.statistic > 0.0 && (z.statistic.powi(2) / chi.statistic - 1.0).abs() < 1e-12);
        assert_eq!((z.tail, z.effect, z.mde, z.verdict), (chi.tail, chi.effect, chi.mde, chi.verdict));
    }

    #[test]
    fn what_is_not_two_levels_is_degenerate() {
        let three = column(&[("a", 100), ("b", 100), ("c", 100)]);
        assert_eq!(TwoProportionZ::default().test(&three, &three).verdict, Verdict::Degenerate);
        let one = column(&[("a", 300)]);
        assert_eq!(TwoProportionZ::default().test(&one, &one).verdict, Verdict::Degenerate);
        let only_here = TwoProportionZ::default().test(&one, &column(&[("b", 300)]));
        assert_eq!((only_here.verdict, only_here.effect), (Verdict::Drift, 1.0));
    }
}
