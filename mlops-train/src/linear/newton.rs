//! Newton's method with step halving on
//! `f(w, b) = (sum_i c_i loss(x_i w + b, y_i) + l2 / 2 |w|^2) / sum_i c_i`.
//!
//! Many rows are started from the minimum over a share of them, which saves most passes over all. A
//! pass computes value and derivatives at once, for a full step is nearly always taken.
//!
//! Invariant: `f` never rises from one step to the next; sums run in row order.

#![allow(clippy::indexing_slicing, reason = "parameters are as many as columns plus the intercept")]

use mlops_core::{Error, Result};

use super::{
    cholesky,
    passes::{Evaluation, Objective},
    settings::LinearSettings,
};
use crate::{
    data::{TableDataset, Task},
    gbdt::loss::base_score,
    preprocess::Matrix,
    trainer::{FitContext, Progress},
};

/// Numbers per row at most: the second derivatives take the square of it.
pub(crate) const WIDTH_MAX: usize = 4_096;

/// How often a step is halved before the method gives up on it.
const HALVINGS_MAX: usize = 40;

/// Rows that a start is looked for with, where there are four times as many, and steps for it.
const START_ROWS: usize = 8_192;
const START_STEPS: usize = 8;

/// Coefficients by column, the intercept, and how many steps it took.
#[derive(Debug)]
pub(crate) struct Solution {
    pub(crate) coefficients: Vec<f64>,
    pub(crate) intercept: f64,
    pub(crate) steps: usize,
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
            "a linear model takes at most {WIDTH_MAX} numbers per row, the columns give {width}; keep fewer \
             categories or features"
        )));
    }
    let objective = Objective::new(data, matrix, settings.l2);
    let tolerance = settings.tolerance * data.label_variance().sqrt().min(1.0);
    let mut at = start(&objective, data, width, context)?;
    let mut here = objective.evaluate(&at);
    for step in 0..settings.steps_max {
        context.check_cancelled()?;
        let is_minimum = here.gradient.iter().all(|entry| entry.abs() <= tolerance);
        let next = if is_minimum { None } else { descend(&objective, &at, &mut here) };
        let Some((lower, reached)) = next else {
            // Either the gradient vanishes or rounding forbids any further descent: this is the minimum
            // in double precision.
            return Ok(Solution { intercept: at.pop().unwrap_or_default(), coefficients: at, steps: step });
        };
        (at, here) = (lower, reached);
        context.report(&Progress {
            step: step + 1,
            steps_max: settings.steps_max,
            train_loss: here.value,
            valid_loss: None,
        });
    }
    Err(Error::failed_precondition(format!(
        "the linear model did not converge within {} steps; raise l2 or steps_max",
        settings.steps_max
    )))
}

/// Where to start: no coefficients, or what a share of the rows says if that is better for all.
fn start(objective: &Objective<'_>, data: &TableDataset, width: usize, context: &FitContext) -> Result<Vec<f64>> {
    let mut plain = vec![0.0; width + 1];
    plain[width] = base_score(data.task(), (0..data.rows()).map(|row| (data.labels()[row], data.weight(row))));
    let stride = data.rows() / START_ROWS;
    // A line through numbers is found in one step from anywhere.
    if stride < 4 || data.task() == Task::Regression {
        return Ok(plain);
    }
    let few = objective.every(stride);
    let mut at = plain.clone();
    let mut here = few.evaluate(&at);
    for _ in 0..START_STEPS {
        context.check_cancelled()?;
        let Some((lower, reached)) = descend(&few, &at, &mut here) else { break };
        let gained = here.value - reached.value;
        (at, here) = (lower, reached);
        // Beyond this the other rows have more to say.
        if gained < 1e-6 {
            break;
        }
    }
    Ok(if objective.value(&at) < objective.value(&plain) { at } else { plain })
}

/// The first of the steps 1, 1/2, 1/4... along Newton's direction that lowers the value, and the
/// derivatives there. Takes the second derivatives apart.
fn descend(objective: &Objective<'_>, at: &[f64], here: &mut Evaluation) -> Option<(Vec<f64>, Evaluation)> {
    let mut direction = here.gradient.clone();
    cholesky::solve(&mut here.curvature, &mut direction);
    let mut length = 1.0;
    for _ in 0..HALVINGS_MAX {
        let next: Vec<f64> = at.iter().zip(&direction).map(|(at, step)| at - length * step).collect();
        let reached = objective.evaluate(&next);
        if reached.value < here.value {
            return Some((next, reached));
        }
        length /= 2.0;
    }
    None
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, RecordBatch};

    use super::*;
    use crate::rng::SeededRng;

    #[test]
    fn many_rows_take_few_passes_to_the_same_minimum() {
        let rows = 5 * START_ROWS;
        let mut rng = SeededRng::new(2, 0);
        let matrix = Matrix::new(4, (0..rows * 4).map(|_| rng.normal()).collect()).unwrap();
        let odds = |row: usize| 2.0 * matrix.row(row)[0] - matrix.row(row)[1] - 1.0;
        let labels = (0..rows).map(|row| f64::from(u8::from(rng.uniform() < 1.0 / (1.0 + (-odds(row)).exp()))));
        let column = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
        let batch =
            RecordBatch::try_from_iter([("x", column(vec![0.0; rows])), ("y", column(labels.collect()))]).unwrap();
        let data = TableDataset::classification(batch, "y").build().unwrap();
        let settings = LinearSettings::default();
        let found = minimize(&data, &matrix, &settings, &FitContext::new(0)).unwrap();
        assert!(found.steps <= 4, "{}", found.steps);
        let mut at = found.coefficients.clone();
        at.push(found.intercept);
        let gradient = Objective::new(&data, &matrix, settings.l2).evaluate(&at).gradient;
        assert!(gradient.iter().all(|entry| entry.abs() < 1e-10), "{gradient:?}");
        assert!((found.coefficients[0] - 2.0).abs() < 0.1 && (found.intercept + 1.0).abs() < 0.1, "{found:?}");
    }
}
