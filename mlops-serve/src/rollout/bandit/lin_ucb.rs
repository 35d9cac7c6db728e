//! The linear model of one arm: ridge regression, kept up reward by reward.
//!
//! With A = ridge I + sum x x^T and b = sum r x, the forecast is theta x, theta = A^-1 b, and its upper bound
//! theta x + alpha sqrt(x^T A^-1 x) (Li et al. 2010, algorithm 1). A^-1 is updated by Sherman and Morrison (Ann. Math.
//! Stat. 21, 1950): A^-1 - (A^-1 x)(A^-1 x)^T / (1 + x^T A^-1 x), so a reward costs dimension^2.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LinearArm {
    dimension: usize,
    /// A^-1, row by row; symmetric.
    inverse: Vec<f64>,
    rewards: Vec<f64>,
}

impl LinearArm {
    pub(super) fn new(dimension: usize, ridge: f64) -> Self {
        let cell = |at: usize| if at / dimension == at % dimension { 1.0 / ridge } else { 0.0 };
        Self { dimension, inverse: (0..dimension * dimension).map(cell).collect(), rewards: vec![0.0; dimension] }
    }

    /// Numbers that the context lacks count as 0, those it has too many do not count.
    pub(super) fn upper_bound(&self, context: &[f64], alpha: f64) -> f64 {
        let turned = self.turned(context);
        // A^-1 is symmetric, so theta x = b (A^-1 x). Rounding may make the square a little negative.
        dot(&self.rewards, &turned) + alpha * dot(context, &turned).max(0.0).sqrt()
    }

    pub(super) fn learn(&mut self, context: &[f64], reward: f64) -> Result<()> {
        if context.len() != self.dimension || !context.iter().all(|value| value.is_finite()) {
            let (found, want) = (context.len(), self.dimension);
            return Err(Error::invalid_argument(format!(
                "a context has {want} finite numbers; found {found}, or some that are not finite"
            )));
        }
        let turned = self.turned(context);
        let scale = 1.0 + dot(context, &turned);
        for (row, &left) in self.inverse.chunks_mut(self.dimension.max(1)).zip(&turned) {
            for (cell, &right) in row.iter_mut().zip(&turned) {
                *cell -= left * right / scale;
            }
        }
        for (sum, &value) in self.rewards.iter_mut().zip(context) {
            *sum += reward * value;
        }
        Ok(())
    }

    /// A^-1 x.
    fn turned(&self, context: &[f64]) -> Vec<f64> {
        self.inverse.chunks(self.dimension.max(1)).map(|row| dot(row, context)).collect()
    }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy 2.4.6: `A = 0.5 I + X^T X`, `theta = solve(A, X^T r)`, `theta x + 1.3 sqrt(x solve(A, x))`, for 50 contexts
    /// `x_ij = ((31 i^2 + 17 i + 7 j i) mod 101) / 100`, j = 0..3, and rewards `(13 i mod 7) / 7`, i from 1.
    #[test]
    fn bounds_are_those_of_a_solved_regression() {
        let context = |i: u32| [0, 1, 2].map(|j| f64::from((31 * i * i + 17 * i + 7 * j * i) % 101) / 100.0);
        let mut arm = LinearArm::new(3, 0.5);
        for i in 1..=50 {
            arm.learn(&context(i), f64::from(13 * i % 7) / 7.0).unwrap();
        }
        for (i, expected) in [(1, 0.6176848862290779), (2, 0.808046648967796), (33, 0.7139225451529099)] {
            let found = arm.upper_bound(&context(i), 1.3);
            assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
        }
    }

    #[test]
    fn a_context_of_another_length_is_refused() {
        let mut arm = LinearArm::new(2, 1.0);
        let before = arm.clone();
        assert!(arm.learn(&[1.0], 1.0).is_err() && arm.learn(&[1.0, f64::NAN], 1.0).is_err());
        assert_eq!(arm, before);
    }
}
