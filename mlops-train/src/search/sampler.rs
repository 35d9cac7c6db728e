//! How the next parameters are chosen, as plain data.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// A way to choose the next parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sampler {
    /// Every value alike, every trial alone.
    Random,
    /// The tree-structured Parzen estimator, joint over all parameters.
    Tpe(TpeSettings),
}

impl Default for Sampler {
    fn default() -> Self {
        Self::Tpe(TpeSettings::default())
    }
}

/// Settings of the tree-structured Parzen estimator (Bergstra et al. 2011) in the form that Optuna
/// 5.0 gives it: multivariate kernels, the best `min(ceil(0.1 n), 25)` trials against the rest,
/// trials that still run counted among the rest so that parallel askers spread out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TpeSettings {
    /// Finished trials before which parameters are drawn evenly.
    pub startup_trials: usize,
    /// Candidates drawn per proposal, 1 to 10,000.
    pub candidates: usize,
}

impl Default for TpeSettings {
    fn default() -> Self {
        Self { startup_trials: 10, candidates: 24 }
    }
}

impl Sampler {
    pub(crate) fn validate(&self) -> Result<()> {
        match self {
            Self::Tpe(settings) if !(1..=10_000).contains(&settings.candidates) => Err(Error::invalid_argument(
                format!("candidates must be from 1 to 10000, found {}", settings.candidates),
            )),
            _ => Ok(()),
        }
    }
}
