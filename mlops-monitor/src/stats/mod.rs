//! The statistics behind the detectors, as pure functions of sorted values or counts.
//!
//! Invariant: every p-value is a [`Tail`], kept as its natural logarithm, so that `1e-900` is told
//! apart from zero. Nothing here knows of columns, thresholds or verdicts.

mod anderson;
mod beta;
mod binning;
mod blocks;
mod contingency;
mod cramer;
mod distances;
mod gamma;
mod kolmogorov;
mod ks;
mod kuiper;
mod lattice;
mod likelihood;
mod location;
mod merge;
mod power;
mod psi;
mod roc;
mod sort;
mod transport;

pub use anderson::{anderson_darling, anderson_darling_tail};
pub use beta::student_tail;
pub(crate) use binning::quantile;
pub use binning::{
    BINS_MAX, Binned, WidthRule, bin_counts, quantile_edges, reference_width_counts, sturges_counts, width_edges,
};
pub use contingency::{ChiSquaredResult, Continuity, chi_squared, two_proportions};
pub use cramer::{CRAMER_EXACT_MAX, CramerVonMises, cramer_von_mises};
pub use distances::{hellinger, jensen_shannon, kullback_leibler, l_infinity, total_variation};
pub use gamma::chi_squared_tail;
pub(crate) use gamma::ln_beta;
pub(crate) use ks::weighted_ks_statistic;
pub use ks::{KS_TIES_MAX, KsMode, KsStatistic, ks_p_value, ks_statistic, ks_test};
pub use kuiper::kuiper;
pub use likelihood::{LikelihoodRatio, fisher, g_test, goodness_of_fit};
pub(crate) use location::sum;
pub use location::{MANN_WHITNEY_EXACT_MAX, MannWhitney, Moments, TTest, mann_whitney, moments, student_t, welch_t};
pub use power::{detectable_d, detectable_noncentrality};
pub use psi::{ZeroRule, psi};
pub use roc::{RocAuc, roc_auc};
pub(crate) use sort::sort;
pub use transport::{energy, wasserstein};

/// Significance level at which detectable effects are stated.
pub const POWER_ALPHA: f64 = 0.05;
/// Power at which detectable effects are stated.
pub const POWER: f64 = 0.8;

/// The probability of a result at least as extreme, kept as its natural logarithm.
///
/// ```
/// use mlops_monitor::stats::Tail;
///
/// let tail = Tail::from_ln(-2000.0);
/// assert_eq!(tail.p(), 0.0); // below the smallest double
/// assert!((tail.log10() + 868.588_963_806_503_6).abs() < 1e-9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Tail {
    ln_p: f64,
}

impl Tail {
    /// Certainty: no evidence against the null hypothesis.
    pub const ONE: Self = Self { ln_p: 0.0 };

    /// From a natural logarithm; values above zero (rounding) count as probability one.
    #[must_use]
    pub fn from_ln(ln_p: f64) -> Self {
        Self { ln_p: ln_p.min(0.0) }
    }

    /// The probability; zero when it is below about 1e-323.
    #[must_use]
    pub fn p(self) -> f64 {
        self.ln_p.exp()
    }

    /// Its natural logarithm.
    #[must_use]
    pub fn ln(self) -> f64 {
        self.ln_p
    }

    /// Its decimal logarithm.
    #[must_use]
    pub fn log10(self) -> f64 {
        self.ln_p / std::f64::consts::LN_10
    }
}

/// A count as a double; exact up to 2^53.
#[allow(clippy::cast_precision_loss, reason = "rows of a window are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// The length of a slice as a count.
pub(crate) fn count_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The sum of counts.
pub(crate) fn total_of(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}
