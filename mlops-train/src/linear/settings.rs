//! Hyper-parameters of linear models.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::preprocess::{CategoryEncoding, PreprocessorSettings};

/// Hyper-parameters; each field is a parameter of the same name in [`crate::Params`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearSettings {
    /// Weight `l2` of the penalty `l2 / 2 |w|^2` that is added to the sum of losses; the intercept
    /// is free. It is 1 / C of scikit-learn's `LogisticRegression` and alpha of its `Ridge`.
    pub l2: f64,
    /// Stops when no entry of the gradient of the mean loss exceeds it; of numbers whose deviation is below one, when
    /// none exceeds that part of it.
    pub tolerance: f64,
    /// Newton steps at most, 1 to 1,000.
    pub steps_max: usize,
    /// How text becomes numbers.
    pub encoding: CategoryEncoding,
}

impl Default for LinearSettings {
    fn default() -> Self {
        Self { l2: 1.0, tolerance: 1e-12, steps_max: 100, encoding: CategoryEncoding::OneHot }
    }
}

impl LinearSettings {
    pub(super) fn preprocessing(&self) -> PreprocessorSettings {
        PreprocessorSettings { encoding: self.encoding, ..PreprocessorSettings::for_networks() }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// `InvalidArgument` naming all fields that are out of range.
    pub fn validate(&self) -> Result<()> {
        let checks = [
            ("l2 must be finite and at least 0", self.l2 >= 0.0 && self.l2.is_finite()),
            ("tolerance must be in (0, 1)", self.tolerance > 0.0 && self.tolerance < 1.0),
            ("steps_max must be from 1 to 1000", (1..=1_000).contains(&self.steps_max)),
            ("encoding must not be embedding, for no vectors are learnt", self.encoding != CategoryEncoding::Embedding),
        ];
        let faults: Vec<&str> = checks.iter().filter(|check| !check.1).map(|check| check.0).collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("settings of the linear model: {}", faults.join("; "))))
    }
}
