//! Both sides of a column as counts in the same bins.
//!
//! Invariant: every row is in one bin: levels that the reference lacks share one, and so do rows without a usable value.

use serde::{Deserialize, Serialize};

use super::chi_squared::aligned_counts;
use crate::{
    sample::{ColumnSample, NumericSample, Values},
    stats::{bin_counts, quantile_edges, sturges_counts},
};

/// How numbers are cut into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binning {
    /// Quantiles of the reference with open ends, ties merged; ten by default. One outlier cannot
    /// ruin it.
    ReferenceQuantiles(u32),
    /// Evidently's: equal widths over the joint range by Sturges' rule, or one bin per value.
    Sturges,
}

impl Default for Binning {
    fn default() -> Self {
        Self::ReferenceQuantiles(10)
    }
}

/// Counts of both sides in the bins that one of them uses; `None` when a side is empty or the kinds differ.
pub(super) fn counts(
    binning: Binning,
    reference: &ColumnSample,
    current: &ColumnSample,
) -> Option<(Vec<u64>, Vec<u64>)> {
    if reference.is_empty() || current.is_empty() {
        return None;
    }
    let counts = match (reference.values(), current.values()) {
        (Values::Numeric(left), Values::Numeric(right)) => numeric_counts(binning, left, right),
        (Values::Categorical(left), Values::Categorical(right)) => {
            let known = left.levels().count();
            pool_beyond(aligned_counts(left, right), known)
        }
        _ => return None,
    };
    Some(occupied(with_missing(counts, reference, current)))
}

fn numeric_counts(binning: Binning, left: &NumericSample, right: &NumericSample) -> (Vec<u64>, Vec<u64>) {
    match binning {
        Binning::ReferenceQuantiles(bins) => {
            let edges = quantile_edges(left.values(), bins);
            (bin_counts(left.values(), &edges), bin_counts(right.values(), &edges))
        }
        Binning::Sturges => {
            let found = sturges_counts(left.values(), right.values());
            (found.reference, found.current)
        }
    }
}

/// Sums everything after the first `known` bins into one.
fn pool_beyond((mut left, mut right): (Vec<u64>, Vec<u64>), known: usize) -> (Vec<u64>, Vec<u64>) {
    for side in [&mut left, &mut right] {
        let pool: u64 = side.iter().skip(known).sum();
        side.truncate(known);
        side.push(pool);
    }
    (left, right)
}

/// Adds the bin of rows without a usable value. The reference may be thinned out, so its share of
/// missing rows is scaled to the values that are left.
fn with_missing(
    (mut left, mut right): (Vec<u64>, Vec<u64>),
    reference: &ColumnSample,
    current: &ColumnSample,
) -> (Vec<u64>, Vec<u64>) {
    if reference.missing() + current.missing() > 0 {
        left.push(scaled_missing(reference));
        right.push(scaled_missing(current));
    }
    (left, right)
}

fn scaled_missing(sample: &ColumnSample) -> u64 {
    let usable = sample.rows().saturating_sub(sample.missing());
    let scaled = u128::from(sample.missing()) * u128::from(sample.len()) / u128::from(usable.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// Leaves out the bins that are empty on both sides.
fn occupied((left, right): (Vec<u64>, Vec<u64>)) -> (Vec<u64>, Vec<u64>) {
    left.into_iter().zip(right).filter(|(a, b)| a + b > 0).unzip()
}
