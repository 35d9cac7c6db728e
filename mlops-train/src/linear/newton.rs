//! Newton's method with step halving on
//! `f(w, b) = (sum_i c_i loss(x_i w + b, y_i) + l2 / 2 |w|^2) / sum_i c_i`.
//!
//! Many rows are started from the minimum over a share of them, which saves most passes over all. Second derivatives
//! cost some times what the first ones do, so they are kept for as long as the gradient falls fast with them (Kelley,
//! "Iterative Methods for Linear and Nonlinear Equations", 5.4.2).
//!
//! Invariant: `f` never rises from one step to the next but by rounding; sums run in row order.

#![allow(clippy::indexing_slicing, reason = "parameters are as many as columns plus the intercept")]

use mlops_core::{Error, Result};

use super::{
    cholesky::Factor,
    passes::{Objective, Slopes},
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

/// Rows that a start is looked for with, where there are four times as many, steps for it, and the gradient beyond
/// which the other rows have more to say.
const START_ROWS: usize = 8_192;
const START_STEPS: usize = 8;
const START_TOLERANCE: f64 = 1e-4;

/// A step that leaves more than this of the gradient wants new second derivatives.
const FALLS_FAST: f64 = 0.05;

/// Relative difference of values that may be rounding, and what a gradient must fall to where it is.
const ROUNDING: f64 = 1e-14;
const FALLS: f64 = 0.5;

/// Coefficients by column, the intercept, and how many steps it took.
#[derive(Debug)]
pub(crate) struct Solution {
    pub(crate) coefficients: Vec<f64>,
    pub(crate) intercept: f64,
    pub(crate) steps: usize,
}

impl Solution {
    /// That of labels `factor` times as large.
    ///
    /// # Errors
    /// `FailedPrecondition` when a coefficient is no double.
    pub(crate) fn times(mut self, factor: f64) -> Result<Self> {
        self.intercept *= factor;
        self.coefficients.iter_mut().for_each(|weight| *weight *= factor);
        if self.intercept.is_finite() && self.coefficients.iter().all(|weight| weight.is_finite()) {
            return Ok(self);
        }
        Err(Error::failed_precondition("coefficients leave the range of doubles; give the label a larger unit"))
    }
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
    let mut walk = start(&objective, data, width, context)?;
    let steps_max = settings.steps_max;
    let arrived = walk.until(&objective, tolerance, steps_max, context, |step, value| {
        context.report(&Progress { step, steps_max, train_loss: value, valid_loss: None });
    })?;
    let Some(steps) = arrived else {
        return Err(Error::failed_precondition(format!(
            "the linear model did not converge within {steps_max} steps; raise l2 or steps_max"
        )));
    };
    let mut coefficients = walk.at;
    let intercept = coefficients.pop().unwrap_or_default();
    Ok(Solution { coefficients, intercept, steps })
}

/// Where to start: no coefficients, or what a share of the rows says if that is better for all.
fn start(objective: &Objective<'_>, data: &TableDataset, width: usize, context: &FitContext) -> Result<Walk> {
    let mut plain = vec![0.0; width + 1];
    plain[width] = base_score(data.task(), (0..data.rows()).map(|row| (data.labels()[row], data.weight(row))));
    let stride = data.rows() / START_ROWS;
    // A line through numbers is found in one step from anywhere.
    if stride < 4 || data.task() == Task::Regression {
        return Ok(Walk::begin(objective, plain));
    }
    let few = objective.every(stride);
    let mut walk = Walk::begin(&few, plain.clone());
    walk.until(&few, START_TOLERANCE, START_STEPS, context, |_, _| ())?;
    let there = Walk::begin(objective, walk.at);
    Ok(if there.here.value < objective.value_of(plain[width]) { there } else { Walk::begin(objective, plain) })
}

/// A point on the way down.
#[derive(Debug)]
struct Walk {
    at: Vec<f64>,
    here: Slopes,
    /// Second derivatives here, or where they were last taken.
    factor: Factor,
    is_fresh: bool,
    falls_fast: bool,
}

impl Walk {
    fn begin(objective: &Objective<'_>, at: Vec<f64>) -> Self {
        let (here, factor) = objective.evaluate(&at);
        Self { at, here, factor, is_fresh: true, falls_fast: true }
    }

    /// Steps until no entry of the gradient exceeds `tolerance`, or rounding forbids any further descent; the number of
    /// steps then. None after too many.
    fn until(
        &mut self,
        objective: &Objective<'_>,
        tolerance: f64,
        steps_max: usize,
        context: &FitContext,
        report: impl Fn(usize, f64),
    ) -> Result<Option<usize>> {
        for step in 0..steps_max {
            context.check_cancelled()?;
            if self.here.steepest() <= tolerance || !self.descend(objective) {
                return Ok(Some(step));
            }
            report(step + 1, self.here.value);
        }
        Ok(None)
    }

    /// Goes one step down; false where there is none.
    fn descend(&mut self, objective: &Objective<'_>) -> bool {
        if !self.falls_fast {
            self.refresh(objective);
        }
        let mut lower = self.lower(objective);
        if lower.is_none() && !self.is_fresh {
            self.refresh(objective);
            lower = self.lower(objective);
        }
        let Some((next, reached)) = lower else { return false };
        self.falls_fast = reached.steepest() <= FALLS_FAST * self.here.steepest();
        (self.at, self.here, self.is_fresh) = (next, reached, false);
        true
    }

    /// Takes the second derivatives here.
    fn refresh(&mut self, objective: &Objective<'_>) {
        let (here, factor) = objective.evaluate(&self.at);
        (self.here, self.factor, self.is_fresh) = (here, factor, true);
    }

    /// The first of the steps 1, 1/2, 1/4... along Newton's direction that lowers the value. Where values differ by
    /// rounding only, the gradient tells whether it is lower there.
    fn lower(&self, objective: &Objective<'_>) -> Option<(Vec<f64>, Slopes)> {
        let direction = self.factor.solve(&self.here.gradient);
        let mut length = 1.0;
        for _ in 0..HALVINGS_MAX {
            let next: Vec<f64> = self.at.iter().zip(&direction).map(|(at, step)| at - length * step).collect();
            let reached = objective.slopes(&next);
            if (reached.value - self.here.value).abs() <= ROUNDING * self.here.value.abs() {
                let falls = reached.steepest() < FALLS * self.here.steepest();
                return falls.then_some((next, reached));
            }
            if reached.value < self.here.value {
                return Some((next, reached));
            }
            length /= 2.0;
        }
        None
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
        assert!(found.steps <= 7, "{}", found.steps);
        let mut at = found.coefficients.clone();
        at.push(found.intercept);
        let gradient = Objective::new(&data, &matrix, settings.l2).slopes(&at).gradient;
        assert!(gradient.iter().all(|entry| entry.abs() < 1e-10), "{gradient:?}");
        assert!((found.coefficients[0] - 2.0).abs() < 0.1 && (found.intercept + 1.0).abs() < 0.1, "{found:?}");
    }
}
