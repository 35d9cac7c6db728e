//! Hyper-parameters of the perceptron.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    neural::{BurnSettings, table::EmbeddingSize},
    preprocess::{CategoryEncoding, PreprocessorSettings},
};

/// Hyper-parameters; each field, and each of [`BurnSettings`], is a parameter of the same name in
/// [`crate::Params`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MlpSettings {
    /// Hidden layers, 0 to 8; zero is logistic or linear regression.
    pub hidden_layers: usize,
    /// Units per hidden layer, 1 to 4,096.
    pub hidden_units: usize,
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
    /// Share of rows held out for early stopping, in (0, 0.5]: the latest where rows have times,
    /// else drawn by the seed.
    pub validation_share: f64,
    /// How it is trained.
    #[serde(flatten)]
    pub training: BurnSettings,
}

impl Default for MlpSettings {
    fn default() -> Self {
        Self {
            hidden_layers: 2,
            hidden_units: 64,
            encoding: CategoryEncoding::OneHot,
            embedding_dimension: 0,
            quantiles: 0,
            balance_classes: false,
            validation_share: 0.1,
            training: BurnSettings::default(),
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
        faults.extend(self.training.faults());
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

    /// Numbers per layer from the input to the single output.
    pub(crate) fn widths(&self, inputs: usize) -> Vec<usize> {
        let hidden = std::iter::repeat_n(self.hidden_units, self.hidden_layers);
        std::iter::once(inputs).chain(hidden).chain(std::iter::once(1)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{neural::Precision, params::Params};

    #[test]
    fn what_was_stored_flat_is_read_and_written_flat() {
        let stored = r#"{"hidden_layers":1,"hidden_units":8,"precision":"bf16","epochs":7,"learning_rate":0.5}"#;
        let settings: MlpSettings = serde_json::from_str(stored).unwrap();
        let training = BurnSettings {
            epochs: 7,
            learning_rate: 0.5,
            precision: Precision::Bf16,
            ..MlpSettings::default().training
        };
        assert_eq!(settings, MlpSettings { hidden_layers: 1, hidden_units: 8, training, ..MlpSettings::default() });
        let written = serde_json::to_value(&settings).unwrap();
        assert_eq!((&written["epochs"], &written["hidden_units"]), (&7.into(), &8.into()));
        for unknown in [Params::new().with("layers", 4), Params::new().with("epoch", 4)] {
            assert!(unknown.to_settings::<MlpSettings>().is_err());
        }
    }
}
