//! Hyper-parameters of the perceptron.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Hyper-parameters; each field is a parameter of the same name in [`crate::Params`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpSettings {
    /// Hidden layers, 0 to 8; zero is logistic or linear regression.
    pub hidden_layers: usize,
    /// Units per hidden layer, 1 to 4,096.
    pub hidden_units: usize,
    /// Step size of Adam, in (0, 1].
    pub learning_rate: f64,
    /// L2 penalty added to gradients, at least 0.
    pub weight_decay: f64,
    /// Rows per step, 1 to 65,536.
    pub batch_rows: usize,
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
            learning_rate: 1e-3,
            weight_decay: 0.0,
            batch_rows: 256,
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
            ("learning_rate must be in (0, 1]", self.learning_rate > 0.0 && self.learning_rate <= 1.0),
            ("weight_decay must be finite and at least 0", self.weight_decay >= 0.0 && self.weight_decay.is_finite()),
            ("batch_rows must be from 1 to 65536", (1..=65_536).contains(&self.batch_rows)),
            ("epochs must be from 1 to 10000", (1..=10_000).contains(&self.epochs)),
            ("validation_share must be in (0, 0.5]", self.validation_share > 0.0 && self.validation_share <= 0.5),
        ];
        let faults: Vec<&str> = checks.iter().filter(|check| !check.1).map(|check| check.0).collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("settings of the perceptron: {}", faults.join("; "))))
    }

    /// Numbers per layer from the input to the single output.
    pub(crate) fn widths(&self, inputs: usize) -> Vec<usize> {
        let hidden = std::iter::repeat_n(self.hidden_units, self.hidden_layers);
        std::iter::once(inputs).chain(hidden).chain(std::iter::once(1)).collect()
    }
}
