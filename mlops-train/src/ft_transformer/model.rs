//! The transformer as a trainer and as a model.

use std::sync::Arc;

use arrow_array::RecordBatch;
use mlops_core::{Error, Model, ModelPackage, Result, Signature};
use serde::{Deserialize, Serialize};

use super::{
    codec::{self, WEIGHTS_FILE},
    learner::Transformer,
    network::{Network, Shape},
    settings::FtTransformerSettings,
};
use crate::{
    data::TableDataset,
    neural::{
        EpochRecord, Trained,
        table::{Inputs, OutputScale, TableFit},
    },
    package::{self, MODEL_FILE, PREPROCESSOR_FILE, Shell},
    params::Params,
    preprocess::Preprocessor,
    search::SearchSpace,
    trainer::{FitContext, TrainedModel, Trainer},
};

/// Fits [`FtTransformerModel`]s; parameters are the fields of [`FtTransformerSettings`].
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
/// use mlops_train::{
///     BurnSettings, FitContext, FtTransformerSettings, FtTransformerTrainer, Metric, TableDataset, scores,
/// };
///
/// let x: Vec<f64> = (0..400).map(|i| f64::from(i % 80) / 40.0 - 1.0).collect();
/// let kind: Vec<&str> = (0..400).map(|i| if i % 3 == 0 { "up" } else { "down" }).collect();
/// let y: Vec<f64> = x.iter().zip(&kind).map(|(x, kind)| if *kind == "up" { *x } else { -x }).collect();
/// let batch = RecordBatch::try_from_iter([
///     ("x", Arc::new(Float64Array::from(x)) as ArrayRef),
///     ("kind", Arc::new(StringArray::from(kind)) as ArrayRef),
///     ("y", Arc::new(Float64Array::from(y)) as ArrayRef),
/// ])?;
/// let data = TableDataset::regression(batch, "y").build()?;
/// let training = BurnSettings { epochs: 30, batch_rows: 32, learning_rate: 3e-3, ..BurnSettings::default() };
/// let size = FtTransformerSettings { token_width: 8, heads: 2, blocks: 2, ..FtTransformerSettings::default() };
/// let settings = FtTransformerSettings { training, ..size };
/// let model = FtTransformerTrainer.fit_settings(&data, &settings, &FitContext::new(1))?;
/// assert!(Metric::R2.compute(data.labels(), &scores(&model, data.batch())?)? > 0.9);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct FtTransformerTrainer;

impl FtTransformerTrainer {
    /// The flavor of its packages.
    pub const FLAVOR: &'static str = "mlops.ft_transformer";

    /// Fits with settings rather than parameters by name.
    ///
    /// # Errors
    /// As [`Trainer::fit`], and `FailedPrecondition` when training diverges.
    pub fn fit_settings(
        &self,
        data: &TableDataset,
        settings: &FtTransformerSettings,
        context: &FitContext,
    ) -> Result<FtTransformerModel> {
        settings.validate()?;
        data.check_learnable()?;
        let (data, unit) = data.in_unit();
        let data = &*data;
        let (preprocessor, matrix) = Preprocessor::fit_transform(&settings.preprocessing(), data, context.seed())?;
        let counts = preprocessor.code_counts();
        let inputs = Inputs::with_codes(&matrix, &counts);
        let shape = settings.shape(&counts);
        let output = OutputScale::of(data);
        let learner = Transformer {
            task: data.task(),
            shape: shape.clone(),
            attention_dropout: settings.attention_dropout,
            hidden_dropout: settings.hidden_dropout,
            residual_dropout: settings.residual_dropout,
        };
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
        let own = Blocks { shape, output: output.times(unit)?, epochs: epoch };
        let description = Description::new(data, context.seed(), settings.clone(), own);
        let network = module.to_network(&description.own.shape)?;
        Ok(FtTransformerModel { shell: Shell::new(data, preprocessor)?, network, description, history })
    }
}

impl Trainer for FtTransformerTrainer {
    fn name(&self) -> &'static str {
        Self::FLAVOR
    }

    /// As the paper's, in ranges that a processor without a graphics card gets through.
    fn search_space(&self) -> SearchSpace {
        SearchSpace::new()
            .with_log_float("learning_rate", 1e-4, 3e-3)
            .with_int("blocks", 1, 4)
            .with_stepped_int("token_width", 32, 128, 32)
            .with_float("attention_dropout", 0.0, 0.5)
            .with_float("hidden_dropout", 0.0, 0.5)
            .with_log_float("weight_decay", 1e-6, 1e-3)
    }

    fn fit(&self, data: &TableDataset, params: &Params, context: &FitContext) -> Result<Arc<dyn TrainedModel>> {
        Ok(Arc::new(self.fit_settings(data, &params.to_settings()?, context)?))
    }
}

type Description = package::Description<FtTransformerSettings, Blocks>;

/// What this flavor adds to `model.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Blocks {
    shape: Shape,
    output: OutputScale,
    epochs: usize,
}

/// A fitted transformer.
#[derive(Debug)]
pub struct FtTransformerModel {
    shell: Shell,
    network: Network,
    description: Description,
    history: Vec<EpochRecord>,
}

impl FtTransformerModel {
    /// What each epoch came to; empty when the model was loaded from a package.
    #[must_use]
    pub fn history(&self) -> &[EpochRecord] {
        &self.history
    }

    /// The settings it was fitted with.
    #[must_use]
    pub fn settings(&self) -> &FtTransformerSettings {
        &self.description.settings
    }

    /// How many weights it has.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.network.parameters()
    }
}

impl Model for FtTransformerModel {
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

impl TrainedModel for FtTransformerModel {
    fn to_package(&self) -> Result<ModelPackage> {
        let notes = [("seed", self.description.seed.to_string()), ("epochs", self.description.own.epochs.to_string())];
        let weights = (WEIGHTS_FILE, codec::encode(&self.network)?);
        self.shell.package(FtTransformerTrainer::FLAVOR, &self.description, Some(weights), notes)
    }

    fn steps(&self) -> usize {
        self.description.own.epochs
    }
}

/// Reads a model from its package.
///
/// # Errors
/// As [`crate::load_package`].
pub(crate) fn load(package: &ModelPackage) -> Result<FtTransformerModel> {
    let (shell, description) = Description::load(package, None)?;
    let counts = shell.preprocessor.code_counts();
    let codes: Vec<usize> = counts.iter().flatten().copied().collect();
    let Shape { numbers, codes: tables, .. } = &description.own.shape;
    if !description.own.output.is_sound() || *numbers != counts.len() - codes.len() || *tables != codes {
        return Err(Error::data_loss(format!(
            "{MODEL_FILE} describes a transformer of {numbers} numbers and codes {tables:?}, {PREPROCESSOR_FILE} \
             gives {} and {codes:?}",
            counts.len() - codes.len()
        )));
    }
    let network = codec::decode(package.file(WEIGHTS_FILE)?, &description.own.shape)?;
    Ok(FtTransformerModel { shell, network, description, history: Vec::new() })
}
