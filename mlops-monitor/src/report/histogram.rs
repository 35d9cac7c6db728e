//! Two distributions cut into the same few bins, for the eye only: no test reads them.
//!
//! Invariant: at most [`BINS_MAX`] bins, shares of each side add up to one, and no outlier
//! squeezes the rest into one bin: the outermost bins are open.

use crate::{
    sample::{CategoricalSample, ColumnSample, NumericSample, Values},
    stats::{count_of, float, total_of},
};

/// Most bins of a histogram.
pub(super) const BINS_MAX: usize = 20;
/// Longest label, in characters.
const LABEL_CHARS_MAX: usize = 24;

/// Shares of reference and current values per bin.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// What each bin holds: a range or a level.
    pub labels: Vec<String>,
    /// Shares of the reference.
    pub reference: Vec<f64>,
    /// Shares of the window.
    pub current: Vec<f64>,
}

impl Histogram {
    /// `None` when a side is empty or values have no comparison.
    pub(crate) fn of(reference: &ColumnSample, current: &ColumnSample) -> Option<Self> {
        let (labels, left, right) = match (reference.values(), current.values()) {
            (Values::Numeric(left), Values::Numeric(right)) => numeric(left, right)?,
            (Values::Categorical(left), Values::Categorical(right)) => categorical(left, right),
            _ => return None,
        };
        Some(Self { labels, reference: shares(&left)?, current: shares(&right)? })
    }
}

type Binned = (Vec<String>, Vec<u64>, Vec<u64>);

fn shares(counts: &[u64]) -> Option<Vec<f64>> {
    let total = total_of(counts);
    (total > 0).then(|| counts.iter().map(|&count| float(count) / float(total)).collect())
}

/// Equal widths over the central 99 % of both sides.
fn numeric(left: &NumericSample, right: &NumericSample) -> Option<Binned> {
    let at = |q: f64| Some((left.quantile(q)?, right.quantile(q)?));
    let (low, high) = (at(0.005)?, at(0.995)?);
    let (low, high) = (low.0.min(low.1), high.0.max(high.1));
    let step = (high / float(count_of(BINS_MAX))) - (low / float(count_of(BINS_MAX)));
    let mut edges: Vec<f64> = (1..BINS_MAX).map(|i| low + step * float(count_of(i))).collect();
    edges.dedup();
    let labels = (0..=edges.len()).map(|i| {
        let edge = |i: Option<usize>| i.and_then(|i| edges.get(i));
        match (edge(i.checked_sub(1)), edge(Some(i))) {
            (None, Some(end)) => format!("up to {end:.4}"),
            (Some(start), Some(end)) => format!("{start:.4} to {end:.4}"),
            (Some(start), None) => format!("above {start:.4}"),
            (None, None) => "all".to_owned(),
        }
    });
    Some((labels.collect(), left.bin_counts(&edges), right.bin_counts(&edges)))
}

/// The most frequent levels of both sides together, then the rest.
fn categorical(left: &CategoricalSample, right: &CategoricalSample) -> Binned {
    let (n, m) = (float(left.total()).max(1.0), float(right.total()).max(1.0));
    let mut levels: Vec<(&str, f64)> = left.levels().chain(right.levels()).map(|(level, _)| (level, 0.0)).collect();
    levels.sort_unstable_by(|a, b| a.0.cmp(b.0));
    levels.dedup();
    for (level, weight) in &mut levels {
        *weight = float(left.count(level)) / n + float(right.count(level)) / m;
    }
    levels.sort_by(|a, b| b.1.total_cmp(&a.1));
    levels.truncate(BINS_MAX - 1);
    let counts = |sample: &CategoricalSample| -> Vec<u64> {
        let mut counts: Vec<u64> = levels.iter().map(|(level, _)| sample.count(level)).collect();
        counts.push(sample.total().saturating_sub(total_of(&counts)));
        counts
    };
    let (mut left, mut right) = (counts(left), counts(right));
    let mut labels: Vec<String> = levels.iter().map(|(level, _)| short(level)).collect();
    labels.push("other".to_owned());
    if left.last() == Some(&0) && right.last() == Some(&0) {
        labels.pop();
        left.pop();
        right.pop();
    }
    (labels, left, right)
}

fn short(level: &str) -> String {
    let mut label: String = level.chars().take(LABEL_CHARS_MAX).collect();
    if label.len() < level.len() {
        label.push('\u{2026}');
    }
    label
}
