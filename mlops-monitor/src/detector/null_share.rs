//! The share of rows without a usable value: nulls, NaN and infinities.
//!
//! Effect: the absolute change of the share. A pooled two-proportion z test on all rows, so it
//! works for every kind of column, also where no value can be compared.

use super::{DriftDetector, DriftTest, Thresholds, Verdict};
use crate::{
    sample::{ColumnKind, ColumnSample},
    stats::{detectable_noncentrality, float, two_proportions},
};

/// Test of the share of missing values.
///
/// ```
/// use mlops_monitor::{ColumnSample, DriftDetector, NullShare, Verdict};
///
/// let test = NullShare::default().test(&ColumnSample::opaque(1000), &ColumnSample::opaque(900).with_nulls(100));
/// assert_eq!(test.verdict, Verdict::Drift);
/// assert!((test.effect - 0.1).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct NullShare {
    /// When it counts as drift; the effect is the change of the share.
    pub thresholds: Thresholds,
}

impl Default for NullShare {
    fn default() -> Self {
        Self { thresholds: Thresholds::effect(crate::settings::NULL_SHARE_MIN) }
    }
}

impl DriftDetector for NullShare {
    fn name(&self) -> &'static str {
        "null_share"
    }

    fn applies_to(&self, _kind: ColumnKind) -> bool {
        true
    }

    fn test(&self, reference: &ColumnSample, current: &ColumnSample) -> DriftTest {
        let (n, m) = (reference.rows(), current.rows());
        let (a, b) = (reference.missing(), current.missing());
        let blank = DriftTest::degenerate(self.name(), (n, m), self.thresholds);
        let Some((statistic, tail)) = two_proportions((a, n), (b, m)) else { return blank };
        let effect = (float(a) / float(n) - float(b) / float(m)).abs();
        let pooled = (float(a) + float(b)) / (float(n) + float(m));
        let variance = pooled * (1.0 - pooled) * (1.0 / float(n) + 1.0 / float(m));
        let mde = (detectable_noncentrality(1) * variance).sqrt().min(1.0);
        let constant = a + b == 0 || (a == n && b == m);
        let verdict = if constant { Verdict::Degenerate } else { Verdict::Ok };
        DriftTest { statistic, tail: Some(tail), effect, mde, verdict, ..blank }.judge(tail, self.thresholds.alpha)
    }
}
