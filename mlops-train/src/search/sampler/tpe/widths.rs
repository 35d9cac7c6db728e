//! Means and widths of the kernels of one number, kept while observations come and go.
//!
//! A width is the larger distance to a neighbor among the observations, where the first and last of two or more have
//! only their inner one; within `narrow * range / min(100, 1 + kernels)` and the range (Optuna 5.0, `_ParzenEstimator`,
//! where
//! `narrow` is one).
//!
//! Invariant: `sorted` holds the means ascending with their trial numbers, and every width is what the rule above
//! gives; an observation changes at most the widths beside it once there are a hundred.

#![allow(
    clippy::indexing_slicing,
    reason = "ranks and components are below the common length of the vectors, which grow and shrink together"
)]

/// Observations above which the least width no longer depends on their number.
const SETTLED: usize = 100;

/// Kernels of one number; components are in the order of their trials.
#[derive(Debug, Clone)]
pub(super) struct Widths {
    pub(super) low: f64,
    pub(super) high: f64,
    narrow: f64,
    pub(super) means: Vec<f64>,
    pub(super) widths: Vec<f64>,
    sorted: Vec<(f64, usize)>,
}

impl Widths {
    pub(super) fn new(low: f64, high: f64, narrow: f64) -> Self {
        Self { low, high, narrow, means: Vec::new(), widths: Vec::new(), sorted: Vec::new() }
    }

    /// Mean and width of the kernel that stands for no observation.
    pub(super) fn prior(&self) -> (f64, f64) {
        (self.low + (self.high - self.low) / 2.0, self.high - self.low)
    }

    /// A point in [0, 1] between the bounds.
    pub(super) fn unit(&self, point: f64) -> f64 {
        (point - self.low) / (self.high - self.low)
    }

    /// `1 / (width sqrt 2)` with the width in shares of the range.
    pub(super) fn scale(&self, width: f64) -> f64 {
        std::f64::consts::FRAC_1_SQRT_2 * (self.high - self.low) / width
    }

    /// Adds an observation as component `at`; `numbers` are the trials of all components, this one included. Returns
    /// the components whose width is new.
    pub(super) fn insert(&mut self, at: usize, mean: f64, numbers: &[usize]) -> Vec<usize> {
        let rank = self.rank(mean, numbers[at]);
        self.sorted.insert(rank, (mean, numbers[at]));
        self.means.insert(at, mean);
        self.widths.insert(at, 0.0);
        self.refresh(rank, numbers)
    }

    /// Removes component `at` of trial `number`; `numbers` are the trials that remain.
    pub(super) fn remove(&mut self, at: usize, number: usize, numbers: &[usize]) -> Vec<usize> {
        let rank = self.rank(self.means[at], number);
        self.sorted.remove(rank);
        self.means.remove(at);
        self.widths.remove(at);
        self.refresh(rank, numbers)
    }

    fn rank(&self, mean: f64, number: usize) -> usize {
        self.sorted.partition_point(|&(other, of)| other.total_cmp(&mean).then(of.cmp(&number)).is_lt())
    }

    /// Computes the widths that a change at `rank` may have touched.
    fn refresh(&mut self, rank: usize, numbers: &[usize]) -> Vec<usize> {
        let n = self.sorted.len();
        let ranks: Vec<usize> = if n <= SETTLED {
            (0..n).collect()
        } else {
            let beside = rank.saturating_sub(1)..(rank + 2).min(n);
            [0, 1, n - 2, n - 1].into_iter().filter(|end| !beside.contains(end)).chain(beside.clone()).collect()
        };
        let mut changed = Vec::new();
        for rank in ranks {
            let Ok(component) = numbers.binary_search(&self.sorted[rank].1) else { continue };
            let width = self.width(rank);
            if width != self.widths[component] {
                self.widths[component] = width;
                changed.push(component);
            }
        }
        changed
    }

    fn width(&self, rank: usize) -> f64 {
        let n = self.sorted.len();
        let mean = self.sorted[rank].0;
        let left = mean - if rank > 0 { self.sorted[rank - 1].0 } else { self.low };
        let right = if rank + 1 < n { self.sorted[rank + 1].0 } else { self.high } - mean;
        let gap = match (rank, n) {
            (_, 1) => left.max(right),
            (0, _) => right,
            (rank, n) if rank + 1 == n => left,
            _ => left.max(right),
        };
        let range = self.high - self.low;
        gap.clamp(self.narrow * range / f64::min(100.0, (n + 2) as f64), range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    fn widths(observed: &[f64]) -> Vec<f64> {
        let mut widths = Widths::new(0.0, 10.0, 1.0);
        let numbers: Vec<usize> = (0..observed.len()).collect();
        for (at, &mean) in observed.iter().enumerate() {
            widths.insert(at, mean, &numbers[..=at]);
        }
        widths.widths
    }

    #[test]
    fn widths_follow_the_neighbors() {
        // Range 10, four observations: least width 10 / 6.
        assert_eq!(widths(&[9.0, 1.0, 4.0, 4.1]), [4.9, 3.0, 3.0, 4.9]);
        assert_eq!(widths(&[3.0]), [7.0]);
    }

    #[test]
    fn changes_one_by_one_give_what_a_fresh_start_gives() {
        let mut rng = SeededRng::new(5, 0);
        let mut kept = Widths::new(0.0, 10.0, 1.0);
        let mut numbers: Vec<usize> = Vec::new();
        let mut points: Vec<f64> = Vec::new();
        for number in 0..400 {
            let mean = (rng.uniform() * 40.0).round() / 4.0;
            numbers.push(number);
            points.push(mean);
            kept.insert(numbers.len() - 1, mean, &numbers);
            if number % 3 == 0 {
                let at = rng.below(numbers.len());
                let removed = numbers.remove(at);
                points.remove(at);
                kept.remove(at, removed, &numbers);
            }
        }
        let mut fresh = Widths::new(0.0, 10.0, 1.0);
        for at in 0..numbers.len() {
            fresh.insert(at, points[at], &numbers[..=at]);
        }
        assert_eq!(kept.means, fresh.means);
        assert_eq!(kept.widths, fresh.widths);
    }
}
