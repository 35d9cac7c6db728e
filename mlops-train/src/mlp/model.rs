//! The perceptron as a trainer and as a model.

use std::sync::Arc;

use arrow_array::RecordBatch;
use mlops_core::{Error, Model, ModelPackage, Result, Signature};
use serde::{Deserialize, Serialize};

use super::{
    codec::{self, WEIGHTS_FILE},
    learner::Perceptron,
    network::Network,
    settings::MlpSettings,
};
use crate::{
    data::TableDataset,
    neural::{
        EpochRecord, Trained,
        table::{Embedding, EmbeddingSize, Inputs, OutputScale, TableFit},
    },
    package::{self, MODEL_FILE, PREPROCESSOR_FILE, Shell},
    params::Params,
    preprocess::Preprocessor,
    search::SearchSpace,
    trainer::{FitContext, TrainedModel, Trainer},
};

/// Fits [`MlpModel`]s; parameters are the fields of [`MlpSettings`].
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_train::{BurnSettings, FitContext, Metric, MlpSettings, MlpTrainer, TableDataset, scores};
///
/// let x: Vec<f64> = (0..500).map(|i| f64::from(i) / 250.0 - 1.0).collect();
/// let y: Vec<f64> = x.iter().map(|x| 3.0 * x + 1.0).collect();
/// let batch = RecordBatch::try_from_iter([
///     ("x", Arc::new(Float64Array::from(x)) as ArrayRef),
///     ("y", Arc::new(Float64Array::from(y)) as ArrayRef),
/// ])?;
/// let data = TableDataset::regression(batch, "y").build()?;
/// let training = BurnSettings { epochs: 40, batch_rows: 32, ..BurnSettings::default() };
/// let settings = MlpSettings { training, ..MlpSettings::default() };
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
        let (data, unit) = data.in_unit();
        let data = &*data;
        let (preprocessor, matrix) = Preprocessor::fit_transform(&settings.preprocessing(), data, context.seed())?;
        let counts = preprocessor.code_counts();
        let inputs = Inputs::with_codes(&matrix, &counts);
        let output = OutputScale::of(data);
        let embeddings = settings.embeddings(&counts);
        let dimensions: usize = embeddings.iter().map(|size| size.dimension).sum();
        let widths = settings.widths(inputs.width + dimensions);
        let learner = Perceptron { task: data.task(), embeddings: embeddings.clone(), widths: widths.clone() };
        let fit = TableFit {
            flavor: Self::FLAVOR,
            data,
            inputs: &inputs,
            output,
            settings: settings.training.clone(),
            whole: settings,
            validation_share: settings.validation_share,
            balance_classes: settings.balance_classes,
        };
        let Trained { module, epoch, history, .. } = fit.run(&learner, context)?;
        let network = module.to_network()?;
        let output = output.times(unit)?;
        let own = Layers { activation: "relu".to_owned(), widths, embeddings, output, epochs: epoch };
        let description = Description::new(data, context.seed(), settings.clone(), own);
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

type Description = package::Description<MlpSettings, Layers>;

/// What this flavor adds to `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Layers {
    activation: String,
    widths: Vec<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    embeddings: Vec<EmbeddingSize>,
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

    /// The learnt vector of each category by column, the most frequent first; the last two are those of
    /// unseen and of missing categories. Empty unless the encoding is
    /// [`crate::CategoryEncoding::Embedding`].
    #[must_use]
    pub fn embeddings(&self) -> Vec<(String, Vec<Vec<f32>>)> {
        let preprocessor = &self.shell.preprocessor;
        let coded = preprocessor.output_columns().into_iter().zip(preprocessor.code_counts());
        let coded = coded.filter(|(_, count)| count.is_some()).map(|(name, _)| name.to_owned());
        let vectors = |table: &Embedding| table.weight.chunks(table.size.dimension).map(<[f32]>::to_vec).collect();
        coded.zip(self.network.embeddings().iter().map(vectors)).collect()
    }

    /// Refuses what reads categories as columns of zeros and ones.
    ///
    /// # Errors
    /// `Unimplemented` when the network has vectors of categories.
    pub(crate) fn check_plain(&self, what: &str) -> Result<()> {
        if self.network.embeddings().is_empty() {
            return Ok(());
        }
        Err(Error::unimplemented(format!("{what} reads plain numbers; fit the perceptron with encoding one_hot")))
    }

    /// What the network's output is shifted by and multiplied by.
    pub(crate) fn output_scale(&self) -> (f64, f64) {
        (self.description.own.output.mean, self.description.own.output.scale)
    }
}

impl Model for MlpModel {
    fn signature(&self) -> &Signature {
        &self.shell.signature
    }

    fn predict(&self, inputs: &RecordBatch) -> Result<RecordBatch> {
        let preprocessor = &self.shell.preprocessor;
        let inputs = Inputs::with_codes(&preprocessor.transform(inputs)?, &preprocessor.code_counts());
        let finish = |output: f32| self.description.own.output.finish(self.shell.task, output);
        self.shell.output(self.network.forward(&inputs).into_iter().map(finish).collect())
    }

    fn memory_bytes(&self) -> u64 {
        (self.network.parameters() * size_of::<f32>() + size_of::<Self>()) as u64
    }
}

impl TrainedModel for MlpModel {
    fn to_package(&self) -> Result<ModelPackage> {
        let notes = [("seed", self.description.seed.to_string()), ("epochs", self.description.own.epochs.to_string())];
        let weights = (WEIGHTS_FILE, codec::encode(&self.network)?);
        self.shell.package(MlpTrainer::FLAVOR, &self.description, Some(weights), notes)
    }

    fn steps(&self) -> usize {
        self.description.own.epochs
    }
}

/// Reads a model from its package.
///
/// # Errors
/// As [`crate::load_package`].
pub(crate) fn load(package: &ModelPackage) -> Result<MlpModel> {
    let (shell, description) = Description::load(package, None)?;
    let Layers { embeddings, widths, .. } = &description.own;
    let network = codec::decode(package.file(WEIGHTS_FILE)?, embeddings, widths)?;
    let counts = shell.preprocessor.code_counts();
    let codes: Vec<usize> = counts.iter().flatten().copied().collect();
    let inputs = counts.len() - codes.len() + embeddings.iter().map(|size| size.dimension).sum::<usize>();
    let known = description.own.activation == "relu" && description.own.output.is_sound() && network.outputs() == 1;
    if !known || network.inputs() != inputs || !codes.iter().eq(embeddings.iter().map(|size| &size.codes)) {
        return Err(Error::data_loss(format!(
            "{MODEL_FILE} describes a network of {} inputs with activation {:?}, {PREPROCESSOR_FILE} gives {inputs}",
            network.inputs(),
            description.own.activation,
        )));
    }
    Ok(MlpModel { shell, network, description, history: Vec::new() })
}
