//! Hyper-parameters of the autoencoder.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{neural::BurnSettings, preprocess::PreprocessorSettings};

/// Hyper-parameters; each field, and each of [`BurnSettings`], is a parameter of the same name in
/// [`crate::Params`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AutoencoderSettings {
    /// Units of the layers before and after the narrowest, 1 to 4,096.
    pub hidden_units: usize,
    /// Numbers that a row has to pass through, 1 to 4,096. As many as it has tell nothing.
    pub bottleneck: usize,
    /// Share of training rows whose score is at most the threshold, in (0, 1].
    pub threshold_quantile: f64,
    /// Quantiles that numbers are put onto a normal distribution by; zero standardizes them instead,
    /// so that how far out a number is counts.
    pub quantiles: usize,
    /// Share of rows held out for early stopping, in (0, 0.5]: the latest where rows have times,
    /// else drawn by the seed.
    pub validation_share: f64,
    /// How it is trained.
    #[serde(flatten)]
    pub training: BurnSettings,
}

impl Default for AutoencoderSettings {
    fn default() -> Self {
        Self {
            hidden_units: 64,
            bottleneck: 8,
            threshold_quantile: 0.99,
            quantiles: 0,
            validation_share: 0.1,
            training: BurnSettings::default(),
        }
    }
}

impl AutoencoderSettings {
    /// Checks every range.
    ///
    /// # Errors
    /// `InvalidArgument` naming all fields that are out of range.
    pub fn validate(&self) -> Result<()> {
        let share = |value: f64, max: f64| value > 0.0 && value <= max;
        let checks = [
            ("hidden_units must be from 1 to 4096", (1..=4_096).contains(&self.hidden_units)),
            ("bottleneck must be from 1 to 4096", (1..=4_096).contains(&self.bottleneck)),
            ("threshold_quantile must be in (0, 1]", share(self.threshold_quantile, 1.0)),
            ("validation_share must be in (0, 0.5]", share(self.validation_share, 0.5)),
        ];
        let mut faults: Vec<&str> = checks.iter().filter(|check| !check.1).map(|check| check.0).collect();
        faults.extend(self.training.faults());
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("settings of the autoencoder: {}", faults.join("; "))))
    }

    pub(super) fn preprocessing(&self) -> PreprocessorSettings {
        PreprocessorSettings { quantiles: self.quantiles, ..PreprocessorSettings::for_networks() }
    }

    /// Numbers per layer for rows of so many numbers.
    pub(super) fn widths(&self, inputs: usize) -> Vec<usize> {
        vec![inputs, self.hidden_units, self.bottleneck, self.hidden_units, inputs]
    }
}
