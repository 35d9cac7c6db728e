//! Both sides of a column as counts in the same bins.
//!
//! Invariant: every row is in one bin: levels that the reference lacks share one, and so do rows without a usable value.

use serde::{Deserialize, Serialize};

use super::{
    levels::{Table, aligned_counts},
    sketched::{Counted, frequent_counts},
};
use crate::{
    sample::{ColumnSample, NumericSample, Values},
    stats::{BINS_MAX, WidthRule, float, reference_width_counts, sturges_counts, total_of},
};

/// How numbers are cut into bins.
///
/// In JSON: `{"reference_quantiles": 10}`, `{"reference_width": "doane"}`, `{"reference_width": {"bins": 20}}`,
/// `"sturges"`, `{"edges": [0.0, 18.0, 65.0]}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binning {
    /// Quantiles of the reference with open ends, ties merged; ten by default. One outlier cannot
    /// ruin it.
    ReferenceQuantiles(u32),
    /// Equal widths over the reference by a named rule (a fixed number, Sturges, Doane, Scott, Freedman and Diaconis);
    /// current values outside are one more bin. With Doane's rule these are NannyML's bins.
    ReferenceWidth(WidthRule),
    /// Evidently's: equal widths over the joint range by Sturges' rule, or one bin per value.
    Sturges,
    /// These edges, ascending, with open ends: (-inf, e1], (e1, e2], ..., (ek, inf).
    Edges(Vec<f64>),
}

impl Default for Binning {
    fn default() -> Self {
        Self::ReferenceQuantiles(10)
    }
}

impl Binning {
    /// What is wrong with it, for settings.
    pub(crate) fn fault(&self) -> Option<String> {
        match self {
            Self::ReferenceQuantiles(bins) if !(2..=1000).contains(bins) => {
                Some(format!("must have 2 to 1000 quantile bins, found {bins}"))
            }
            Self::ReferenceWidth(WidthRule::Bins(bins)) if !(1..=BINS_MAX).contains(bins) => {
                Some(format!("must have 1 to {BINS_MAX} bins, found {bins}"))
            }
            Self::Edges(edges) if edges.is_empty() || edges.len() > BINS_MAX as usize => {
                Some(format!("must have 1 to {BINS_MAX} edges, found {}", edges.len()))
            }
            Self::Edges(edges) if !edges.iter().all(|edge| edge.is_finite()) || !edges.is_sorted_by(|a, b| a < b) => {
                Some("must have finite edges, each above the one before".to_owned())
            }
            _ => None,
        }
    }
}

/// Counts of both sides in the bins that one of them uses; `None` when a side is empty or the kinds differ.
pub(super) fn counts(binning: &Binning, reference: &ColumnSample, current: &ColumnSample) -> Option<Table> {
    counted(binning, reference, current).map(|counted| (counted.left, counted.right))
}

/// As [`counts`], with what sketches leave open.
pub(super) fn counted(binning: &Binning, reference: &ColumnSample, current: &ColumnSample) -> Option<Counted> {
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
    let (occupied, _) = with_missing(counted, reference, current).split(|left, right| left > 0 || right > 0);
    Some(occupied)
}

/// How many values may lie in another bin.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the number of values")]
fn share_error(sample: &NumericSample) -> u64 {
    (sample.error().share.clamp(0.0, 1.0) * float(sample.len())).ceil() as u64
}

fn numeric_counts(binning: &Binning, left: &NumericSample, right: &NumericSample) -> Table {
    let between = |edges: &[f64]| (left.bin_counts(edges), right.bin_counts(edges));
    match binning {
        Binning::ReferenceQuantiles(bins) => between(&left.quantile_edges(*bins)),
        Binning::ReferenceWidth(rule) => {
            let found = reference_width_counts(left.values(), right.values(), *rule);
            (found.reference, found.current)
        }
        Binning::Edges(edges) => {
            // Settings are checked, but a detector can be made without them.
            let mut edges: Vec<f64> = edges.iter().copied().filter(|edge| !edge.is_nan()).collect();
            edges.sort_by(f64::total_cmp);
            between(&edges)
        }
        Binning::Sturges => {
            let found = sturges_counts(left.values(), right.values());
            (found.reference, found.current)
        }
    }
}

/// Sums everything after the first `known` bins into one.
fn pool_beyond((mut left, mut right): Table, known: usize) -> Table {
    for side in [&mut left, &mut right] {
        let pool = total_of(side.get(known..).unwrap_or_default());
        side.truncate(known);
        side.push(pool);
    }
    (left, right)
}

/// Adds the bin of rows without a usable value. The reference may be thinned out, so its share of
/// missing rows is scaled to the values that are left.
fn with_missing(mut counted: Counted, reference: &ColumnSample, current: &ColumnSample) -> Counted {
    if reference.missing() > 0 || current.missing() > 0 {
        counted.push((scaled_missing(reference), scaled_missing(current)), (0, 0));
    }
    counted
}

fn scaled_missing(sample: &ColumnSample) -> u64 {
    let usable = sample.rows().saturating_sub(sample.missing());
    let scaled = u128::from(sample.missing()) * u128::from(sample.len()) / u128::from(usable.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strategy_is_named_in_settings_and_keeps_every_row() {
        let ramp = |from: i32| ColumnSample::numeric(NumericSample::new((from..from + 100).map(f64::from).collect()));
        let cases = [
            (r#"{"reference_quantiles": 10}"#, 10),
            (r#"{"reference_width": "sturges"}"#, 8 + 1),
            (r#"{"reference_width": "doane"}"#, 8 + 1),
            (r#"{"reference_width": "scott"}"#, 5 + 1),
            (r#"{"reference_width": "freedman_diaconis"}"#, 5 + 1),
            (r#"{"reference_width": {"bins": 4}}"#, 4 + 1),
            (r#""sturges""#, 9),
            (r#"{"edges": [9.0, 49.0]}"#, 3),
        ];
        for (text, bins) in cases {
            let binning: Binning = serde_json::from_str(text).unwrap();
            assert_eq!(binning.fault(), None, "{text}");
            let (left, right) = counts(&binning, &ramp(0), &ramp(20)).unwrap();
            assert_eq!((left.len(), right.len()), (bins, bins), "{text}");
            assert_eq!((left.iter().sum::<u64>(), right.iter().sum::<u64>()), (100, 100), "{text}");
            assert_eq!(serde_json::from_str::<Binning>(&serde_json::to_string(&binning).unwrap()).unwrap(), binning);
        }
    }

    #[test]
    fn own_edges_are_closed_above() {
        let column = |values: &[f64]| ColumnSample::numeric(NumericSample::new(values.to_vec()));
        let binning = Binning::Edges(vec![0.0, 10.0]);
        let found = counts(&binning, &column(&[-5.0, 0.0, 10.0, 11.0]), &column(&[0.5]));
        assert_eq!(found, Some((vec![2, 1, 1], vec![0, 1, 0])));
    }

    #[test]
    fn absurd_edges_are_named_and_lose_no_row() {
        let absurd = [vec![], vec![f64::NAN], vec![2.0, 1.0], vec![1.0, 1.0], vec![f64::INFINITY]];
        let column = ColumnSample::numeric(NumericSample::new(vec![0.0, 1.0, 1.5, 7.0]));
        for edges in absurd {
            let binning = Binning::Edges(edges);
            assert!(binning.fault().is_some(), "{binning:?}");
            assert_eq!(counts(&binning, &column, &column).unwrap().0.iter().sum::<u64>(), 4, "{binning:?}");
        }
        assert!(Binning::ReferenceWidth(WidthRule::Bins(0)).fault().is_some());
    }
}
