//! A Gaussian process with Matern's kernel of smoothness 5/2, a length for each coordinate, and noise.
//!
//! `k(a, b) = scale (1 + r + r^2/3) e^-r` with `r^2 = 5 sum_j w_j d_j^2`; `d` is the difference of coordinates, or whether
//! choices differ (Hamming). Weights, scale and noise maximize the marginal likelihood times Optuna 5.0's priors.

#![allow(clippy::indexing_slicing, reason = "rows are below the number of points, coordinates below the dimension")]

use super::{
    lbfgs::Descent,
    linalg::{cholesky, inverse, times},
};
use crate::search::strands::dot;

/// Least variance of noise on standardized values.
const NOISE_MIN: f64 = 1e-6;

/// A process that has been fitted to points and standardized values.
#[derive(Debug, Clone)]
pub(super) struct Process {
    points: Vec<Vec<f64>>,
    choices: Vec<bool>,
    weights: Vec<f64>,
    scale: f64,
    noise: f64,
    inverse: Vec<f64>,
    /// `K^-1 y`.
    dual: Vec<f64>,
}

/// Mean and variance at a point with their gradients.
#[derive(Debug, Clone)]
pub(super) struct Posterior {
    pub(super) mean: f64,
    pub(super) variance: f64,
    pub(super) mean_slope: Vec<f64>,
    pub(super) variance_slope: Vec<f64>,
}

/// Matern's kernel at a squared distance, and its derivative with respect to that.
fn matern(squared: f64) -> (f64, f64) {
    let r = (5.0 * squared).sqrt();
    let decay = (-r).exp();
    (decay * (5.0 / 3.0 * squared + r + 1.0), -5.0 / 6.0 * (r + 1.0) * decay)
}

fn squares(choices: &[bool], a: &[f64], b: &[f64]) -> Vec<f64> {
    let square = |((&a, &b), &choice): ((&f64, &f64), &bool)| match choice {
        true => f64::from(u8::from(a != b)),
        false => (a - b) * (a - b),
    };
    a.iter().zip(b).zip(choices).map(square).collect()
}

impl Process {
    /// Fits a process; none when the points leave no positive definite kernel matrix.
    pub(super) fn fit(points: Vec<Vec<f64>>, values: &[f64], choices: Vec<bool>) -> Option<Self> {
        let (n, d) = (points.len(), choices.len());
        let pairs: Vec<Vec<f64>> = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| squares(&choices, &points[i], &points[j]))
            .collect();
        let start = vec![0.0; d].into_iter().chain([0.0, (0.01_f64 + 0.01 * NOISE_MIN).ln()]).collect();
        let descent = Descent { bounds: None, steps_max: 40, tolerance: 1e-2 };
        let (best, _) = descent.minimize(start, |raw| loss(raw, &pairs, values));
        let (weights, scale, noise) = unpack(&best);
        let lower = cholesky(kernel(&pairs, &weights, scale, noise, n), n)?;
        let inverse = inverse(&lower, n);
        let dual = times(&inverse, values);
        Some(Self { points, choices, weights, scale, noise, inverse, dual })
    }

    /// The process after it has seen its own mean at a point that still runs.
    pub(super) fn believe(&self, point: Vec<f64>) -> Option<Self> {
        let mean = self.posterior(&point).mean;
        let mut points = self.points.clone();
        let mut values: Vec<f64> = (0..points.len()).map(|row| self.value(row)).collect();
        points.push(point);
        values.push(mean);
        let n = points.len();
        let pairs: Vec<Vec<f64>> = (0..n)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| squares(&self.choices, &points[i], &points[j]))
            .collect();
        let inverse = inverse(&cholesky(kernel(&pairs, &self.weights, self.scale, self.noise, n), n)?, n);
        let dual = times(&inverse, &values);
        Some(Self { points, inverse, dual, ..self.clone() })
    }

    /// The value the process was fitted to at a point: `y = K K^-1 y`.
    fn value(&self, row: usize) -> f64 {
        self.posterior(&self.points[row]).mean + self.noise * self.dual[row]
    }

    /// Length of each coordinate over which values change.
    pub(super) fn lengths(&self) -> Vec<f64> {
        self.weights.iter().map(|weight| 1.0 / weight.sqrt()).collect()
    }

    /// Mean and variance of the function at a point.
    pub(super) fn predict(&self, x: &[f64]) -> (f64, f64) {
        let k: Vec<f64> = self.points.iter().map(|point| self.scale * matern(self.distance(x, point)).0).collect();
        (dot(&k, &self.dual), (self.scale - dot(&k, &times(&self.inverse, &k))).max(0.0))
    }

    fn distance(&self, a: &[f64], b: &[f64]) -> f64 {
        let square = |at: usize| match self.choices[at] {
            true => f64::from(u8::from(a[at] != b[at])),
            false => (a[at] - b[at]) * (a[at] - b[at]),
        };
        (0..a.len()).map(|at| self.weights[at] * square(at)).sum()
    }

    /// The same with gradients; those of choices are zero.
    pub(super) fn posterior(&self, x: &[f64]) -> Posterior {
        let kernels: Vec<(f64, f64)> = self.points.iter().map(|point| matern(self.distance(x, point))).collect();
        let k: Vec<f64> = kernels.iter().map(|(value, _)| self.scale * value).collect();
        let solved = times(&self.inverse, &k);
        let (mut mean_slope, mut variance_slope) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for (row, point) in self.points.iter().enumerate() {
            let steep = 2.0 * self.scale * kernels[row].1;
            for at in (0..x.len()).filter(|&at| !self.choices[at]) {
                let slope = steep * self.weights[at] * (x[at] - point[at]);
                mean_slope[at] += self.dual[row] * slope;
                variance_slope[at] -= 2.0 * solved[row] * slope;
            }
        }
        let variance = (self.scale - dot(&k, &solved)).max(0.0);
        Posterior { mean: dot(&k, &self.dual), variance, mean_slope, variance_slope }
    }
}

/// Weights, scale and noise from their logarithms.
fn unpack(raw: &[f64]) -> (Vec<f64>, f64, f64) {
    let d = raw.len() - 2;
    (raw[..d].iter().map(|w| w.exp()).collect(), raw[d].exp(), raw[d + 1].exp() + NOISE_MIN)
}

fn kernel(pairs: &[Vec<f64>], weights: &[f64], scale: f64, noise: f64, n: usize) -> Vec<f64> {
    let mut matrix = vec![0.0; n * n];
    let mut pairs = pairs.iter();
    for i in 0..n {
        for j in 0..i {
            let squared = pairs.next().map_or(0.0, |squares| dot(squares, weights));
            let value = scale * matern(squared).0;
            matrix[i * n + j] = value;
            matrix[j * n + i] = value;
        }
        matrix[i * n + i] = scale + noise;
    }
    matrix
}

/// Negative logarithm of marginal likelihood and priors, with its gradient in the raw parameters.
///
/// With `W = (K^-1 y)(K^-1 y)' - K^-1`, the likelihood's derivative in a parameter is `tr(W dK)/2` (Rasmussen and Williams,
/// "Gaussian Processes for Machine Learning", 5.9).
fn loss(raw: &[f64], pairs: &[Vec<f64>], values: &[f64]) -> (f64, Vec<f64>) {
    let (n, d) = (values.len(), raw.len() - 2);
    let (weights, scale, noise) = unpack(raw);
    let failed = || (f64::INFINITY, vec![0.0; d + 2]);
    if !raw.iter().all(|value| value.abs() < 50.0) {
        return failed();
    }
    let Some(lower) = cholesky(kernel(pairs, &weights, scale, noise, n), n) else { return failed() };
    let inverse = inverse(&lower, n);
    let dual = times(&inverse, values);
    let log_root: f64 = (0..n).map(|at| lower[at * n + at].ln()).sum();
    let mut value = log_root + 0.5 * dot(values, &dual);
    let mut gradient = vec![0.0; d + 2];
    let mut rows = pairs.iter();
    for i in 0..n {
        for j in 0..i {
            let Some(squares) = rows.next() else { continue };
            let w = dual[i] * dual[j] - inverse[i * n + j];
            let (kernel, slope) = matern(dot(squares, &weights));
            gradient[d] -= w * scale * kernel;
            for at in 0..d {
                gradient[at] -= w * scale * slope * squares[at] * weights[at];
            }
        }
        let w = dual[i] * dual[i] - inverse[i * n + i];
        gradient[d] -= 0.5 * w * scale;
        gradient[d + 1] -= 0.5 * w * (noise - NOISE_MIN);
    }
    for at in 0..d {
        value += 0.1 / weights[at] + 0.1 * weights[at];
        gradient[at] += -0.1 / weights[at] + 0.1 * weights[at];
    }
    // Gamma(2, 1) for the scale, Gamma(1.1, 30) for the noise.
    value += scale - scale.ln() + 30.0 * noise - 0.1 * noise.ln();
    gradient[d] += scale - 1.0;
    gradient[d + 1] += (30.0 - 0.1 / noise) * (noise - NOISE_MIN);
    (value, gradient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    fn data(n: usize) -> (Vec<Vec<f64>>, Vec<f64>, Vec<bool>) {
        let mut rng = SeededRng::new(3, 0);
        let points: Vec<Vec<f64>> = (0..n).map(|_| vec![rng.uniform(), rng.uniform(), rng.below(3) as f64]).collect();
        let values =
            points.iter().map(|p| (5.0 * p[0]).sin() + 0.1 * p[1] + if p[2] == 1.0 { 0.8 } else { 0.0 }).collect();
        (points, values, vec![false, false, true])
    }

    #[test]
    fn gradients_are_those_of_differences() {
        let (points, values, choices) = data(12);
        let pairs: Vec<Vec<f64>> = (0..12)
            .flat_map(|i| (0..i).map(move |j| (i, j)))
            .map(|(i, j)| squares(&choices, &points[i], &points[j]))
            .collect();
        let raw = [0.3, -0.4, 0.2, 0.1, -3.0];
        let (_, gradient) = loss(&raw, &pairs, &values);
        let process = Process::fit(points, &values, choices).unwrap();
        let x = [0.31, 0.77, 1.0];
        let posterior = process.posterior(&x);
        for at in 0..5 {
            let moved = |by: f64| {
                let mut raw = raw;
                raw[at] += by;
                loss(&raw, &pairs, &values).0
            };
            assert!(((moved(1e-5) - moved(-1e-5)) / 2e-5 - gradient[at]).abs() < 1e-5, "parameter {at}");
            if at < 2 {
                let moved = |by: f64| {
                    let mut x = x;
                    x[at] += by;
                    process.predict(&x)
                };
                let (up, down) = (moved(1e-6), moved(-1e-6));
                assert!(((up.0 - down.0) / 2e-6 - posterior.mean_slope[at]).abs() < 1e-5);
                assert!(((up.1 - down.1) / 2e-6 - posterior.variance_slope[at]).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn learns_a_smooth_function() {
        let (points, values, choices) = data(40);
        let process = Process::fit(points, &values, choices).unwrap();
        let (mean, variance) = process.predict(&[0.5, 0.5, 1.0]);
        assert!((mean - (2.5_f64.sin() + 0.85)).abs() < 0.05 && variance < 0.01, "{mean} {variance}");
        let lengths = process.lengths();
        assert!(lengths[0] < lengths[1]);
        let believed = process.believe(vec![0.5, 0.5, 1.0]).unwrap();
        let (same, less) = believed.predict(&[0.5, 0.5, 1.0]);
        assert!((same - mean).abs() < 1e-6 && less < variance, "{same} {mean}, {less} {variance}");
    }
}
