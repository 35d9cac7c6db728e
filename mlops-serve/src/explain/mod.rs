//! Why a model said what it said: what each input contributed to an answer.
//!
//! An [`Explainer`] knows ways to ask a model, not the model itself, so the one of a served name explains each of its
//! versions. Explaining takes many predictions for one; it has bounds of its own and listens to whether anybody still
//! waits.

mod coalition;
mod game;
mod shapley;

use std::fmt;

use arrow_array::RecordBatch;
use mlops_core::{Model, Result};

pub use shapley::{ShapleyExplainer, ShapleySettings};

/// What the inputs of some rows contributed to the model's answers.
///
/// Invariant: `base_values` has a number per target, `predictions` one per row and target, `attributions` one per row,
/// target and feature, in this order.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// What is explained: outputs by name, elements of wide ones as `scores[0]`.
    pub targets: Vec<String>,
    /// What it is explained by: inputs by name, elements of wide ones as `X[0]`.
    pub features: Vec<String>,
    /// What the model says of no row in particular.
    pub base_values: Vec<f64>,
    /// What it says of the rows.
    pub predictions: Vec<f64>,
    /// How far each feature moved the answer from the base value. Over the features of a row they sum up to the prediction
    /// less the base value.
    pub attributions: Vec<f64>,
}

impl Explanation {
    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.predictions.len().checked_div(self.targets.len()).unwrap_or(0)
    }

    /// What the features of a row contributed to a target, in their order; none for a row or target that is not there.
    #[must_use]
    pub fn of(&self, row: usize, target: usize) -> Option<&[f64]> {
        if target >= self.targets.len() {
            return None;
        }
        let width = self.features.len();
        let begin = (row * self.targets.len() + target) * width;
        self.attributions.get(begin..begin + width).filter(|_| row < self.rows())
    }
}

/// Explains the answers of models on rows.
pub trait Explainer: fmt::Debug + Send + Sync + 'static {
    /// Explains what `model` says of `inputs`, which are projected to its signature. Computation: the caller runs it off
    /// the async runtime. Asks `given_up` between predictions.
    ///
    /// # Errors
    /// `InvalidArgument` for more rows than it explains at a time; `FailedPrecondition` for a model that it cannot
    /// explain; `Cancelled` when the caller gave up; what the model returns.
    fn explain(&self, model: &dyn Model, inputs: &RecordBatch, given_up: &dyn Fn() -> bool) -> Result<Explanation>;
}
