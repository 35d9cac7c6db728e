//! Both sides of a column as counts in the same bins.
//!
//! Invariant: every row is in one bin: levels that the reference lacks share one, and so do rows without a usable value.

use serde::{Deserialize, Serialize};

use super::{
    chi_squared::aligned_counts,
    sketched::{Counted, frequent_counts},
};
use crate::{
    sample::{ColumnSample, NumericSample, Values},
    stats::{float, sturges_counts},
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
    counted(binning, reference, current).map(|counted| (counted.left, counted.right))
}

/// As [`counts`], with what sketches leave open.
pub(super) fn counted(binning: Binning, reference: &ColumnSample, current: &ColumnSample) -> Option<Counted> {
    if reference.is_empty() || current.is_empty() {
        return None;
    }
    let counted = match (reference.values(), current.values()) {
        (Values::Numeric(left), Values::Numeric(right)) => {
            let mut counted = Counted::exact(numeric_counts(binning, left, right));
            if reference.is_sketched() || current.is_sketched() {
                counted.errors = vec![(share_error(left), share_error(right)); counted.left.len()];
            }
            counted
        }
        (Values::Categorical(left), Values::Categorical(right)) if left.level_error() + right.level_error() > 0 => {
            frequent_counts(left, right)
        }
        (Values::Categorical(left), Values::Categorical(right)) => {
            let known = left.levels().count();
            Counted::exact(pool_beyond(aligned_counts(left, right), known))
        }
        _ => return None,
    };
    let (occupied, _) = with_missing(counted, reference, current).split(|left, right| left + right > 0);
    Some(occupied)
}

/// How many values may lie in another bin.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of values")]
fn share_error(sample: &NumericSample) -> u64 {
    (sample.error().share.clamp(0.0, 1.0) * float(sample.len())).ceil() as u64
}

fn numeric_counts(binning: Binning, left: &NumericSample, right: &NumericSample) -> (Vec<u64>, Vec<u64>) {
    match binning {
        Binning::ReferenceQuantiles(bins) => {
            let edges = left.quantile_edges(bins);
            (left.bin_counts(&edges), right.bin_counts(&edges))
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
fn with_missing(mut counted: Counted, reference: &ColumnSample, current: &ColumnSample) -> Counted {
    if reference.missing() + current.missing() > 0 {
        counted.push((scaled_missing(reference), scaled_missing(current)), (0, 0));
    }
    counted
}

fn scaled_missing(sample: &ColumnSample) -> u64 {
    let usable = sample.rows().saturating_sub(sample.missing());
    let scaled = u128::from(sample.missing()) * u128::from(sample.len()) / u128::from(usable.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
