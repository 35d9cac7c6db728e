//! A density over parameters from observed ones: one kernel per observation and one prior.
//!
//! Invariant: every kernel is a product over parameters, all components have positive density
//! everywhere in the space, and weights sum to one. Follows Optuna 5.0: truncated normals whose
//! width is the larger gap to a neighbor, choices smoothed by one prior pseudo-count.

#![allow(
    clippy::indexing_slicing,
    reason = "component and parameter indices are below the lengths built in Parzen::new"
)]

use mlops_metrics::stats::normal_cdf;

use super::space::ParamSpace;
use crate::rng::SeededRng;

/// Kernels of one parameter, one per component.
enum Kernels {
    Number { low: f64, high: f64, whole: Option<(f64, f64, bool)>, means: Vec<f64>, widths: Vec<f64> },
    Choice { probabilities: Vec<Vec<f64>> },
}

/// A mixture of product kernels.
pub(super) struct Parzen {
    weights: Vec<f64>,
    kernels: Vec<Kernels>,
}

/// Weights of observations in order of their trials: all one below 25, else rising linearly from
/// `1/n` to one for all but the latest 25.
fn ages(n: usize) -> Vec<f64> {
    const FULL: usize = 25;
    let ramp = n.saturating_sub(FULL);
    let rise = |index: usize| {
        let least = 1.0 / n as f64;
        if ramp < 2 { least } else { least + (1.0 - least) * index as f64 / (ramp - 1) as f64 }
    };
    (0..n).map(|index| if index < ramp { rise(index) } else { 1.0 }).collect()
}

impl Parzen {
    /// The density after observing `points`, one point per parameter, in order of their trials.
    pub(super) fn new(spaces: &[&ParamSpace], points: &[Vec<f64>]) -> Self {
        let mut weights = ages(points.len());
        weights.push(1.0);
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= total);
        let kernels = spaces.iter().enumerate().map(|(index, space)| {
            let observed: Vec<f64> = points.iter().map(|point| point[index]).collect();
            Kernels::new(space, observed)
        });
        Self { weights, kernels: kernels.collect() }
    }

    /// A point drawn from the density.
    pub(super) fn draw(&self, rng: &mut SeededRng) -> Vec<f64> {
        let component = pick(&self.weights, rng);
        self.kernels.iter().map(|kernels| kernels.draw(component, rng)).collect()
    }

    /// The logarithm of the density at a point.
    pub(super) fn log_density(&self, point: &[f64]) -> f64 {
        let component = |(index, weight): (usize, &f64)| {
            let product: f64 = self.kernels.iter().zip(point).map(|(k, &value)| k.log_density(index, value)).sum();
            weight.ln() + product
        };
        let terms: Vec<f64> = self.weights.iter().enumerate().map(component).collect();
        let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return largest;
        }
        largest + terms.iter().map(|term| (term - largest).exp()).sum::<f64>().ln()
    }
}

fn pick(weights: &[f64], rng: &mut SeededRng) -> usize {
    let mut left = rng.uniform() * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return index;
        }
    }
    weights.len() - 1
}

impl Kernels {
    fn new(space: &ParamSpace, observed: Vec<f64>) -> Self {
        match (space, space.interval()) {
            (ParamSpace::Categorical { choices }, _) => Self::choices(choices.len(), &observed),
            (_, Some((low, high))) => Self::numbers(space, low, high, observed),
            (_, None) => Self::choices(1, &observed),
        }
    }

    fn choices(count: usize, observed: &[f64]) -> Self {
        let components = (observed.len() + 1) as f64;
        let row = |seen: Option<usize>| {
            let mut row = vec![1.0 / components; count];
            if let Some(slot) = seen.and_then(|seen| row.get_mut(seen)) {
                *slot += 1.0;
            }
            let total: f64 = row.iter().sum();
            row.iter().map(|value| value / total).collect()
        };
        let seen = observed.iter().map(|&value| Some(value as usize));
        Self::Choice { probabilities: seen.chain([None]).map(row).collect() }
    }

    fn numbers(space: &ParamSpace, low: f64, high: f64, observed: Vec<f64>) -> Self {
        let whole = match space {
            ParamSpace::Int { low, high, log } => Some((*low as f64, *high as f64, *log)),
            _ => None,
        };
        let mut widths = gaps(&observed, low, high);
        let mut means = observed;
        means.push(low + (high - low) / 2.0);
        widths.push(high - low);
        Self::Number { low, high, whole, means, widths }
    }

    fn draw(&self, component: usize, rng: &mut SeededRng) -> f64 {
        match self {
            Self::Choice { probabilities } => pick(&probabilities[component], rng) as f64,
            Self::Number { low, high, whole, means, widths } => {
                let point = truncated_normal(means[component], widths[component], *low, *high, rng);
                match whole {
                    None => point,
                    Some((least, most, log)) => {
                        let value = if *log { point.exp() } else { point }.round().clamp(*least, *most);
                        if *log { value.ln() } else { value }
                    }
                }
            }
        }
    }

    fn log_density(&self, component: usize, point: f64) -> f64 {
        match self {
            Self::Choice { probabilities } => probabilities[component][point as usize].ln(),
            Self::Number { low, high, whole, means, widths } => {
                let (mean, width) = (means[component], widths[component]);
                let mass = |from: f64, to: f64| normal_mass((from - mean) / width, (to - mean) / width);
                let inside = mass(*low, *high).ln();
                match whole {
                    None => {
                        let z = (point - mean) / width;
                        -0.5 * z * z - (width * std::f64::consts::TAU.sqrt()).ln() - inside
                    }
                    Some((_, _, log)) => {
                        let value = if *log { point.exp() } else { point };
                        let edge = |value: f64| if *log { value.ln() } else { value };
                        mass(edge(value - 0.5), edge(value + 0.5)).ln() - inside
                    }
                }
            }
        }
    }
}

/// Probability of a standard normal between two points, from the side that loses no digits.
fn normal_mass(from: f64, to: f64) -> f64 {
    if from > 0.0 { normal_cdf(-from) - normal_cdf(-to) } else { normal_cdf(to) - normal_cdf(from) }
}

/// A normal number between bounds that hold its mean, by rejection: at least one in three draws
/// is accepted since no width exceeds the interval.
fn truncated_normal(mean: f64, width: f64, low: f64, high: f64, rng: &mut SeededRng) -> f64 {
    for _ in 0..1_000 {
        let value = mean + width * rng.normal();
        if (low..=high).contains(&value) {
            return value;
        }
    }
    mean
}

/// Kernel widths: the larger distance to a neighbor among observations, where the first and last
/// of two or more have only their inner one; within `range / min(100, 1 + kernels)` and the range.
fn gaps(observed: &[f64], low: f64, high: f64) -> Vec<f64> {
    let n = observed.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| observed[a].total_cmp(&observed[b]));
    let least = (high - low) / f64::min(100.0, (n + 2) as f64);
    let mut widths = vec![0.0; n];
    for (rank, &index) in order.iter().enumerate() {
        let left = if rank > 0 { observed[order[rank - 1]] } else { low };
        let right = if rank + 1 < n { observed[order[rank + 1]] } else { high };
        let (left, right) = (observed[index] - left, right - observed[index]);
        let width = match (rank, n) {
            (_, 1) => left.max(right),
            (0, _) => right,
            (rank, n) if rank + 1 == n => left,
            _ => left.max(right),
        };
        widths[index] = width.clamp(least, high - low);
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::SearchSpace;

    #[test]
    fn widths_follow_the_neighbors() {
        // Range 10, four observations: least width 10 / 6.
        assert_eq!(gaps(&[9.0, 1.0, 4.0, 4.1], 0.0, 10.0), [4.9, 3.0, 3.0, 4.9].map(|w: f64| w.max(10.0 / 6.0)));
        assert_eq!(gaps(&[3.0], 0.0, 10.0), [7.0]);
    }

    #[test]
    fn young_trials_weigh_fully() {
        assert_eq!(ages(3), [1.0; 3]);
        let weights = ages(28);
        assert_eq!(weights[..4], [1.0 / 28.0, (1.0 / 28.0 + 1.0) / 2.0, 1.0, 1.0]);
    }

    #[test]
    fn densities_sum_to_one() {
        let space =
            SearchSpace::new().with_float("x", -1.0, 3.0).with_log_int("n", 1, 20).with_categorical("c", [1, 2, 3]);
        let spaces: Vec<&ParamSpace> = space.iter().map(|(_, space)| space).collect();
        // Names order the parameters: c, n, x.
        let points = [vec![0.0, 2.0_f64.ln(), 0.5], vec![2.0, 15.0_f64.ln(), 2.5], vec![2.0, 0.0, 2.9]];
        let parzen = Parzen::new(&spaces, &points);
        let mut total = 0.0;
        for choice in 0..3 {
            for n in 1..=20 {
                for step in 0..200 {
                    let x = -1.0 + 4.0 * (f64::from(step) + 0.5) / 200.0;
                    total += parzen.log_density(&[f64::from(choice), f64::from(n).ln(), x]).exp() * 4.0 / 200.0;
                }
            }
        }
        assert!((total - 1.0).abs() < 1e-4, "{total}");
    }

    #[test]
    fn draws_stay_inside() {
        let space = SearchSpace::new().with_int("n", -2, 2).with_float("x", 0.0, 1.0);
        let spaces: Vec<&ParamSpace> = space.iter().map(|(_, space)| space).collect();
        let parzen = Parzen::new(&spaces, &[vec![-2.0, 1.0], vec![2.0, 0.0]]);
        let mut rng = SeededRng::new(4, 0);
        for _ in 0..1_000 {
            let point = parzen.draw(&mut rng);
            assert!((-2.0..=2.0).contains(&point[0]) && point[0].fract() == 0.0);
            assert!((0.0..=1.0).contains(&point[1]));
            assert!(parzen.log_density(&point).is_finite());
        }
    }
}
