//! Distances between histograms, for those who know a threshold in their unit.
//!
//! The p-value is that of the chi-squared test on the same bins: a distance alone says nothing about chance.

use serde::{Deserialize, Serialize};

use super::{Binning, DriftDetector, DriftTest, Thresholds, Verdict, binned::counts};
use crate::{
    sample::{ColumnKind, ColumnSample},
    stats::{
        Continuity, ZeroRule, chi_squared, detectable_noncentrality, float, hellinger, jensen_shannon,
        kullback_leibler, l_infinity, total_of, total_variation,
    },
};

/// Which distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// Jensen and Shannon's, in natural logarithms, 0 to 0.833.
    JensenShannon,
    /// Hellinger's, 0 to 1.
    Hellinger,
    /// Kullback and Leibler's divergence of the current from the reference shares, with Laplace's rule, 0 and more.
    KullbackLeibler,
    /// Total variation, 0 to 1: the share of rows that would have to change bins.
    TotalVariation,
    /// The largest change of one share, 0 to 1.
    LInfinity,
}

/// A distance between the histograms of a column, numeric or categorical.
///
/// ```
/// use mlops_monitor::{CategoricalSample, ColumnSample, Distance, DriftDetector, HistogramDistance, Verdict};
///
/// let column = |web, app| ColumnSample::categorical(CategoricalSample::new([("web", web), ("app", app)]));
/// let moved = HistogramDistance::new(Distance::TotalVariation).test(&column(500, 500), &column(750, 250));
/// assert_eq!(moved.verdict, Verdict::Drift);
/// assert!((moved.effect - 0.25).abs() < 1e-12);
/// ```
#[derive(Debug, Clone)]
pub struct HistogramDistance {
    /// Which distance.
    pub distance: Distance,
    /// Bins of numeric columns.
    pub binning: Binning,
    /// What Kullback and Leibler's divergence makes of empty bins; Laplace's rule by default.
    pub zero_rule: ZeroRule,
    /// When it counts as drift; the effect is the distance.
    pub thresholds: Thresholds,
}

impl HistogramDistance {
    /// Deciles of the reference, and thresholds at what a PSI of 0.2 comes to in this distance.
    #[must_use]
    pub fn new(distance: Distance) -> Self {
        let thresholds = Thresholds::effect(distance.of_psi(crate::settings::PSI_MIN));
        Self { distance, binning: Binning::default(), zero_rule: ZeroRule::default(), thresholds }
    }
}

impl Distance {
    /// What a small PSI comes to: divergences are proportional to it, distances to its root; for the last two it is the
    /// most that is possible.
    fn of_psi(self, psi: f64) -> f64 {
        match self {
            Self::JensenShannon | Self::Hellinger => (psi / 8.0).sqrt(),
            Self::KullbackLeibler => psi / 2.0,
            Self::TotalVariation | Self::LInfinity => psi.sqrt() / 2.0,
        }
    }

    fn between(self, reference: &[u64], current: &[u64], zero_rule: ZeroRule) -> Option<f64> {
        match self {
            Self::JensenShannon => jensen_shannon(reference, current),
            Self::Hellinger => hellinger(reference, current),
            Self::KullbackLeibler => kullback_leibler(reference, current, zero_rule),
            Self::TotalVariation => total_variation(reference, current),
            Self::LInfinity => l_infinity(reference, current),
        }
    }
}

impl DriftDetector for HistogramDistance {
    fn name(&self) -> &'static str {
        match self.distance {
            Distance::JensenShannon => "jensen_shannon",
            Distance::Hellinger => "hellinger",
            Distance::KullbackLeibler => "kullback_leibler",
            Distance::TotalVariation => "total_variation",
            Distance::LInfinity => "l_infinity",
        }
    }

    fn applies_to(&self, kind: ColumnKind) -> bool {
        kind != ColumnKind::Opaque
    }

    fn test(&self, reference: &ColumnSample, current: &ColumnSample) -> DriftTest {
        let blank = DriftTest::degenerate(self.name(), (reference.len(), current.len()), self.thresholds);
        let Some((left, right)) = counts(&self.binning, reference, current) else { return blank };
        let found =
            self.distance.between(&left, &right, self.zero_rule).zip(chi_squared(&left, &right, Continuity::None));
        let Some((effect, chi)) = found else { return blank };
        let unit = 1.0 / float(total_of(&left)) + 1.0 / float(total_of(&right));
        let mde = self.distance.of_psi(detectable_noncentrality(chi.degrees_of_freedom) * unit);
        let verdict = if chi.degrees_of_freedom == 0 { Verdict::Degenerate } else { Verdict::Ok };
        DriftTest { statistic: effect, tail: Some(chi.tail), effect, mde, verdict, ..blank }
            .unbounded_if(reference.is_sketched() || current.is_sketched())
            .judge(chi.tail, self.thresholds.alpha)
    }
}
