//! Two distributions cut into the same few bins, for the eye only: no test reads them.
//!
//! Invariant: at most [`BINS_MAX`] bins, shares of each side add up to one, and no outlier
//! squeezes the rest into one bin: the outermost bins are open.

use super::format::{Number, shortened};
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
    /// Where numbers are cut: one edge fewer than bins, for the outermost bins are open. Empty for levels.
    pub edges: Vec<f64>,
}

impl Histogram {
    /// `None` when a side is empty or values have no comparison. Levels that the reference does not have are pooled
    /// unless they are in `unseen`: their names may be private.
    pub(crate) fn of(reference: &ColumnSample, current: &ColumnSample, unseen: &[String]) -> Option<Self> {
        let (labels, (left, right), edges) = match (reference.values(), current.values()) {
            (Values::Numeric(left), Values::Numeric(right)) => numeric(left, right)?,
            (Values::Categorical(left), Values::Categorical(right)) => categorical(left, right, unseen),
            _ => return None,
        };
        Some(Self { labels, reference: shares(&left)?, current: shares(&right)?, edges })
    }

    /// Whether it is over numbers rather than levels.
    #[must_use]
    pub fn is_numeric(&self) -> bool {
        !self.edges.is_empty()
    }
}

type Binned = (Vec<String>, (Vec<u64>, Vec<u64>), Vec<f64>);

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
            (None, Some(end)) => format!("up to {}", Number(*end)),
            (Some(start), Some(end)) => format!("{} to {}", Number(*start), Number(*end)),
            (Some(start), None) => format!("above {}", Number(*start)),
            (None, None) => "all".to_owned(),
        }
    });
    let labels = labels.collect();
    Some((labels, (left.bin_counts(&edges), right.bin_counts(&edges)), edges))
}

/// The most frequent levels of both sides together, then the rest.
fn categorical(left: &CategoricalSample, right: &CategoricalSample, unseen: &[String]) -> Binned {
    let (n, m) = (float(left.total()).max(1.0), float(right.total()).max(1.0));
    let known = left.levels().map(|(level, _)| level);
    let mut levels: Vec<(&str, f64)> =
        known.chain(unseen.iter().map(String::as_str)).map(|level| (level, 0.0)).collect();
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
    let mut labels: Vec<String> = levels.iter().map(|(level, _)| shortened(level, LABEL_CHARS_MAX)).collect();
    labels.push("other".to_owned());
    if left.last() == Some(&0) && right.last() == Some(&0) {
        labels.pop();
        left.pop();
        right.pop();
    }
    (labels, (left, right), Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_levels_are_pooled_unless_they_may_be_named() {
        let levels = |counts: &[(&str, u64)]| ColumnSample::categorical(CategoricalSample::new(counts.iter().copied()));
        let (reference, current) = (levels(&[("a", 60), ("b", 40)]), levels(&[("a", 30), ("secret", 70)]));
        let histogram = Histogram::of(&reference, &current, &[]).unwrap();
        assert_eq!(
            (histogram.labels, histogram.current),
            (vec!["a".to_owned(), "b".to_owned(), "other".to_owned()], vec![0.3, 0.0, 0.7])
        );
        let histogram = Histogram::of(&reference, &current, &["secret".to_owned()]).unwrap();
        assert_eq!(histogram.labels, ["a", "secret", "b"]);
    }

    #[test]
    fn an_outlier_does_not_squeeze_the_rest() {
        let mut values: Vec<f64> = (0..1000).map(f64::from).collect();
        values.push(1e12);
        let sample = ColumnSample::numeric(NumericSample::new(values));
        let histogram = Histogram::of(&sample, &sample, &[]).unwrap();
        assert!(histogram.reference.iter().all(|share| *share < 0.06), "{histogram:?}");
        assert_eq!(histogram.edges.len() + 1, histogram.labels.len());
    }
}
