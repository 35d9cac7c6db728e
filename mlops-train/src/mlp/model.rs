//! The perceptron as a trainer and as a model.

use std::sync::Arc;

use arrow_array::RecordBatch;
use mlops_core::{Error, Model, ModelPackage, Result, Signature};
use serde::{Deserialize, Serialize};

use super::{
    codec,
    learner::Perceptron,
    network::{Inputs, Network},
    rows::{Examples, Rows, TableBatch},
    settings::MlpSettings,
};
use crate::{
    data::{TableDataset, Task},
    neural::{BurnTrainer, EpochRecord, Loader, Trained},
    package::{self, FORMAT_VERSION, MODEL_FILE, PREPROCESSOR_FILE, Shell},
    params::Params,
    preprocess::Preprocessor,
    search::SearchSpace,
    split::holdout,
    trainer::{FitContext, TrainedModel, Trainer},
};

const WEIGHTS_FILE: &str = "weights.safetensors";

/// Fits [`MlpModel`]s; parameters are the fields of [`MlpSettings`].
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_train::{FitContext, Metric, MlpSettings, MlpTrainer, TableDataset, scores};
///
/// let x: Vec<f64> = (0..500).map(|i| f64::from(i) / 250.0 - 1.0).collect();
/// let y: Vec<f64> = x.iter().map(|x| 3.0 * x + 1.0).collect();
/// let batch = RecordBatch::try_from_iter([
///     ("x", Arc::new(Float64Array::from(x)) as ArrayRef),
///     ("y", Arc::new(Float64Array::from(y)) as ArrayRef),
/// ])?;
/// let data = TableDataset::regression(batch, "y").build()?;
/// let settings = MlpSettings { epochs: 40, batch_rows: 32, ..MlpSettings::default() };
/// let model = MlpTrainer.fit_settings(&data, &settings, &FitContext::new(1))?;
/// assert!(Metric::R2.compute(data.labels(), &scores(&model, data.batch())?)? > 0.99);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MlpTrainer;

impl MlpTrainer {
    /// The flavor of its packages.
    pub const FLAVOR: &'static str = "mlops.mlp";

    /// Fits with settings rather than parameters by name.
    ///
    /// # Errors
    /// As [`Trainer::fit`], and `FailedPrecondition` when training diverges.
    pub fn fit_settings(&self, data: &TableDataset, settings: &MlpSettings, context: &FitContext) -> Result<MlpModel> {
        settings.validate()?;
        data.check_learnable()?;
        let (train, valid) = match settings.early_stopping_epochs {
            0 => ((0..data.rows() as u32).collect(), Vec::new()),
            _ => holdout(data, settings.validation_share, context.seed()),
        };
        let (preprocessor, matrix) = Preprocessor::fit_transform(&settings.preprocessing(), data, context.seed())?;
        let inputs = Inputs::new(&matrix);
        let output = OutputScale::of(data);
        let examples = Examples {
            inputs: &inputs,
            targets: data.labels().iter().map(|label| ((label - output.mean) / output.scale) as f32).collect(),
            weights: row_weights(data, settings.balance_classes),
        };
        let widths = settings.widths(inputs.width);
        let learner = Perceptron { task: data.task(), widths: widths.clone() };
        let side = |rows| Rows { examples: &examples, rows };
        let (train, valid) = (side(train), Some(side(valid)).filter(|rows| !rows.rows.is_empty()));
        let valid = valid.as_ref().map(|rows| rows as &dyn Loader<Batch = TableBatch>);
        let trainer = BurnTrainer::new(settings.training()).with_name(Self::FLAVOR);
        let Trained { module, epoch, history, .. } = trainer.fit(&learner, &train, valid, context)?;
        let network = module.to_network()?;
        let description = Description {
            format_version: FORMAT_VERSION,
            task: data.task(),
            classes: data.classes().cloned(),
            seed: context.seed(),
            settings: settings.clone(),
            activation: "relu".to_owned(),
            widths,
            output,
            epochs: epoch,
        };
        Ok(MlpModel { shell: Shell::new(data, preprocessor)?, network, description, history })
    }
}

impl Trainer for MlpTrainer {
    fn name(&self) -> &'static str {
        Self::FLAVOR
    }

    fn search_space(&self) -> SearchSpace {
        SearchSpace::new()
            .with_log_float("learning_rate", 1e-4, 1e-2)
            .with_int("hidden_layers", 1, 3)
            .with_log_int("hidden_units", 16, 256)
            .with_log_float("weight_decay", 1e-7, 1e-2)
            .with_log_int("batch_rows", 64, 1024)
    }

    fn fit(&self, data: &TableDataset, params: &Params, context: &FitContext) -> Result<Arc<dyn TrainedModel>> {
        Ok(Arc::new(self.fit_settings(data, &params.to_settings()?, context)?))
    }
}

/// Weights scaled to a mean of one, so that they do not change the step size. Balanced, the weights
/// of both classes have the same sum.
fn row_weights(data: &TableDataset, balance: bool) -> Vec<f32> {
    let mut weights = data.weights().map_or_else(|| vec![1.0; data.rows()], <[f64]>::to_vec);
    if balance && data.task() == Task::BinaryClassification {
        let positive: f64 = weights.iter().zip(data.labels()).map(|(weight, label)| weight * label).sum();
        let total: f64 = weights.iter().sum();
        let share = |label: f64| if label > 0.5 { positive / total } else { 1.0 - positive / total };
        weights
            .iter_mut()
            .zip(data.labels())
            .for_each(|(weight, &label)| *weight /= share(label).max(f64::MIN_POSITIVE));
    }
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    weights.iter().map(|weight| (weight / mean) as f32).collect()
}

/// What the network's output is multiplied by and shifted by; 1 and 0 in a classification.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct OutputScale {
    mean: f64,
    scale: f64,
}

impl OutputScale {
    fn of(data: &TableDataset) -> Self {
        if data.task() == Task::BinaryClassification {
            return Self { mean: 0.0, scale: 1.0 };
        }
        let n = data.rows() as f64;
        let mean = data.labels().iter().sum::<f64>() / n;
        let deviation = (data.labels().iter().map(|label| (label - mean).powi(2)).sum::<f64>() / n).sqrt();
        Self { mean, scale: if deviation.is_normal() { deviation } else { 1.0 } }
    }
}

/// `model.json` of this flavor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Description {
    format_version: u32,
    task: Task,
    classes: Option<[String; 2]>,
    seed: u64,
    settings: MlpSettings,
    activation: String,
    widths: Vec<usize>,
    output: OutputScale,
    epochs: usize,
}

/// A fitted perceptron.
#[derive(Debug)]
pub struct MlpModel {
    shell: Shell,
    network: Network,
    description: Description,
    history: Vec<EpochRecord>,
}

impl MlpModel {
    /// What each epoch came to; empty when the model was loaded from a package.
    #[must_use]
    pub fn history(&self) -> &[EpochRecord] {
        &self.history
    }

    /// The settings it was fitted with.
    #[must_use]
    pub fn settings(&self) -> &MlpSettings {
        &self.description.settings
    }

    pub(crate) fn shell(&self) -> &Shell {
        &self.shell
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// What the network's output is shifted by and multiplied by.
    pub(crate) fn output_scale(&self) -> (f64, f64) {
        (self.description.output.mean, self.description.output.scale)
    }
}

impl Model for MlpModel {
    fn signature(&self) -> &Signature {
        &self.shell.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        let inputs = Inputs::new(&self.shell.preprocessor.transform(inputs)?);
        let OutputScale { mean, scale } = self.description.output;
        let finish = |output: f32| match self.shell.task {
            Task::BinaryClassification => 1.0 / (1.0 + (-f64::from(output)).exp()),
            Task::Regression => mean + scale * f64::from(output),
        };
        self.shell.output(self.network.forward(&inputs).into_iter().map(finish).collect())
    }

    fn memory_bytes(&self) -> u64 {
        (self.network.parameters() * size_of::<f32>() + size_of::<Self>()) as u64
    }
}

impl TrainedModel for MlpModel {
    fn to_package(&self) -> Result<ModelPackage> {
        let mut package = ModelPackage::new(MlpTrainer::FLAVOR, self.shell.signature.clone())
            .with_file(MODEL_FILE, package::to_json(MODEL_FILE, &self.description)?)
            .with_file(PREPROCESSOR_FILE, package::to_json(PREPROCESSOR_FILE, &self.shell.preprocessor)?)
            .with_file(WEIGHTS_FILE, codec::encode(&self.network)?);
        let notes = [("seed", self.description.seed.to_string()), ("epochs", self.description.epochs.to_string())];
        package.manifest.notes.extend(notes.map(|(key, value)| (key.to_owned(), value)));
        Ok(package)
    }

    fn steps(&self) -> usize {
        self.description.epochs
    }
}

/// Reads a model from its package.
///
/// # Errors
/// As [`crate::load_package`].
pub(crate) fn load(package: &ModelPackage) -> Result<MlpModel> {
    let description: Description = package::read_json(package, MODEL_FILE)?;
    package::check_format(description.format_version)?;
    let shell = Shell::load(package, description.task)?;
    let network = codec::decode(package.file(WEIGHTS_FILE)?, &description.widths)?;
    let OutputScale { mean, scale } = description.output;
    let known = description.activation == "relu" && mean.is_finite() && scale.is_finite();
    if !known || network.inputs() != shell.preprocessor.width() {
        return Err(Error::data_loss(format!(
            "{MODEL_FILE} describes a network of {} inputs with activation {:?}, {PREPROCESSOR_FILE} gives {}",
            network.inputs(),
            description.activation,
            shell.preprocessor.width()
        )));
    }
    Ok(MlpModel { shell, network, description, history: Vec::new() })
}
