//! The population stability index as a test: credit risk's measure, with its chance part removed.
//!
//! Effect: PSI minus its mean under no drift, (bins - 1)(1/n + 1/m), not below zero. The p-value
//! is that of PSI / (1/n + 1/m) against chi-squared with bins - 1 degrees of freedom. Where a side is known by a sketch,
//! both ends that its counts allow are found, and the p-value is that of the lower one.

use super::{
    DriftDetector, DriftTest, Thresholds, Verdict,
    binned::{Binning, counted},
    sketched::psi_bounds,
};
use crate::{
    sample::{ColumnKind, ColumnSample},
    stats::{ZeroRule, chi_squared_tail, detectable_noncentrality, float, psi, total_of},
};

/// PSI on numbers and levels.
///
/// Rows without a usable value are a bin of their own when either side has any. Bins that are
/// empty on both sides are left out. Levels are compared as by [`super::ChiSquared`], with those
/// that the reference does not know pooled into one bin.
///
/// ```
/// use mlops_monitor::{CategoricalSample, ColumnSample, DriftDetector, Psi, Verdict};
///
/// let column = |web, app| ColumnSample::categorical(CategoricalSample::new([("web", web), ("app", app)]));
/// let test = Psi::default().test(&column(500, 500), &column(505, 495));
/// assert_eq!((test.verdict, test.effect), (Verdict::Ok, 0.0));
/// ```
#[derive(Debug, Clone)]
pub struct Psi {
    /// Bins of numeric columns.
    pub binning: Binning,
    /// What empty bins count as.
    pub zero_rule: ZeroRule,
    /// When it counts as drift; the effect is PSI without its chance part.
    pub thresholds: Thresholds,
}

impl Default for Psi {
    fn default() -> Self {
        Self {
            binning: Binning::default(),
            zero_rule: ZeroRule::default(),
            thresholds: Thresholds::effect(crate::settings::PSI_MIN),
        }
    }
}

impl DriftDetector for Psi {
    fn name(&self) -> &'static str {
        "psi"
    }

    fn applies_to(&self, kind: ColumnKind) -> bool {
        kind != ColumnKind::Opaque
    }

    fn test(&self, reference: &ColumnSample, current: &ColumnSample) -> DriftTest {
        let (n_ref, n_cur) = (reference.len(), current.len());
        let blank = DriftTest::degenerate(self.name(), (n_ref, n_cur), self.thresholds);
        let Some(counted) = counted(&self.binning, reference, current) else { return blank };
        let (left, right) = (&counted.left, &counted.right);
        let Some(statistic) = psi(left, right, self.zero_rule) else { return blank };
        let bounds = if counted.errors.is_empty() { None } else { psi_bounds(&counted, self.zero_rule) };
        let (low, high) = bounds.unwrap_or((statistic, statistic));
        let unit = 1.0 / float(total_of(left)) + 1.0 / float(total_of(right));
        let degrees = crate::stats::count_of(left.len()).saturating_sub(1);
        let tail = chi_squared_tail(low / unit, degrees);
        let without_chance = |psi: f64| (psi - float(degrees) * unit).max(0.0);
        let effect = without_chance(statistic);
        let (error_low, error_high) = (effect - without_chance(low), without_chance(high) - effect);
        let mde = detectable_noncentrality(degrees) * unit;
        let verdict = if degrees == 0 { Verdict::Degenerate } else { Verdict::Ok };
        DriftTest { statistic, tail: Some(tail), effect, error_low, error_high, mde, verdict, ..blank }
            .judge(tail, self.thresholds.alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::NumericSample;

    fn numbers(values: impl Iterator<Item = f64>) -> ColumnSample {
        ColumnSample::numeric(NumericSample::new(values.collect()))
    }

    #[test]
    fn one_outlier_hides_nothing() {
        let reference = numbers((0..5000).map(|i| f64::from(i) / 5000.0));
        let moved = numbers((0..5000).map(|i| if i == 0 { 1e9 } else { f64::from(i) / 5000.0 + 3.0 }));
        let psi = Psi { zero_rule: ZeroRule::Floor(1e-4), ..Psi::default() };
        assert_eq!(psi.test(&reference, &moved).verdict, Verdict::Drift);
        // Equal widths over the joint range see one bin: this is why they are not the default.
        let sturges = Psi { binning: Binning::Sturges, ..psi.clone() };
        assert!(sturges.test(&reference, &moved).statistic < 0.01);
    }

    #[test]
    fn missing_rows_are_a_bin() {
        let full = numbers((0..1000).map(f64::from));
        let holes = numbers((0..1000).filter(|i| i % 2 == 0).map(f64::from)).with_nulls(500);
        assert_eq!(Psi::default().test(&full, &holes).verdict, Verdict::Drift);
        assert_eq!(Psi::default().test(&holes, &holes).verdict, Verdict::Ok);
    }

    #[test]
    fn small_windows_are_not_blamed_for_chance() {
        let data = mlops_core::testing::SplitMix64::new(3);
        let (left, right) = (numbers(data.bell(100).into_iter()), numbers(data.bell(200).into_iter().skip(100)));
        let test = Psi::default().test(&left, &right);
        assert!(test.effect < test.statistic && test.p() > 0.001, "{test:?}");
    }
}
