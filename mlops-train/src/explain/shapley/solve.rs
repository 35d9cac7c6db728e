//! Weighted least squares under the condition that contributions sum up.
//!
//! With `A = sum of w z z'` and `b = sum of w z (v(z) - v(none))` over coalitions `z`, the solution
//! is `A^-1 (b - lambda 1)` with `lambda = (1' A^-1 b - total) / (1' A^-1 1)` (Covert and Lee 2021,
//! "Improving KernelSHAP").

#![allow(clippy::indexing_slicing, reason = "matrices are square of the size they were made with")]

use mlops_core::{Error, Result};

/// A symmetric matrix being summed up.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    size: usize,
    cells: Vec<f64>,
}

impl Moments {
    pub(super) fn zeros(size: usize) -> Self {
        Self { size, cells: vec![0.0; size * size] }
    }

    /// Adds `weight z z'`.
    pub(super) fn add(&mut self, weight: f64, coalition: &[bool]) {
        for (row, _) in coalition.iter().enumerate().filter(|(_, known)| **known) {
            let cells = &mut self.cells[row * self.size..(row + 1) * self.size];
            cells.iter_mut().zip(coalition).filter(|(_, known)| **known).for_each(|(cell, _)| *cell += weight);
        }
    }

    /// `self + factor * other`.
    pub(super) fn plus(&self, factor: f64, other: &Self) -> Self {
        let cells = self.cells.iter().zip(&other.cells).map(|(a, b)| a + factor * b).collect();
        Self { size: self.size, cells }
    }

    /// Cholesky's factor.
    ///
    /// # Errors
    /// `FailedPrecondition` when coalitions do not tell the groups apart.
    pub(super) fn factorize(mut self) -> Result<Factor> {
        let n = self.size;
        for column in 0..n {
            for row in column..n {
                let dot: f64 = (0..column).map(|k| self.cells[row * n + k] * self.cells[column * n + k]).sum();
                let rest = self.cells[row * n + column] - dot;
                if row > column {
                    self.cells[row * n + column] = rest / self.cells[column * n + column];
                } else if rest > 0.0 {
                    self.cells[row * n + column] = rest.sqrt();
                } else {
                    let message = "too few coalitions to tell the groups of features apart; allow more";
                    return Err(Error::failed_precondition(message));
                }
            }
        }
        let mut factor = Factor { size: n, cells: self.cells, ones: vec![1.0; n], ones_sum: 0.0 };
        factor.ones = factor.solve(vec![1.0; n]);
        factor.ones_sum = factor.ones.iter().sum();
        Ok(factor)
    }
}

/// A factorized matrix that solves for many right sides.
#[derive(Debug)]
pub(super) struct Factor {
    size: usize,
    cells: Vec<f64>,
    /// `A^-1 1` and its sum.
    ones: Vec<f64>,
    ones_sum: f64,
}

impl Factor {
    /// Values that sum up to `total`.
    pub(super) fn values(&self, right: Vec<f64>, total: f64) -> Vec<f64> {
        let free = self.solve(right);
        let excess = (free.iter().sum::<f64>() - total) / self.ones_sum;
        free.iter().zip(&self.ones).map(|(value, one)| value - excess * one).collect()
    }

    fn solve(&self, mut x: Vec<f64>) -> Vec<f64> {
        let n = self.size;
        for row in 0..n {
            let dot: f64 = (0..row).map(|k| self.cells[row * n + k] * x[k]).sum();
            x[row] = (x[row] - dot) / self.cells[row * n + row];
        }
        for row in (0..n).rev() {
            let dot: f64 = (row + 1..n).map(|k| self.cells[k * n + row] * x[k]).sum();
            x[row] = (x[row] - dot) / self.cells[row * n + row];
        }
        x
    }
}
