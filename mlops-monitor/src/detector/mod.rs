//! What a drift test is, what it answers, and how the answer becomes a verdict.
//!
//! Invariant: a verdict of drift needs all three of an effect that matters, significance after
//! correction, and enough rows; each is reported, so that a reader can disagree.

mod binned;
mod chi_squared;
mod fisher;
mod g;
mod histogram_distance;
mod ks;
mod levels;
mod null_share;
mod psi;
mod sketched;
mod two_proportion_z;
mod two_sample;

use std::fmt;

use serde::{Serialize, Serializer};

pub use binned::Binning;
pub use chi_squared::ChiSquared;
pub use fisher::{FISHER_EXACT_MAX, Fisher};
pub use g::G;
pub use histogram_distance::{Distance, HistogramDistance};
pub use ks::KolmogorovSmirnov;
pub use null_share::NullShare;
pub use psi::Psi;
pub use two_proportion_z::TwoProportionZ;
pub use two_sample::{TwoSample, TwoSampleTest};

use crate::{
    sample::{ColumnKind, ColumnSample},
    stats::Tail,
};

/// Compares one column of a current window with the reference.
///
/// Implementations are pure: the same samples give the same answer, and none panics on any
/// sample. They judge at [`Thresholds::alpha`] without correction; [`DriftTest::judge`] repeats
/// the judgement with a corrected p-value.
pub trait DriftDetector: fmt::Debug + Send + Sync + 'static {
    /// The stable name in reports and metrics, such as `ks`.
    fn name(&self) -> &'static str;

    /// Whether columns of this kind can be tested.
    fn applies_to(&self, kind: ColumnKind) -> bool;

    /// Runs the test. Samples of a kind that it does not apply to, or of two kinds, give
    /// [`Verdict::Degenerate`]; a side with too few values gives [`Verdict::Insufficient`] along
    /// with whatever numbers exist.
    fn test(&self, reference: &ColumnSample, current: &ColumnSample) -> DriftTest;
}

/// When a test counts as drift.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Smallest effect that matters, in the unit of the test's effect.
    pub effect_min: f64,
    /// Significance level.
    pub alpha: f64,
    /// Fewest values on each side.
    pub n_min: u64,
}

impl Thresholds {
    /// Level 0.05 and 100 values with the given effect.
    #[must_use]
    pub const fn effect(effect_min: f64) -> Self {
        Self { effect_min, alpha: 0.05, n_min: 100 }
    }
}

/// What a test concludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No drift that matters.
    Ok,
    /// Drift: large enough, significant, and seen in enough rows.
    Drift,
    /// Too few values on one side.
    Insufficient {
        /// Values on the smaller side.
        n: u64,
        /// Values that are needed.
        min_n: u64,
    },
    /// The statistic says nothing here: one constant on both sides, or values of the wrong kind.
    Degenerate,
}

impl Verdict {
    /// The name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Drift => "drift",
            Self::Insufficient { .. } => "insufficient",
            Self::Degenerate => "degenerate",
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The numbers of one test and what follows from them.
///
/// Numbers that do not exist (a side is empty) are NaN, and `null` in JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftTest {
    /// Name of the detector.
    pub name: &'static str,
    /// The statistic in its own unit.
    pub statistic: f64,
    /// Probability of such a statistic without drift; `None` when it does not exist.
    pub tail: Option<Tail>,
    /// The tail after correction for the number of tests of the run, once there was one.
    pub corrected: Option<Tail>,
    /// Size of the difference, in the unit that `effect_min` is in.
    pub effect: f64,
    /// How much smaller the effect may be in truth, because a side is known by a sketch; zero when both are exact.
    pub error_low: f64,
    /// How much larger it may be; infinite when nothing bounds it.
    pub error_high: f64,
    /// Smallest effect that counts.
    pub effect_min: f64,
    /// Values on the reference side.
    pub n_ref: u64,
    /// Values on the current side.
    pub n_cur: u64,
    /// Fewest values on each side for a verdict.
    pub n_min: u64,
    /// Smallest effect that samples of this size show with 80 % power at 5 %.
    pub mde: f64,
    /// The conclusion.
    pub verdict: Verdict,
}

impl DriftTest {
    /// A test that had nothing to compute.
    pub(crate) fn degenerate(name: &'static str, n: (u64, u64), thresholds: Thresholds) -> Self {
        let (n_ref, n_cur) = n;
        let Thresholds { effect_min, n_min, .. } = thresholds;
        let (statistic, effect, mde) = (f64::NAN, f64::NAN, f64::NAN);
        let verdict = if n_ref.min(n_cur) < n_min.max(1) {
            Verdict::Insufficient { n: n_ref.min(n_cur), min_n: n_min.max(1) }
        } else {
            Verdict::Degenerate
        };
        let (tail, corrected, error_low, error_high) = (None, None, 0.0, 0.0);
        Self {
            name,
            statistic,
            tail,
            corrected,
            effect,
            error_low,
            error_high,
            effect_min,
            n_ref,
            n_cur,
            n_min,
            mde,
            verdict,
        }
    }

    /// The p-value before correction; NaN when it does not exist.
    #[must_use]
    pub fn p(&self) -> f64 {
        self.tail.map_or(f64::NAN, Tail::p)
    }

    /// Its decimal logarithm; NaN when it does not exist.
    #[must_use]
    pub fn log10_p(&self) -> f64 {
        self.tail.map_or(f64::NAN, Tail::log10)
    }

    /// The least that the effect may be in truth.
    #[must_use]
    pub fn effect_low(&self) -> f64 {
        self.effect - self.error_low
    }

    /// The most that the effect may be in truth.
    #[must_use]
    pub fn effect_high(&self) -> f64 {
        self.effect + self.error_high
    }

    /// Whether the threshold lies within the error of sketches, so that exact data might have given another verdict.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.verdict == Verdict::Ok && self.effect_low() < self.effect_min && self.effect_min <= self.effect_high()
    }

    /// Without a bound on the effect when a side is known by a sketch: such a test never finds drift.
    pub(crate) fn unbounded_if(self, sketched: bool) -> Self {
        if sketched { Self { error_low: f64::INFINITY, error_high: f64::INFINITY, ..self } } else { self }
    }

    /// How far beyond its threshold the effect is: one means just there.
    #[must_use]
    pub fn severity(&self) -> f64 {
        if self.effect.is_nan() { 0.0 } else { self.effect / self.effect_min.max(f64::MIN_POSITIVE) }
    }

    /// Whether it could have found something: such tests are what a run is corrected for.
    pub(crate) fn counts(&self) -> bool {
        matches!(self.verdict, Verdict::Ok | Verdict::Drift)
    }

    /// Draws the verdict from the effect less its error, tail and rows; a degenerate test stays one.
    #[must_use]
    pub fn judge(mut self, corrected: Tail, alpha: f64) -> Self {
        self.corrected = Some(corrected);
        if self.verdict == Verdict::Degenerate {
            return self;
        }
        let n = self.n_ref.min(self.n_cur);
        self.verdict = if n < self.n_min.max(1) {
            Verdict::Insufficient { n, min_n: self.n_min.max(1) }
        } else if self.effect_low() >= self.effect_min && corrected.ln() <= alpha.ln() {
            Verdict::Drift
        } else {
            Verdict::Ok
        };
        self
    }
}
