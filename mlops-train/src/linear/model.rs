//! Linear models as a trainer and as a model.

use std::sync::Arc;

use arrow_array::RecordBatch;
use mlops_core::{Error, Model, ModelPackage, Result, Signature};
use serde::{Deserialize, Serialize};

use super::{
    newton::{Solution, finish, minimize, predict_row},
    settings::LinearSettings,
};
use crate::{
    data::TableDataset,
    package::{self, MODEL_FILE, PREPROCESSOR_FILE, Shell},
    params::Params,
    preprocess::Preprocessor,
    search::SearchSpace,
    trainer::{FitContext, TrainedModel, Trainer},
};

/// Fits [`LinearModel`]s: logistic regression of two classes, least squares of numbers. Parameters
/// are the fields of [`LinearSettings`].
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_train::{FitContext, LinearSettings, LinearTrainer, TableDataset, scores};
///
/// let x: Vec<f64> = (0..50).map(f64::from).collect();
/// let y: Vec<f64> = x.iter().map(|x| 3.0 * x + 1.0).collect();
/// let batch = RecordBatch::try_from_iter([
///     ("x", Arc::new(Float64Array::from(x)) as ArrayRef),
///     ("y", Arc::new(Float64Array::from(y)) as ArrayRef),
/// ])?;
/// let data = TableDataset::regression(batch, "y").build()?;
/// let exact = LinearSettings { l2: 0.0, ..LinearSettings::default() };
/// let model = LinearTrainer.fit_settings(&data, &exact, &FitContext::new(0))?;
/// assert!((scores(&model, data.batch())?[10] - 31.0).abs() < 1e-9);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct LinearTrainer;

impl LinearTrainer {
    /// The flavor of its packages.
    pub const FLAVOR: &'static str = "mlops.linear";

    /// Fits with settings rather than parameters by name.
    ///
    /// # Errors
    /// As [`Trainer::fit`], and `FailedPrecondition` when the minimum is not reached.
    pub fn fit_settings(
        &self,
        data: &TableDataset,
        settings: &LinearSettings,
        context: &FitContext,
    ) -> Result<LinearModel> {
        settings.validate()?;
        data.check_learnable()?;
        let (data, unit) = data.in_unit();
        let data = &*data;
        let (preprocessor, matrix) = Preprocessor::fit_transform(&settings.preprocessing(), data, context.seed())?;
        let Solution { coefficients, intercept, steps } = minimize(data, &matrix, settings, context)?.times(unit)?;
        let own = Line { intercept, coefficients, steps };
        let description = Description::new(data, context.seed(), settings.clone(), own);
        Ok(LinearModel { shell: Shell::new(data, preprocessor)?, description })
    }
}

impl Trainer for LinearTrainer {
    fn name(&self) -> &'static str {
        Self::FLAVOR
    }

    fn search_space(&self) -> SearchSpace {
        SearchSpace::new().with_log_float("l2", 1e-3, 1e3)
    }

    fn fit(&self, data: &TableDataset, params: &Params, context: &FitContext) -> Result<Arc<dyn TrainedModel>> {
        Ok(Arc::new(self.fit_settings(data, &params.to_settings()?, context)?))
    }
}

type Description = package::Description<LinearSettings, Line>;

/// What this flavor adds to `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    intercept: f64,
    coefficients: Vec<f64>,
    steps: usize,
}

/// A weighted sum of the preprocessed columns: log odds of the positive class, or the prediction.
#[derive(Debug)]
pub struct LinearModel {
    shell: Shell,
    description: Description,
}

impl LinearModel {
    /// The weight of each preprocessed column by its name, in order. Numbers were standardized, so a
    /// weight is per standard deviation.
    #[must_use]
    pub fn coefficients(&self) -> Vec<(String, f64)> {
        let names = self.shell.preprocessor.output_names();
        names.into_iter().zip(self.description.own.coefficients.iter().copied()).collect()
    }

    /// The score of a row whose preprocessed columns are all zero.
    #[must_use]
    pub fn intercept(&self) -> f64 {
        self.description.own.intercept
    }

    /// The settings it was fitted with.
    #[must_use]
    pub fn settings(&self) -> &LinearSettings {
        &self.description.settings
    }
}

impl Model for LinearModel {
    fn signature(&self) -> &Signature {
        &self.shell.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        let matrix = self.shell.preprocessor.transform(inputs)?;
        let Line { coefficients, intercept, .. } = &self.description.own;
        let score = |row| finish(self.shell.task, predict_row(coefficients, *intercept, matrix.row(row)));
        self.shell.output((0..matrix.rows()).map(score).collect())
    }

    fn memory_bytes(&self) -> u64 {
        (self.description.own.coefficients.len() * size_of::<f64>() + size_of::<Self>()) as u64
    }
}

impl TrainedModel for LinearModel {
    fn to_package(&self) -> Result<ModelPackage> {
        let notes = [("seed", self.description.seed.to_string()), ("steps", self.description.own.steps.to_string())];
        self.shell.package(LinearTrainer::FLAVOR, &self.description, None, notes)
    }

    fn steps(&self) -> usize {
        self.description.own.steps
    }
}

/// Reads a model from its package.
///
/// # Errors
/// As [`crate::load_package`].
pub(crate) fn load(package: &ModelPackage) -> Result<LinearModel> {
    let (shell, description) = Description::load(package, None)?;
    let width = shell.preprocessor.width();
    let finite = description.own.coefficients.iter().chain([&description.own.intercept]).all(|value| value.is_finite());
    if !finite || description.own.coefficients.len() != width {
        return Err(Error::data_loss(format!(
            "{MODEL_FILE} must have {width} finite coefficients as {PREPROCESSOR_FILE} gives, found {}",
            description.own.coefficients.len()
        )));
    }
    Ok(LinearModel { shell, description })
}
