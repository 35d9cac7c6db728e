//! Hyper-parameters of the perceptron.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    neural::{BurnSettings, OptimizerKind, Precision, Schedule, table::EmbeddingSize},
    preprocess::{CategoryEncoding, PreprocessorSettings},
};

/// Hyper-parameters; each field is a parameter of the same name in [`crate::Params`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpSettings {
    /// Hidden layers, 0 to 8; zero is logistic or linear regression.
    pub hidden_layers: usize,
    /// Units per hidden layer, 1 to 4,096.
    pub hidden_units: usize,
    /// What gradients are computed with; the model is in single precision regardless.
    pub precision: Precision,
    /// How gradients become steps.
    pub optimizer: OptimizerKind,
    /// Step size, in (0, 1].
    pub learning_rate: f64,
    /// How the step size changes.
    pub schedule: Schedule,
    /// Steps over which it rises to its full size.
    pub warmup_steps: usize,
    /// Epochs between decays of [`Schedule::Step`], at least 1.
    pub decay_epochs: usize,
    /// What each decay multiplies by, in (0, 1].
    pub decay_factor: f64,
    /// Penalty on weights, at least 0; see [`OptimizerKind`].
    pub weight_decay: f64,
    /// Longest gradient by its Euclidean norm; zero clips nothing.
    pub clip_norm: f64,
    /// Rows per batch, 1 to 65,536.
    pub batch_rows: usize,
    /// Batches that are averaged into one step, 1 to 1,024.
    pub accumulate: usize,
    /// How text becomes numbers. With [`CategoryEncoding::Embedding`] the network learns a vector of
    /// each category, and one for rare and unseen ones: fewer weights than a column per category, and
    /// better where there are many.
    pub encoding: CategoryEncoding,
    /// Numbers per vector of a category, at most 512; zero is `min(50, round(1.6 n^0.56))` of `n`
    /// categories.
    pub embedding_dimension: usize,
    /// Quantiles that numbers are put onto a normal distribution by; zero standardizes them instead.
    pub quantiles: usize,
    /// Weigh rows so that both classes count alike, on top of their own weights.
    pub balance_classes: bool,
    /// Passes over the training rows at most, 1 to 10,000.
    pub epochs: usize,
    /// Stop after so many epochs without improvement on the held-out rows and keep the best
    /// weights; zero never stops early and holds out nothing.
    pub early_stopping_epochs: usize,
    /// Share of rows held out for early stopping, in (0, 0.5]: the latest where rows have times,
    /// else drawn by the seed.
    pub validation_share: f64,
}

impl Default for MlpSettings {
    fn default() -> Self {
        Self {
            hidden_layers: 2,
            hidden_units: 64,
            precision: Precision::F32,
            optimizer: OptimizerKind::Adam,
            learning_rate: 1e-3,
            schedule: Schedule::Constant,
            warmup_steps: 0,
            decay_epochs: 10,
            decay_factor: 0.1,
            weight_decay: 0.0,
            clip_norm: 0.0,
            batch_rows: 256,
            accumulate: 1,
            encoding: CategoryEncoding::OneHot,
            embedding_dimension: 0,
            quantiles: 0,
            balance_classes: false,
            epochs: 20,
            early_stopping_epochs: 5,
            validation_share: 0.1,
        }
    }
}

impl MlpSettings {
    /// Checks every range.
    ///
    /// # Errors
    /// `InvalidArgument` naming all fields that are out of range.
    pub fn validate(&self) -> Result<()> {
        let checks = [
            ("hidden_layers must be at most 8", self.hidden_layers <= 8),
            ("hidden_units must be from 1 to 4096", (1..=4096).contains(&self.hidden_units)),
            ("embedding_dimension must be at most 512", self.embedding_dimension <= 512),
            ("validation_share must be in (0, 0.5]", self.validation_share > 0.0 && self.validation_share <= 0.5),
        ];
        let mut faults: Vec<&str> = checks.iter().filter(|check| !check.1).map(|check| check.0).collect();
        faults.extend(self.training().faults());
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("settings of the perceptron: {}", faults.join("; "))))
    }

    pub(crate) fn preprocessing(&self) -> PreprocessorSettings {
        let Self { encoding, quantiles, .. } = *self;
        let base = match encoding {
            CategoryEncoding::Embedding => PreprocessorSettings::for_embeddings(),
            _ => PreprocessorSettings::for_networks(),
        };
        PreprocessorSettings { encoding, quantiles, ..base }
    }

    /// The tables of vectors for columns of so many codes.
    pub(super) fn embeddings(&self, code_counts: &[Option<usize>]) -> Vec<EmbeddingSize> {
        code_counts.iter().flatten().map(|&codes| EmbeddingSize::new(codes, self.embedding_dimension)).collect()
    }

    /// What the training loop needs of them.
    pub(crate) fn training(&self) -> BurnSettings {
        BurnSettings {
            epochs: self.epochs,
            batch_rows: self.batch_rows,
            accumulate: self.accumulate,
            precision: self.precision,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            decay_epochs: self.decay_epochs,
            decay_factor: self.decay_factor,
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm,
            early_stopping_epochs: self.early_stopping_epochs,
        }
    }

    /// Numbers per layer from the input to the single output.
    pub(crate) fn widths(&self, inputs: usize) -> Vec<usize> {
        let hidden = std::iter::repeat_n(self.hidden_units, self.hidden_layers);
        std::iter::once(inputs).chain(hidden).chain(std::iter::once(1)).collect()
    }
}
