//! The two-sample Kolmogorov-Smirnov test: any change of a distribution of numbers.
//!
//! Effect and statistic are the same: D, the largest distance between the two empirical
//! distribution functions. Not for categories. Where many values repeat, its p-value is the exact
//! one given the ties, up to a million pairs of rows; beyond, it is conservative. Where a side is known by a sketch,
//! D may be off by the rank errors of both; the p-value is that of the smallest D possible.

use super::{DriftDetector, DriftTest, Thresholds, Verdict};
use crate::{
    sample::{ColumnKind, ColumnSample, NumericSample, Values},
    stats::{KsMode, KsStatistic, Tail, detectable_d, ks_p_value, ks_test, weighted_ks_statistic},
};

/// Kolmogorov-Smirnov test with a choice of null law.
///
/// ```
/// use mlops_monitor::{ColumnSample, DriftDetector, KolmogorovSmirnov, NumericSample, Verdict};
///
/// let column = |shift: f64| {
///     ColumnSample::numeric(NumericSample::new((0..200).map(|i| f64::from(i) / 200.0 + shift).collect()))
/// };
/// let test = KolmogorovSmirnov::default().test(&column(0.0), &column(0.5));
/// assert_eq!(test.verdict, Verdict::Drift);
/// assert!((test.effect - 0.5).abs() < 0.01 && test.p() < 1e-9);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct KolmogorovSmirnov {
    /// Law of the p-value.
    pub mode: KsMode,
    /// When it counts as drift; the effect is D.
    pub thresholds: Thresholds,
}

impl Default for KolmogorovSmirnov {
    fn default() -> Self {
        Self { mode: KsMode::Auto, thresholds: Thresholds::effect(crate::settings::KS_D_MIN) }
    }
}

impl DriftDetector for KolmogorovSmirnov {
    fn name(&self) -> &'static str {
        "ks"
    }

    fn applies_to(&self, kind: ColumnKind) -> bool {
        kind == ColumnKind::Numeric
    }

    fn test(&self, reference: &ColumnSample, current: &ColumnSample) -> DriftTest {
        let (n_ref, n_cur) = (reference.len(), current.len());
        let blank = DriftTest::degenerate(self.name(), (n_ref, n_cur), self.thresholds);
        let (Values::Numeric(left), Values::Numeric(right)) = (reference.values(), current.values()) else {
            return blank;
        };
        let error = left.error().rank + right.error().rank;
        let Some((ks, tail)) = test(left, right, self.mode) else { return blank };
        let pooled = |pick: fn(&[f64]) -> Option<&f64>| (pick(left.values()), pick(right.values()));
        let constant = ks.h == 0 && pooled(<[f64]>::first) == pooled(<[f64]>::last);
        let verdict = if constant { Verdict::Degenerate } else { Verdict::Ok };
        let mde = detectable_d(n_ref, n_cur);
        let (error_low, error_high) = (error.min(ks.d), error.min(1.0 - ks.d));
        DriftTest { statistic: ks.d, tail: Some(tail), effect: ks.d, error_low, error_high, mde, verdict, ..blank }
            .judge(tail, self.thresholds.alpha)
    }
}

/// The statistic and the p-value of the smallest one that sketches allow.
fn test(left: &NumericSample, right: &NumericSample, mode: KsMode) -> Option<(KsStatistic, Tail)> {
    if left.weights().is_none() && right.weights().is_none() {
        return ks_test(left.values(), right.values(), mode);
    }
    let ks = weighted_ks_statistic(&left.steps(), &right.steps())?;
    let tail = ks_p_value(&ks.less(left.error().rank + right.error().rank), mode)?;
    Some((ks, tail))
}
