//! Shapley values of any model on rows, over a background.

mod exact;
mod game;
mod kernel;
mod plan;
mod solve;

use arrow_array::RecordBatch;
use mlops_core::{Model, Result};

use game::Game;
pub use kernel::{KernelAttribution, KernelSettings};

use super::{attribution::Attribution, background::Background, context::ExplainContext, groups::FeatureGroups};

/// Explains any model on rows by Shapley values: each feature's mean contribution over all orders
/// in which features become known, where unknown ones are taken from the rows of a background.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_train::{FitContext, GbdtTrainer, Params, TableDataset, Trainer, explain::*};
///
/// let column = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
/// let x: Vec<f64> = (0..300).map(f64::from).collect();
/// let batch = RecordBatch::try_from_iter([
///     ("x", column(x.clone())),
///     ("noise", column(x.iter().map(|x| x.sin()).collect())),
///     ("y", column(x.iter().map(|x| 2.0 * x).collect())),
/// ])?;
/// let data = TableDataset::regression(batch.clone(), "y").build()?;
/// let model = GbdtTrainer.fit(&data, &Params::new().with("rounds", 20), &FitContext::new(1))?;
///
/// let explainer = ShapleyExplainer::new(Background::kmeans(data.batch(), 10, 1)?);
/// let explained = explainer.exact(&model, &batch.slice(0, 3), &ExplainContext::new(1))?;
/// assert_eq!(explained.features, ["x", "noise"]);
/// assert!(explained.row(0).unwrap()[0] < -100.0);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ShapleyExplainer {
    background: Background,
    groups: FeatureGroups,
    output: Option<String>,
}

impl ShapleyExplainer {
    /// Explains over typical rows with all inputs of the model.
    #[must_use]
    pub fn new(background: Background) -> Self {
        Self { background, groups: FeatureGroups::new(), output: None }
    }

    /// Lets inputs become known in groups, which contribute as one.
    #[must_use]
    pub fn with_groups(mut self, groups: FeatureGroups) -> Self {
        self.groups = groups;
        self
    }

    /// Explains this output, instead of the first.
    #[must_use]
    pub fn with_output(mut self, output: impl Into<String>) -> Self {
        self.output = Some(output.into());
        self
    }

    /// Shapley values by all subsets of the groups; each doubles the work.
    ///
    /// # Errors
    /// `FailedPrecondition` for more than 20 groups, and for an output that is no number;
    /// `InvalidArgument` when rows, background or groups do not fit the model; `Cancelled`,
    /// `DeadlineExceeded`; what the model returns.
    pub fn exact(&self, model: &dyn Model, rows: &RecordBatch, context: &ExplainContext) -> Result<Attribution> {
        let rows = model.signature().project_inputs(rows)?;
        exact::explain(&self.game(model, context)?, &rows)
    }

    /// Shapley values by least squares over some subsets (KernelSHAP), with standard errors. While
    /// all subsets fit into the settings' bound, values are exact.
    ///
    /// With a deadline each row gets an equal share of the time that is left, and its estimate is
    /// made of what was asked by then.
    ///
    /// # Errors
    /// `FailedPrecondition` when the bound is too low for the groups, and for an output that is no
    /// number; `InvalidArgument` when rows, background or groups do not fit the model; `Cancelled`;
    /// `DeadlineExceeded` when the time is too short for any estimate; what the model returns.
    pub fn kernel(
        &self,
        model: &dyn Model,
        rows: &RecordBatch,
        settings: &KernelSettings,
        context: &ExplainContext,
    ) -> Result<KernelAttribution> {
        let rows = model.signature().project_inputs(rows)?;
        kernel::explain(&self.game(model, context)?, &rows, settings)
    }

    fn game<'a>(&'a self, model: &'a dyn Model, context: &'a ExplainContext) -> Result<Game<'a>> {
        Game::new(model, self.output.as_deref(), &self.background, &self.groups, context)
    }
}
