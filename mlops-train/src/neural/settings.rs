//! How a module is trained.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{optimizer::OptimizerKind, precision::Precision, schedule::Schedule};

/// How a module is trained, whatever it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BurnSettings {
    /// Passes over the training rows at most, 1 to 10,000.
    pub epochs: usize,
    /// Rows per batch, 1 to 65,536.
    pub batch_rows: usize,
    /// Batches whose gradients are averaged, row by row, into one step; 1 to 1,024.
    pub accumulate: usize,
    /// What the device computes with.
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
    /// Penalty on weights, at least 0; see [`OptimizerKind`] for what it does.
    pub weight_decay: f64,
    /// Longest gradient, by its Euclidean norm over all parameters; longer ones are scaled down to
    /// it. Zero clips nothing.
    pub clip_norm: f64,
    /// Stop after so many epochs without improvement on the held-out rows; zero never stops early.
    /// Where rows are held out, the weights of the best epoch are kept.
    pub early_stopping_epochs: usize,
}

impl Default for BurnSettings {
    fn default() -> Self {
        Self {
            epochs: 20,
            batch_rows: 256,
            accumulate: 1,
            precision: Precision::F32,
            optimizer: OptimizerKind::Adam,
            learning_rate: 1e-3,
            schedule: Schedule::Constant,
            warmup_steps: 0,
            decay_epochs: 10,
            decay_factor: 0.1,
            weight_decay: 0.0,
            clip_norm: 0.0,
            early_stopping_epochs: 5,
        }
    }
}

impl BurnSettings {
    /// Checks every range.
    ///
    /// # Errors
    /// `InvalidArgument` naming all fields that are out of range.
    pub fn validate(&self) -> Result<()> {
        let faults = self.faults();
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("settings of training: {}", faults.join("; "))))
    }

    pub(crate) fn faults(&self) -> Vec<&'static str> {
        let at_least_zero = |value: f64| value >= 0.0 && value.is_finite();
        let checks = [
            ("epochs must be from 1 to 10000", (1..=10_000).contains(&self.epochs)),
            ("batch_rows must be from 1 to 65536", (1..=65_536).contains(&self.batch_rows)),
            ("accumulate must be from 1 to 1024", (1..=1_024).contains(&self.accumulate)),
            ("learning_rate must be in (0, 1]", self.learning_rate > 0.0 && self.learning_rate <= 1.0),
            ("decay_epochs must be at least 1", self.decay_epochs >= 1),
            ("decay_factor must be in (0, 1]", self.decay_factor > 0.0 && self.decay_factor <= 1.0),
            ("weight_decay must be finite and at least 0", at_least_zero(self.weight_decay)),
            ("clip_norm must be finite and at least 0", at_least_zero(self.clip_norm)),
        ];
        checks.into_iter().filter(|check| !check.1).map(|check| check.0).collect()
    }
}
