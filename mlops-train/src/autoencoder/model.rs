//! The autoencoder as a trainer and as a model.

use std::sync::Arc;

use arrow_array::{BooleanArray, Float64Array, RecordBatch};
use mlops_core::{DataType, Error, Model, ModelPackage, Result, Signature, TensorSpec};
use serde::{Deserialize, Serialize};

use super::{
    learner::{CODE, Reconstruction},
    settings::AutoencoderSettings,
};
use crate::{
    data::{TableDataset, Task},
    explain::quantile,
    mlp::{self, Network, WEIGHTS_FILE},
    neural::{
        EpochRecord, Trained,
        table::{Inputs, OutputScale, TableFit},
    },
    package::{self, MODEL_FILE, PREPROCESSOR_FILE, Shell},
    params::Params,
    preprocess::{Matrix, Preprocessor},
    search::SearchSpace,
    trainer::{FitContext, TrainedModel, Trainer},
};

/// Fits [`AutoencoderModel`]s; parameters are the fields of [`AutoencoderSettings`].
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_train::{AutoencoderSettings, AutoencoderTrainer, BurnSettings, FitContext, TableDataset, scores};
///
/// // Rows lie on a line.
/// let x: Vec<f64> = (0..400).map(|i| f64::from(i) / 200.0 - 1.0).collect();
/// let batch = |x: Vec<f64>, y: Vec<f64>| {
///     RecordBatch::try_from_iter([
///         ("x", Arc::new(Float64Array::from(x)) as ArrayRef),
///         ("y", Arc::new(Float64Array::from(y)) as ArrayRef),
///     ])
/// };
/// let data = TableDataset::unlabeled(batch(x.clone(), x.iter().map(|x| -2.0 * x).collect())?).build()?;
/// let training = BurnSettings { epochs: 60, batch_rows: 32, learning_rate: 1e-2, ..BurnSettings::default() };
/// let settings = AutoencoderSettings { bottleneck: 1, hidden_units: 16, training, ..AutoencoderSettings::default() };
/// let model = AutoencoderTrainer.fit_settings(&data, &settings, &FitContext::new(1))?;
/// // Each of its numbers is ordinary; together they are not.
/// let strange = batch(vec![0.5], vec![1.0])?;
/// assert!(scores(&model, &strange)?[0] > model.threshold());
/// assert_eq!(model.predict_anomalies(&strange)?, [true]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct AutoencoderTrainer;

impl AutoencoderTrainer {
    /// The flavor of its packages.
    pub const FLAVOR: &'static str = "mlops.autoencoder";

    /// Fits with settings rather than parameters by name.
    ///
    /// # Errors
    /// As [`Trainer::fit`], and `FailedPrecondition` when training diverges.
    pub fn fit_settings(
        &self,
        data: &TableDataset,
        settings: &AutoencoderSettings,
        context: &FitContext,
    ) -> Result<AutoencoderModel> {
        settings.validate()?;
        let preprocessor = Preprocessor::fit(&settings.preprocessing(), data)?;
        let matrix = preprocessor.transform(data.batch())?;
        let inputs = Inputs::new(&matrix);
        let widths = settings.widths(inputs.width);
        let fit = TableFit {
            flavor: Self::FLAVOR,
            data,
            inputs: &inputs,
            output: OutputScale { mean: 0.0, scale: 1.0 },
            settings: settings.training.clone(),
            whole: settings,
            validation_share: settings.validation_share,
            balance_classes: false,
        };
        let Trained { module, epoch, history, .. } = fit.run(&Reconstruction { widths: widths.clone() }, context)?;
        let network = module.to_network()?;
        let mut errors = mean_errors(&squared_errors(&network, &inputs)?);
        errors.sort_by(f64::total_cmp);
        let own = Layers {
            activation: "relu".to_owned(),
            widths,
            threshold: quantile(&errors, settings.threshold_quantile),
            epochs: epoch,
        };
        let description = Description::new(data, context.seed(), settings.clone(), own);
        let outputs = [TensorSpec::column(SCORE, DataType::Float64), TensorSpec::column(IS_ANOMALY, DataType::Bool)];
        let signature = Signature::new(data.features().iter().cloned(), outputs)?;
        let shell = Shell { signature, ..Shell::new(data, preprocessor)? };
        Ok(AutoencoderModel { shell, network, description, history })
    }
}

/// The outputs by name.
const SCORE: &str = "anomaly_score";
const IS_ANOMALY: &str = "is_anomaly";

impl Trainer for AutoencoderTrainer {
    fn name(&self) -> &'static str {
        Self::FLAVOR
    }

    fn search_space(&self) -> SearchSpace {
        SearchSpace::new()
            .with_log_float("learning_rate", 1e-4, 1e-2)
            .with_log_int("hidden_units", 16, 256)
            .with_log_int("bottleneck", 2, 32)
            .with_log_int("batch_rows", 64, 1024)
    }

    fn fit(&self, data: &TableDataset, params: &Params, context: &FitContext) -> Result<Arc<dyn TrainedModel>> {
        Ok(Arc::new(self.fit_settings(data, &params.to_settings()?, context)?))
    }
}

/// The squared error of each preprocessed number.
///
/// # Errors
/// `Internal` never in practice; the network gives back as many numbers as it reads.
fn squared_errors(network: &Network, inputs: &Inputs) -> Result<Matrix> {
    let mut errors = network.forward(inputs).into_iter().map(f64::from).collect::<Vec<f64>>();
    let width = inputs.width;
    for (row, errors) in errors.chunks_exact_mut(width).enumerate() {
        errors.iter_mut().zip(inputs.row(row)).for_each(|(value, input)| *value = (*value - f64::from(*input)).powi(2));
    }
    Matrix::new(width, errors)
}

fn mean_errors(errors: &Matrix) -> Vec<f64> {
    (0..errors.rows()).map(|row| errors.row(row).iter().sum::<f64>() / errors.columns().max(1) as f64).collect()
}

type Description = package::Description<AutoencoderSettings, Layers>;

/// What this flavor adds to `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Layers {
    activation: String,
    widths: Vec<usize>,
    threshold: f64,
    epochs: usize,
}

/// A fitted autoencoder: gives `anomaly_score`, and `is_anomaly` where it exceeds the threshold.
#[derive(Debug)]
pub struct AutoencoderModel {
    shell: Shell,
    network: Network,
    description: Description,
    history: Vec<EpochRecord>,
}

impl AutoencoderModel {
    /// The score above which a row counts as an anomaly.
    #[must_use]
    pub fn threshold(&self) -> f64 {
        self.description.own.threshold
    }

    /// What each epoch came to; empty when the model was loaded from a package.
    #[must_use]
    pub fn history(&self) -> &[EpochRecord] {
        &self.history
    }

    /// The settings it was fitted with.
    #[must_use]
    pub fn settings(&self) -> &AutoencoderSettings {
        &self.description.settings
    }

    /// Whether each row counts as an anomaly.
    ///
    /// # Errors
    /// `InvalidArgument` when rows do not fit the model.
    pub fn predict_anomalies(&self, rows: &RecordBatch) -> Result<Vec<bool>> {
        Ok(mean_errors(&self.errors(rows)?).into_iter().map(|score| score > self.threshold()).collect())
    }

    /// What each raw column adds to the score, by row: which columns make a row an anomaly.
    ///
    /// # Errors
    /// `InvalidArgument` when rows do not fit the model.
    pub fn score_by_column(&self, rows: &RecordBatch) -> Result<(Vec<String>, Matrix)> {
        let names: Vec<String> = self.shell.preprocessor.inputs().map(|input| input.name.clone()).collect();
        let errors = self.errors(rows)?;
        let columns = self.shell.preprocessor.output_columns();
        let mut sums = Matrix::zeros(errors.rows(), names.len());
        for row in 0..errors.rows() {
            for (place, name) in names.iter().enumerate() {
                let own = errors.row(row).iter().zip(&columns).filter(|(_, column)| *column == name);
                sums.set(row, place, own.map(|(error, _)| error).sum::<f64>() / columns.len() as f64);
            }
        }
        Ok((names, sums))
    }

    fn errors(&self, rows: &RecordBatch) -> Result<Matrix> {
        squared_errors(&self.network, &Inputs::new(&self.shell.preprocessor.transform(rows)?))
    }
}

impl Model for AutoencoderModel {
    fn signature(&self) -> &Signature {
        &self.shell.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        let scores = mean_errors(&self.errors(inputs)?);
        let anomalies: BooleanArray = scores.iter().map(|&score| Some(score > self.threshold())).collect();
        let columns = vec![Arc::new(Float64Array::from(scores)) as _, Arc::new(anomalies) as _];
        Ok(RecordBatch::try_new(self.shell.signature.output_schema(), columns)?)
    }

    fn memory_bytes(&self) -> u64 {
        (self.network.parameters() * size_of::<f32>() + size_of::<Self>()) as u64
    }
}

impl TrainedModel for AutoencoderModel {
    fn to_package(&self) -> Result<ModelPackage> {
        let Description { seed, own: Layers { epochs, threshold, .. }, .. } = &self.description;
        let notes = [("seed", seed.to_string()), ("epochs", epochs.to_string()), ("threshold", threshold.to_string())];
        let weights = (WEIGHTS_FILE, mlp::encode(&self.network)?);
        self.shell.package(AutoencoderTrainer::FLAVOR, &self.description, Some(weights), notes)
    }

    fn steps(&self) -> usize {
        self.description.own.epochs
    }
}

/// Reads a model from its package.
///
/// # Errors
/// As [`crate::load_package`].
pub(crate) fn load(package: &ModelPackage) -> Result<AutoencoderModel> {
    let (shell, description) = Description::load(package, Some(Task::Regression))?;
    let network = mlp::decode(package.file(WEIGHTS_FILE)?, &[], &description.own.widths)?.with_straight(CODE);
    let width = shell.preprocessor.width();
    let outputs: Vec<DataType> = shell.signature.outputs().iter().map(|output| output.data_type).collect();
    let known = description.own.activation == "relu"
        && description.own.threshold.is_finite()
        && outputs == [DataType::Float64, DataType::Bool];
    if !known || (network.inputs(), network.outputs()) != (width, width) {
        return Err(Error::data_loss(format!(
            "{MODEL_FILE} describes an autoencoder of {} inputs and {} outputs with activation {:?} and threshold {}, \
             {PREPROCESSOR_FILE} gives {width}",
            network.inputs(),
            network.outputs(),
            description.own.activation,
            description.own.threshold
        )));
    }
    Ok(AutoencoderModel { shell, network, description, history: Vec::new() })
}
