//! A Gaussian process with Matern's kernel of smoothness 5/2, a length for each coordinate, and noise.
//!
//! `k(a, b) = scale (1 + r + r^2/3) e^-r` with `r^2 = 5 sum_j w_j d_j^2`; `d` is the difference of coordinates, or
//! whether choices differ (Hamming). Weights, scale and noise maximize the marginal likelihood times Optuna 5.0's
//! priors.

#![allow(clippy::indexing_slicing, reason = "rows are below the number of points, coordinates below the dimension")]

use super::{
    lbfgs::Descent,
    linalg::{cholesky, inverse, times},
};
use crate::strands::dot;

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

/// Weights, scale and noise of a kernel.
#[derive(Debug, Clone)]
pub(super) struct Hyperparameters {
    weights: Vec<f64>,
    scale: f64,
    noise: f64,
}

impl Hyperparameters {
    /// The most likely ones for points and standardized values. Takes time with the cube of the points, for each of
    /// some dozens of steps.
    pub(super) fn fit(points: &[Vec<f64>], values: &[f64], choices: &[bool]) -> Self {
        let pairs = pairs(points, choices);
        let start = vec![0.0; choices.len()].into_iter().chain([0.0, (0.01_f64 + 0.01 * NOISE_MIN).ln()]).collect();
        let descent = Descent { bounds: None, steps_max: 40, tolerance: 1e-2 };
        let (best, _) = descent.minimize(start, |raw| loss(raw, &pairs, values));
        let (weights, scale, noise) = unpack(&best);
        Self { weights, scale, noise }
    }
}

/// Squared differences of all pairs of points, row by row of the lower triangle.
fn pairs(points: &[Vec<f64>], choices: &[bool]) -> Vec<Vec<f64>> {
    points.iter().enumerate().flat_map(|(i, a)| points[..i].iter().map(move |b| squares(choices, a, b))).collect()
}

impl Process {
    /// The process that has seen standardized values at points; none when these leave no positive definite kernel
    /// matrix.
    pub(super) fn new(
        points: Vec<Vec<f64>>,
        values: &[f64],
        choices: Vec<bool>,
        hyperparameters: Hyperparameters,
    ) -> Option<Self> {
        let Hyperparameters { weights, scale, noise } = hyperparameters;
        let n = points.len();
        let lower = cholesky(kernel(&pairs(&points, &choices), &weights, scale, noise, n), n)?;
        let inverse = inverse(&lower, n);
        let dual = times(&inverse, values);
        Some(Self { points, choices, weights, scale, noise, inverse, dual })
    }

    /// Lets the process see its own mean at a point that still runs.
    ///
    /// The inverse grows by its border, with `v = K^-1 k` and the variance `s` of a value there: `K^-1 + v v'/s`,
    /// `-v/s` and
    /// `1/s` (time with the square of the points). The mean says nothing new, so the point's weight in later means is
    /// zero.
    pub(super) fn believe(&mut self, point: Vec<f64>) {
        let k = self.kernels(&point);
        let v = times(&self.inverse, &k);
        let s = (self.scale - dot(&k, &v)).max(0.0) + self.noise;
        let n = self.points.len();
        let mut inverse = Vec::with_capacity((n + 1) * (n + 1));
        for (row, &v_row) in self.inverse.chunks_exact(n).zip(&v) {
            inverse.extend(row.iter().zip(&v).map(|(value, v)| value + v_row * v / s));
            inverse.push(-v_row / s);
        }
        inverse.extend(v.iter().map(|v| -v / s));
        inverse.push(1.0 / s);
        self.inverse = inverse;
        self.dual.push(0.0);
        self.points.push(point);
    }

    fn kernels(&self, x: &[f64]) -> Vec<f64> {
        self.points.iter().map(|point| self.scale * matern(self.distance(x, point)).0).collect()
    }

    /// Length of each coordinate over which values change.
    pub(super) fn lengths(&self) -> Vec<f64> {
        self.weights.iter().map(|weight| 1.0 / weight.sqrt()).collect()
    }

    /// Mean and variance of the function at a point.
    pub(super) fn predict(&self, x: &[f64]) -> (f64, f64) {
        let k = self.kernels(x);
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
/// With `W = (K^-1 y)(K^-1 y)' - K^-1`, the likelihood's derivative in a parameter is `tr(W dK)/2` (Rasmussen and
/// Williams, "Gaussian Processes for Machine Learning", 5.9).
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
        let pairs = pairs(&points, &choices);
        let raw = [0.3, -0.4, 0.2, 0.1, -3.0];
        let (_, gradient) = loss(&raw, &pairs, &values);
        let process = fitted(12);
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

    fn fitted(n: usize) -> Process {
        let (points, values, choices) = data(n);
        let hyperparameters = Hyperparameters::fit(&points, &values, &choices);
        Process::new(points, &values, choices, hyperparameters).unwrap()
    }

    #[test]
    fn learns_a_smooth_function() {
        let process = fitted(40);
        let (mean, variance) = process.predict(&[0.5, 0.5, 1.0]);
        assert!((mean - (2.5_f64.sin() + 0.85)).abs() < 0.05 && variance < 0.01, "{mean} {variance}");
        let lengths = process.lengths();
        assert!(lengths[0] < lengths[1]);
    }

    #[test]
    fn believing_is_seeing_the_mean() {
        let process = fitted(40);
        let mut believed = process.clone();
        let (mut points, mut values, choices) = data(40);
        for x in [[0.5, 0.5, 1.0], [0.9, 0.1, 2.0], [0.5, 0.5, 1.0]] {
            let (mean, variance) = believed.predict(&x);
            believed.believe(x.to_vec());
            let (same, less) = believed.predict(&x);
            assert!((same - mean).abs() < 1e-9 && less < variance, "{same} {mean}, {less} {variance}");
            points.push(x.to_vec());
            values.push(mean);
        }
        let Process { weights, scale, noise, .. } = process;
        let seen = Process::new(points, &values, choices, Hyperparameters { weights, scale, noise }).unwrap();
        for x in [[0.2, 0.8, 0.0], [0.52, 0.5, 1.0], [0.9, 0.2, 2.0]] {
            let (found, expected) = (believed.predict(&x), seen.predict(&x));
            assert!(
                (found.0 - expected.0).abs() < 1e-7 && (found.1 - expected.1).abs() < 1e-7,
                "{found:?} {expected:?}"
            );
        }
    }
}
