//! What a threshold on the scores of one group can reach, and what mixtures of two can.
//!
//! Invariant: points run from calling nothing to calling everything, and the hull lies on or above
//! all of them, so a mixture of two neighbors on it is the best rule for its rate.

use mlops_core::{Error, Result};

/// Counts of rows called positive from a threshold on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cut {
    /// Infinite where nothing is called.
    pub(super) threshold: f64,
    pub(super) true_positives: f64,
    pub(super) false_positives: f64,
}

/// Labelled rows of one group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GroupCuts {
    pub(super) positives: f64,
    pub(super) negatives: f64,
    pub(super) cuts: Vec<Cut>,
}

impl GroupCuts {
    /// Cuts at every distinct score.
    pub(super) fn of(mut rows: Vec<(f64, f64)>) -> Self {
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        let start = Cut { threshold: f64::INFINITY, true_positives: 0.0, false_positives: 0.0 };
        let (mut cuts, mut cut) = (vec![start], start);
        for tied in rows.chunk_by(|a, b| a.0 == b.0) {
            let positives: f64 = tied.iter().map(|row| row.1).sum();
            cut.threshold = tied.first().map_or(cut.threshold, |row| row.0);
            cut.true_positives += positives;
            cut.false_positives += tied.len() as f64 - positives;
            cuts.push(cut);
        }
        Self { positives: cut.true_positives, negatives: cut.false_positives, cuts }
    }

    pub(super) fn rows(&self) -> f64 {
        self.positives + self.negatives
    }

    /// Both classes must be there, else a rate does not exist.
    pub(super) fn check(&self, group: &str, rows_min: usize) -> Result<()> {
        if self.rows() < rows_min as f64 || self.positives <= 0.0 || self.negatives <= 0.0 {
            let why = format!(
                "group {group:?} has {} positive and {} negative rows, too few for a threshold; it needs {rows_min} rows \
                 and both labels, or must be pooled with another",
                self.positives, self.negatives
            );
            return Err(Error::failed_precondition(why).with("group", group));
        }
        Ok(())
    }

    /// Rows rightly called at a cut.
    pub(super) fn correct(&self, cut: &Cut) -> f64 {
        cut.true_positives + self.negatives - cut.false_positives
    }

    /// The upper hull of what cuts reach, as (rate, value).
    pub(super) fn hull(&self, rate: impl Fn(&Cut) -> f64, value: impl Fn(&Cut) -> f64) -> Hull {
        let mut hull: Vec<Vertex> = Vec::new();
        for cut in &self.cuts {
            let vertex = Vertex { rate: rate(cut), value: value(cut), threshold: cut.threshold };
            if hull.last().is_some_and(|last| last.rate == vertex.rate && last.value >= vertex.value) {
                continue;
            }
            while let [.., a, b] = hull.as_slice() {
                // b is not above the line from a to the new vertex.
                let turn = (b.rate - a.rate) * (vertex.value - a.value) - (b.value - a.value) * (vertex.rate - a.rate);
                if turn < 0.0 && b.rate < vertex.rate {
                    break;
                }
                hull.pop();
            }
            if hull.last().is_some_and(|last| last.rate == vertex.rate) {
                hull.pop();
            }
            hull.push(vertex);
        }
        Hull(hull)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vertex {
    rate: f64,
    value: f64,
    threshold: f64,
}

/// Vertices by rising rate, from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Hull(Vec<Vertex>);

/// Two thresholds of which the first applies with a probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mixture {
    pub(super) value: f64,
    pub(super) thresholds: [f64; 2],
    pub(super) first_share: f64,
}

impl Hull {
    /// The best rule that reaches a rate.
    pub(super) fn at(&self, rate: f64) -> Mixture {
        let above = self.0.partition_point(|vertex| vertex.rate < rate);
        let right = self.0.get(above).or_else(|| self.0.last());
        let left = above.checked_sub(1).and_then(|below| self.0.get(below)).or(right);
        let (Some(left), Some(right)) = (left, right) else {
            return Mixture { value: f64::NEG_INFINITY, thresholds: [f64::INFINITY; 2], first_share: 1.0 };
        };
        let width = right.rate - left.rate;
        let first_share = if width > 0.0 { ((right.rate - rate) / width).clamp(0.0, 1.0) } else { 1.0 };
        Mixture {
            value: first_share * left.value + (1.0 - first_share) * right.value,
            thresholds: [left.threshold, right.threshold],
            first_share,
        }
    }

    /// The best rule for a rate from `low` to `high`, which is where the hull peaks or next to it.
    pub(super) fn best_within(&self, low: f64, high: f64) -> (f64, Mixture) {
        let inside = self.0.iter().map(|vertex| vertex.rate).filter(|rate| (low..=high).contains(rate));
        let candidates = [low, high].into_iter().chain(inside).map(|rate| (rate, self.at(rate)));
        let better = |best: (f64, Mixture), next: (f64, Mixture)| if next.1.value > best.1.value { next } else { best };
        candidates.reduce(better).unwrap_or_else(|| (low, self.at(low)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hulls_lie_above_every_cut_and_mix_neighbors() {
        let rows: Vec<(f64, f64)> =
            (0..60).map(|i| (f64::from(i * 7 % 19) / 19.0, f64::from(u8::from(i * 13 % 31 > 12)))).collect();
        let cuts = GroupCuts::of(rows);
        let hull = cuts.hull(|cut| cut.false_positives / cuts.negatives, |cut| cut.true_positives / cuts.positives);
        for cut in &cuts.cuts {
            let at = hull.at(cut.false_positives / cuts.negatives);
            assert!(at.value >= cut.true_positives / cuts.positives - 1e-12);
        }
        assert_eq!((hull.at(0.0).thresholds[0], hull.at(1.0).value), (f64::INFINITY, 1.0));
        let slopes: Vec<f64> = hull.0.windows(2).map(|w| (w[1].value - w[0].value) / (w[1].rate - w[0].rate)).collect();
        assert!(slopes.windows(2).all(|pair| pair[0] > pair[1]), "{slopes:?}");
    }

    #[test]
    fn a_window_holds_the_best_rate() {
        let cuts = GroupCuts::of((0..20).map(|i| (f64::from(i), f64::from(u8::from(i >= 8)))).collect());
        let selection = |cut: &Cut| (cut.true_positives + cut.false_positives) / 20.0;
        let hull = cuts.hull(selection, |cut| cuts.correct(cut));
        assert_eq!(hull.best_within(0.0, 1.0), (0.6, hull.at(0.6)));
        assert_eq!(hull.best_within(0.0, 0.5).0, 0.5);
        assert_eq!(hull.at(0.6).value, 20.0);
    }
}
