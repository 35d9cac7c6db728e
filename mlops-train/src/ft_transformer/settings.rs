//! Hyper-parameters of the transformer.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::network::Shape;
use crate::{neural::BurnSettings, preprocess::PreprocessorSettings};

/// Hyper-parameters; each field, and each of [`BurnSettings`], is a parameter of the same name in
/// [`crate::Params`].
///
/// The shape is the paper's default but for `token_width`, which is 192 there and makes a fit nine
/// times as expensive. The loop's defaults are those of every network here; the paper uses AdamW with
/// a `learning_rate` of 1e-4, which suits its width, and a `weight_decay` of 1e-5 that spares biases,
/// normalization and tokens, while decay here applies to all parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FtTransformerSettings {
    /// Numbers per token, 1 to 1,024; a multiple of `heads`.
    pub token_width: usize,
    /// Blocks of attention, 1 to 12.
    pub blocks: usize,
    /// Parts of each token that attend on their own, 1 to 64.
    pub heads: usize,
    /// Hidden units of a block's dense layers per number of a token, in (0, 8]. There are twice as many
    /// weights before them, for one half gates the other.
    pub hidden_factor: f64,
    /// Share of attention weights that a step drops, from 0 to 0.9.
    pub attention_dropout: f64,
    /// Share of hidden units that a step drops, from 0 to 0.9.
    pub hidden_dropout: f64,
    /// Share of what a block adds to its tokens that a step drops, from 0 to 0.9.
    pub residual_dropout: f64,
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

impl Default for FtTransformerSettings {
    fn default() -> Self {
        Self {
            token_width: 64,
            blocks: 3,
            heads: 8,
            hidden_factor: 4.0 / 3.0,
            attention_dropout: 0.2,
            hidden_dropout: 0.1,
            residual_dropout: 0.0,
            quantiles: 0,
            balance_classes: false,
            validation_share: 0.1,
            training: BurnSettings::default(),
        }
    }
}

impl FtTransformerSettings {
    /// Checks every range.
    ///
    /// # Errors
    /// `InvalidArgument` naming all fields that are out of range.
    pub fn validate(&self) -> Result<()> {
        let dropout = |rate: f64| (0.0..=0.9).contains(&rate);
        let divides = self.heads > 0 && self.token_width.is_multiple_of(self.heads);
        let checks = [
            ("token_width must be from 1 to 1024", (1..=1_024).contains(&self.token_width)),
            ("blocks must be from 1 to 12", (1..=12).contains(&self.blocks)),
            ("heads must be from 1 to 64 and divide token_width", (1..=64).contains(&self.heads) && divides),
            ("hidden_factor must be in (0, 8]", self.hidden_factor > 0.0 && self.hidden_factor <= 8.0),
            ("attention_dropout must be from 0 to 0.9", dropout(self.attention_dropout)),
            ("hidden_dropout must be from 0 to 0.9", dropout(self.hidden_dropout)),
            ("residual_dropout must be from 0 to 0.9", dropout(self.residual_dropout)),
            ("validation_share must be in (0, 0.5]", self.validation_share > 0.0 && self.validation_share <= 0.5),
        ];
        let mut faults: Vec<&str> = checks.iter().filter(|check| !check.1).map(|check| check.0).collect();
        faults.extend(self.training.faults());
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("settings of the transformer: {}", faults.join("; "))))
    }

    pub(super) fn preprocessing(&self) -> PreprocessorSettings {
        PreprocessorSettings { quantiles: self.quantiles, ..PreprocessorSettings::for_embeddings() }
    }

    /// The shape of the network for columns of numbers, and of so many codes.
    pub(super) fn shape(&self, code_counts: &[Option<usize>]) -> Shape {
        let codes: Vec<usize> = code_counts.iter().flatten().copied().collect();
        Shape {
            numbers: code_counts.len() - codes.len(),
            codes,
            width: self.token_width,
            blocks: self.blocks,
            heads: self.heads,
            hidden: ((self.token_width as f64 * self.hidden_factor) as usize).max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Params;

    #[test]
    fn parameters_of_the_loop_are_parameters_of_the_transformer() {
        let params = Params::new().with("heads", 4).with("epochs", 3).with("learning_rate", 1);
        let settings: FtTransformerSettings = params.to_settings().unwrap();
        assert_eq!((settings.heads, settings.training.epochs, settings.training.learning_rate), (4, 3, 1.0));
        // What is not named has its default, in the loop as well.
        let training = BurnSettings { epochs: 3, learning_rate: 1.0, ..FtTransformerSettings::default().training };
        assert_eq!(settings, FtTransformerSettings { heads: 4, training, ..FtTransformerSettings::default() });
        for unknown in [Params::new().with("head", 4), Params::new().with("epoch", 4)] {
            assert!(unknown.to_settings::<FtTransformerSettings>().is_err());
        }
    }

    #[test]
    fn all_faults_are_named_at_once() {
        FtTransformerSettings::default().validate().unwrap();
        let training = BurnSettings { epochs: 0, ..BurnSettings::default() };
        let bad = FtTransformerSettings { heads: 5, hidden_dropout: 1.0, training, ..FtTransformerSettings::default() };
        let error = bad.validate().unwrap_err();
        for name in ["heads", "hidden_dropout", "epochs"] {
            assert!(error.message().contains(name), "{error}");
        }
    }
}
