//! The covariance matrix adaptation evolution strategy on real vectors: a normal distribution that moves to where the
//! better half of each generation lies.
//!
//! N. Hansen, "The CMA Evolution Strategy: A Tutorial" (arXiv:1604.00772); equation numbers are those of the tutorial.

#![allow(clippy::indexing_slicing, reason = "coordinates are below the dimension, members below the population")]

use super::eigen::eigen;
use crate::rng::SeededRng;

/// Keeps quotients by a squared length finite.
const TINY: f64 = 1e-8;

/// Settings that follow from dimension and population.
#[derive(Debug, Clone)]
struct Rates {
    weights: Vec<f64>,
    parents: usize,
    mu_eff: f64,
    cc: f64,
    c1: f64,
    cmu: f64,
    c_sigma: f64,
    d_sigma: f64,
    chi: f64,
}

/// The distribution and its paths.
#[derive(Debug, Clone)]
pub(super) struct Evolution {
    pub(super) dimension: usize,
    pub(super) population: usize,
    pub(super) generation: u64,
    pub(super) mean: Vec<f64>,
    pub(super) sigma: f64,
    pub(super) covariance: Vec<f64>,
    path_sigma: Vec<f64>,
    path: Vec<f64>,
    rates: Rates,
    /// Roots of the eigenvalues, and the eigenvectors.
    axes: (Vec<f64>, Vec<f64>),
}

impl Rates {
    fn new(dimension: usize, population: usize) -> Self {
        let n = dimension as f64;
        let parents = population / 2;
        let raw: Vec<f64> =
            (1..=population).map(|rank| ((population + 1) as f64 / 2.0).ln() - (rank as f64).ln()).collect();
        let effective = |raw: &[f64]| raw.iter().sum::<f64>().powi(2) / raw.iter().map(|w| w * w).sum::<f64>();
        let (mu_eff, mu_eff_minus) = (effective(&raw[..parents]), effective(&raw[parents..]));
        let c1 = 2.0 / ((n + 1.3).powi(2) + mu_eff);
        let cmu = (1.0 - c1 - TINY).min(2.0 * (mu_eff - 2.0 + 1.0 / mu_eff) / ((n + 2.0).powi(2) + mu_eff));
        let positive: f64 = raw.iter().filter(|w| **w > 0.0).sum();
        let negative: f64 = raw.iter().filter(|w| **w < 0.0).map(|w| -w).sum();
        // Equations 50 to 52.
        let alpha = (1.0 + c1 / cmu).min(1.0 + 2.0 * mu_eff_minus / (mu_eff + 2.0)).min((1.0 - c1 - cmu) / (n * cmu));
        let weights = raw.iter().map(|&w| if w >= 0.0 { w / positive } else { w * alpha / negative }).collect();
        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
        Self {
            weights,
            parents,
            mu_eff,
            cc: (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            c1,
            cmu,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (n + 1.0)).sqrt() - 1.0).max(0.0) + c_sigma,
            chi: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
        }
    }
}

impl Evolution {
    pub(super) fn new(mean: Vec<f64>, sigma: f64, population: usize) -> Self {
        let dimension = mean.len();
        let mut covariance = vec![0.0; dimension * dimension];
        (0..dimension).for_each(|at| covariance[at * dimension + at] = 1.0);
        Self {
            dimension,
            population,
            generation: 0,
            mean,
            sigma,
            axes: (vec![1.0; dimension], covariance.clone()),
            covariance,
            path_sigma: vec![0.0; dimension],
            path: vec![0.0; dimension],
            rates: Rates::new(dimension, population),
        }
    }

    /// A vector drawn from the distribution.
    pub(super) fn draw(&self, rng: &mut SeededRng) -> Vec<f64> {
        let scaled: Vec<f64> = self.axes.0.iter().map(|root| root * rng.normal()).collect();
        let y = self.times_vectors(&scaled);
        self.mean.iter().zip(y).map(|(mean, y)| mean + self.sigma * y).collect()
    }

    /// `B z`.
    fn times_vectors(&self, z: &[f64]) -> Vec<f64> {
        let n = self.dimension;
        (0..n).map(|i| (0..n).map(|k| self.axes.1[i * n + k] * z[k]).sum()).collect()
    }

    /// `C^(-1/2) y`.
    fn whiten(&self, y: &[f64]) -> Vec<f64> {
        let n = self.dimension;
        let rotated = |k: usize| (0..n).map(|i| self.axes.1[i * n + k] * y[i]).sum::<f64>() / self.axes.0[k];
        self.times_vectors(&(0..n).map(rotated).collect::<Vec<f64>>())
    }

    /// Learns from a generation, best first.
    pub(super) fn learn(&mut self, best_first: &[Vec<f64>]) {
        let n = self.dimension;
        let rates = self.rates.clone();
        self.generation += 1;
        let steps: Vec<Vec<f64>> = best_first
            .iter()
            .map(|x| x.iter().zip(&self.mean).map(|(x, mean)| (x - mean) / self.sigma).collect())
            .collect();
        let step: Vec<f64> = (0..n)
            .map(|i| steps.iter().zip(&rates.weights).take(rates.parents).map(|(y, weight)| weight * y[i]).sum())
            .collect();
        self.mean.iter_mut().zip(&step).for_each(|(mean, step)| *mean += self.sigma * step);

        // Step-size control.
        let gain = (rates.c_sigma * (2.0 - rates.c_sigma) * rates.mu_eff).sqrt();
        let white = self.whiten(&step);
        self.path_sigma.iter_mut().zip(&white).for_each(|(path, w)| *path = (1.0 - rates.c_sigma) * *path + gain * w);
        let length = self.path_sigma.iter().map(|p| p * p).sum::<f64>().sqrt();
        let spread = 1.0 - (1.0 - rates.c_sigma).powf(2.0 * (self.generation + 1) as f64);
        let moves = length / spread.sqrt() < (1.4 + 2.0 / (n as f64 + 1.0)) * rates.chi;

        // Covariance matrix adaptation.
        let h = if moves { 1.0 } else { 0.0 };
        let gain = h * (rates.cc * (2.0 - rates.cc) * rates.mu_eff).sqrt();
        self.path.iter_mut().zip(&step).for_each(|(path, y)| *path = (1.0 - rates.cc) * *path + gain * y);
        let active: Vec<f64> = steps
            .iter()
            .zip(&rates.weights)
            .map(|(y, &weight)| {
                let white = || self.whiten(y).iter().map(|w| w * w).sum::<f64>();
                if weight >= 0.0 { weight } else { weight * n as f64 / (white() + TINY) }
            })
            .collect();
        let lost = (1.0 - h) * rates.cc * (2.0 - rates.cc);
        let keep = 1.0 + rates.c1 * lost - rates.c1 - rates.cmu * rates.weights.iter().sum::<f64>();
        for i in 0..n {
            for j in 0..n {
                let many: f64 = steps.iter().zip(&active).map(|(y, weight)| weight * y[i] * y[j]).sum();
                let entry = &mut self.covariance[i * n + j];
                *entry = keep * *entry + rates.c1 * self.path[i] * self.path[j] + rates.cmu * many;
            }
        }
        self.sigma = (self.sigma * (rates.c_sigma / rates.d_sigma * (length / rates.chi - 1.0)).exp()).min(1e32);
        self.decompose();
    }

    fn decompose(&mut self) {
        let n = self.dimension;
        let (values, vectors) = eigen(&self.covariance, n);
        let roots: Vec<f64> =
            values.iter().map(|&value| if value < TINY * TINY { TINY } else { value.sqrt() }).collect();
        for i in 0..n {
            for j in 0..n {
                self.covariance[i * n + j] =
                    (0..n).map(|k| vectors[i * n + k] * roots[k] * roots[k] * vectors[j * n + k]).sum();
            }
        }
        self.axes = (roots, vectors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_bottom_of_a_turned_valley() {
        let valley = |x: &[f64]| (x[0] + x[1] - 1.0).powi(2) * 1e4 + (x[0] - x[1]).powi(2) + x[2].powi(2);
        let mut evolution = Evolution::new(vec![3.0, -2.0, 1.0], 1.0, 7);
        let mut rng = SeededRng::new(1, 0);
        for _ in 0..150 {
            let mut generation: Vec<Vec<f64>> = (0..7).map(|_| evolution.draw(&mut rng)).collect();
            generation.sort_by(|a, b| valley(a).total_cmp(&valley(b)));
            evolution.learn(&generation);
        }
        assert!(valley(&evolution.mean) < 1e-12, "{:?}", evolution.mean);
    }
}
