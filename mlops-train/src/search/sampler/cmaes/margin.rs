//! Numbers with steps in the evolution strategy: every step keeps at least a margin of probability, so that a
//! coordinate does not get stuck on one of them.
//!
//! R. Hamano et al., "CMA-ES with Margin" (GECCO 2022), in the form of the package `cmaes` 0.13.

#![allow(clippy::indexing_slicing, reason = "coordinates are below the dimension")]

use mlops_metrics::{special::normal_quantile, stats::normal_cdf};

use super::evolution::Evolution;

/// Widths by which stepped coordinates are stretched, and where their steps lie.
#[derive(Debug, Clone)]
pub(super) struct Margin {
    /// Number of steps of each coordinate in [0, 1]; none without steps.
    counts: Vec<Option<f64>>,
    stretch: Vec<f64>,
    margin: f64,
}

impl Margin {
    /// Steps at `0, 1/(count-1), ... 1` for coordinates with a count.
    pub(super) fn new(counts: Vec<Option<f64>>, population: usize) -> Self {
        let stretch = vec![1.0; counts.len()];
        let margin = 1.0 / (counts.len() * population) as f64;
        Self { counts, stretch, margin }
    }

    /// Whether a coordinate has no steps.
    pub(super) fn is_smooth(&self, at: usize) -> bool {
        self.counts[at].is_none()
    }

    /// The vector with stepped coordinates on their steps.
    pub(super) fn encode(&self, x: &[f64], mean: &[f64]) -> Vec<f64> {
        let coordinate = |at: usize| match self.counts[at] {
            None => x[at],
            Some(count) => {
                let stretched = (x[at] - mean[at]) * self.stretch[at] + mean[at];
                index(stretched, count) / (count - 1.0)
            }
        };
        (0..x.len()).map(coordinate).collect()
    }

    /// Moves means and stretches widths until every step has its margin.
    pub(super) fn correct(&mut self, evolution: &mut Evolution) {
        for at in 0..self.counts.len() {
            if let Some(count) = self.counts[at] {
                let deviation = evolution.sigma * evolution.covariance[at * evolution.dimension + at].sqrt();
                let (mean, stretch) = self.coordinate(evolution.mean[at], self.stretch[at], deviation, count);
                evolution.mean[at] = mean;
                self.stretch[at] = stretch;
            }
        }
    }

    fn coordinate(&self, mean: f64, stretch: f64, deviation: f64, count: f64) -> (f64, f64) {
        let place = index(mean, count);
        let limit = |lower: f64| (lower.clamp(0.0, count - 2.0) + 0.5) / (count - 1.0);
        let (low, high) = (limit(place - 1.0), limit(place));
        let scale = stretch * deviation;
        let below = normal_cdf((low - mean) / scale);
        let above = normal_cdf((mean - high) / scale);
        if below.max(above) > 0.5 {
            // The mean lies on the first or last step.
            if below.min(above) >= self.margin {
                return (mean, stretch);
            }
            let distance = -normal_quantile(self.margin) * scale;
            return (high + (mean - high).signum() * distance, stretch);
        }
        let within = 1.0 - below - above;
        let half = self.margin / 2.0;
        let (below, above) = (below.max(half), above.max(half));
        let spare = (1.0 - below - above - within) / (below + within + above - 3.0 * half);
        let raised = |share: f64| (share + spare * (share - half)).clamp(1e-10, 0.5 - 1e-10);
        let (left, right) = (-normal_quantile(raised(below)), -normal_quantile(raised(above)));
        ((low * right + high * left) / (left + right), (high - low) / ((left + right) * deviation))
    }
}

/// Index of the nearest of `count` steps in [0, 1], the lower of two at equal distance.
fn index(value: f64, count: f64) -> f64 {
    (value * (count - 1.0) - 0.5).ceil().clamp(0.0, count - 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_neighbor_keeps_its_margin() {
        let margin = Margin::new(vec![Some(5.0), None], 6);
        for (mean, deviation) in [(0.5, 1e-6), (0.27, 1e-3), (0.0, 1e-5), (1.0, 1e-4), (0.6, 0.3)] {
            let (mean, stretch) = margin.coordinate(mean, 1.0, deviation, 5.0);
            let scale = stretch * deviation;
            let outside = |edge: f64| normal_cdf(-((mean - edge) / scale).abs());
            let place = index(mean, 5.0);
            let edges = [(place - 0.5) / 4.0, (place + 0.5) / 4.0];
            for edge in edges.into_iter().filter(|edge| (0.0..1.0).contains(edge)) {
                assert!(outside(edge) >= margin.margin / 2.0 * 0.999, "{mean} {deviation} {edge}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_step() {
        assert_eq!([0.0, 0.124, 0.125, 0.126, 0.99, 7.0].map(|x| index(x, 5.0)), [0.0, 0.0, 0.0, 1.0, 4.0, 4.0]);
    }
}
