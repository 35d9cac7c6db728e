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
    data::{TableDataset, Task},
    package::{self, FORMAT_VERSION, MODEL_FILE, PREPROCESSOR_FILE, Shell},
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
        let (preprocessor, matrix) = Preprocessor::fit_transform(&settings.preprocessing(), data, context.seed())?;
        let Solution { coefficients, intercept, steps } = minimize(data, &matrix, settings, context)?;
        let description = Description {
            format_version: FORMAT_VERSION,
            task: data.task(),
            classes: data.classes().cloned(),
            seed: context.seed(),
            settings: settings.clone(),
            intercept,
            coefficients,
            steps,
        };
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

/// `model.json` of this flavor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Description {
    format_version: u32,
    task: Task,
    classes: Option<[String; 2]>,
    seed: u64,
    settings: LinearSettings,
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
        names.into_iter().zip(self.description.coefficients.iter().copied()).collect()
    }

    /// The score of a row whose preprocessed columns are all zero.
    #[must_use]
    pub fn intercept(&self) -> f64 {
        self.description.intercept
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
        let Description { coefficients, intercept, .. } = &self.description;
        let score = |row| finish(self.shell.task, predict_row(coefficients, *intercept, matrix.row(row)));
        self.shell.output((0..matrix.rows()).map(score).collect())
    }

    fn memory_bytes(&self) -> u64 {
        (self.description.coefficients.len() * size_of::<f64>() + size_of::<Self>()) as u64
    }
}

impl TrainedModel for LinearModel {
    fn to_package(&self) -> Result<ModelPackage> {
        let notes = [("seed", self.description.seed.to_string()), ("steps", self.description.steps.to_string())];
        self.shell.package(LinearTrainer::FLAVOR, &self.description, None, notes)
    }

    fn steps(&self) -> usize {
        self.description.steps
    }
}

/// Reads a model from its package.
///
/// # Errors
/// As [`crate::load_package`].
pub(crate) fn load(package: &ModelPackage) -> Result<LinearModel> {
    let description: Description = package::read_json(package, MODEL_FILE)?;
    package::check_format(description.format_version)?;
    let shell = Shell::load(package, description.task)?;
    let width = shell.preprocessor.width();
    let finite = description.coefficients.iter().chain([&description.intercept]).all(|value| value.is_finite());
    if !finite || description.coefficients.len() != width {
        return Err(Error::data_loss(format!(
            "{MODEL_FILE} must have {width} finite coefficients as {PREPROCESSOR_FILE} gives, found {}",
            description.coefficients.len()
        )));
    }
    Ok(LinearModel { shell, description })
}
