//! Newton's method with step halving on
//! `f(w, b) = (sum_i c_i loss(x_i w + b, y_i) + l2 / 2 |w|^2) / sum_i c_i`.
//!
//! Invariant: `f` never rises from one step to the next; sums run in row order.

#![allow(clippy::indexing_slicing, reason = "parameters are as many as columns plus the intercept")]

use mlops_core::{Error, Result};

use super::{cholesky, settings::LinearSettings};
use crate::{
    data::{TableDataset, Task},
    gbdt::loss::{base_score, derivatives, loss},
    preprocess::Matrix,
    trainer::{FitContext, Progress},
};

/// Numbers per row at most: the second derivatives take the square of it.
pub(crate) const WIDTH_MAX: usize = 4_096;

/// How often a step is halved before the method gives up on it.
const HALVINGS_MAX: usize = 40;

/// Coefficients by column, the intercept, and how many steps it took.
#[derive(Debug)]
pub(crate) struct Solution {
    pub(crate) coefficients: Vec<f64>,
    pub(crate) intercept: f64,
    pub(crate) steps: usize,
}

/// The function that is minimized; parameters are the coefficients and then the intercept.
struct Objective<'a> {
    data: &'a TableDataset,
    matrix: &'a Matrix,
    weight_sum: f64,
    l2: f64,
}

/// Minimizes.
///
/// # Errors
/// `InvalidArgument` for too many columns, `FailedPrecondition` when the minimum is not reached,
/// `Cancelled`.
pub(crate) fn minimize(
    data: &TableDataset,
    matrix: &Matrix,
    settings: &LinearSettings,
    context: &FitContext,
) -> Result<Solution> {
    let width = matrix.columns();
    if width > WIDTH_MAX {
        return Err(Error::invalid_argument(format!(
            "a linear model takes at most {WIDTH_MAX} numbers per row, the columns give {width}; keep fewer categories or features"
        )));
    }
    let objective = Objective::new(data, matrix, settings.l2);
    let mut at = vec![0.0; width + 1];
    at[width] = base_score(data.task(), (0..data.rows()).map(|row| (data.labels()[row], objective.weight(row))));
    let mut value = objective.value(&at);
    for step in 0..settings.steps_max {
        context.check_cancelled()?;
        let (gradient, mut curvature) = objective.derivatives(&at);
        if gradient.iter().all(|entry| entry.abs() <= settings.tolerance) {
            return Ok(Solution { intercept: at.pop().unwrap_or_default(), coefficients: at, steps: step });
        }
        let mut direction = gradient;
        cholesky::solve(&mut curvature, &mut direction);
        let Some((next, lower)) = descend(&objective, &at, &direction, value) else {
            // Rounding forbids any further descent: this is the minimum in double precision.
            return Ok(Solution { intercept: at.pop().unwrap_or_default(), coefficients: at, steps: step });
        };
        (at, value) = (next, lower);
        context.report(&Progress {
            step: step + 1,
            steps_max: settings.steps_max,
            train_loss: value,
            valid_loss: None,
        });
    }
    Err(Error::failed_precondition(format!(
        "the linear model did not converge within {} steps; raise l2 or steps_max",
        settings.steps_max
    )))
}

/// The first of the steps 1, 1/2, 1/4... along `direction` that lowers the value.
fn descend(objective: &Objective<'_>, at: &[f64], direction: &[f64], value: f64) -> Option<(Vec<f64>, f64)> {
    let mut length = 1.0;
    for _ in 0..HALVINGS_MAX {
        let next: Vec<f64> = at.iter().zip(direction).map(|(at, step)| at - length * step).collect();
        let lower = objective.value(&next);
        if lower < value {
            return Some((next, lower));
        }
        length /= 2.0;
    }
    None
}

impl<'a> Objective<'a> {
    fn new(data: &'a TableDataset, matrix: &'a Matrix, l2: f64) -> Self {
        let weight_sum = data.weights().map_or(data.rows() as f64, |weights| weights.iter().sum());
        Self { data, matrix, weight_sum, l2 }
    }

    fn weight(&self, row: usize) -> f64 {
        self.data.weights().map_or(1.0, |weights| weights[row])
    }

    fn score(&self, at: &[f64], row: usize) -> f64 {
        predict_row(&at[..self.matrix.columns()], at[self.matrix.columns()], self.matrix.row(row))
    }

    fn value(&self, at: &[f64]) -> f64 {
        let (task, labels) = (self.data.task(), self.data.labels());
        let rows = 0..self.data.rows();
        let losses: f64 = rows.map(|row| self.weight(row) * loss(task, self.score(at, row), labels[row])).sum();
        let squares: f64 = at[..self.matrix.columns()].iter().map(|value| value * value).sum();
        (losses + 0.5 * self.l2 * squares) / self.weight_sum
    }

    /// Gradient, and the lower triangle of the second derivatives, row-major.
    fn derivatives(&self, at: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let width = self.matrix.columns();
        let size = width + 1;
        let mut gradient = vec![0.0; size];
        let mut curvature = vec![0.0; size * size];
        let mut extended = vec![1.0; size];
        for row in 0..self.data.rows() {
            let label = self.data.labels()[row];
            let slope = derivatives(self.data.task(), self.score(at, row), label, self.weight(row));
            extended[..width].copy_from_slice(self.matrix.row(row));
            for (index, &value) in extended.iter().enumerate() {
                gradient[index] += slope.gradient * value;
                let scaled = slope.curvature * value;
                let line = &mut curvature[index * size..=index * size + index];
                line.iter_mut().zip(&extended).for_each(|(sum, other)| *sum += scaled * other);
            }
        }
        for (index, (sum, value)) in gradient.iter_mut().zip(at).take(width).enumerate() {
            *sum += self.l2 * value;
            curvature[index * size + index] += self.l2;
        }
        gradient.iter_mut().chain(&mut curvature).for_each(|value| *value /= self.weight_sum);
        (gradient, curvature)
    }
}

/// `x w + b`, summed in column order.
pub(crate) fn predict_row(coefficients: &[f64], intercept: f64, row: &[f64]) -> f64 {
    intercept + coefficients.iter().zip(row).map(|(weight, value)| weight * value).sum::<f64>()
}

/// The score of a task's loss as what a model gives: a probability or the prediction itself.
pub(crate) fn finish(task: Task, score: f64) -> f64 {
    match task {
        Task::BinaryClassification => crate::gbdt::loss::sigmoid(score),
        Task::Regression => score,
    }
}
