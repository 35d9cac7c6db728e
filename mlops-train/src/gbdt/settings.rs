//! Hyper-parameters of boosted trees.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::preprocess::{CategoryEncoding, PreprocessorSettings};

/// Hyper-parameters with defaults that suit tables of a thousand to a million rows.
///
/// Each field is a parameter of the same name in [`crate::Params`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GbdtSettings {
    /// Trees at most, 1 to 10,000.
    pub rounds: usize,
    /// Share of each tree's step that is taken, in (0, 1].
    pub learning_rate: f64,
    /// Edges from root to leaf at most, 1 to 30.
    pub max_depth: usize,
    /// Leaves per tree at most, 2 to 4,096; the most gainful splits come first.
    pub max_leaves: usize,
    /// Training rows per leaf at least.
    pub min_child_rows: usize,
    /// Sum of second derivatives per leaf at least.
    pub min_child_weight: f64,
    /// L2 penalty on leaf values.
    pub lambda: f64,
    /// Gain that a split must exceed.
    pub min_gain: f64,
    /// Share of rows that each tree sees, in (0, 1].
    pub subsample: f64,
    /// Share of features that each tree sees, in (0, 1].
    pub colsample: f64,
    /// Bins per feature besides the one for missing values, 2 to 255.
    pub max_bins: usize,
    /// How text becomes numbers.
    pub encoding: CategoryEncoding,
    /// Stop after so many rounds without improvement on the held-out rows; zero never stops early
    /// and holds out nothing.
    pub early_stopping_rounds: usize,
    /// Share of rows held out for early stopping, in (0, 0.5]: the latest where rows have times,
    /// else drawn by the seed.
    pub validation_share: f64,
}

impl Default for GbdtSettings {
    fn default() -> Self {
        Self {
            rounds: 200,
            learning_rate: 0.1,
            max_depth: 6,
            max_leaves: 31,
            min_child_rows: 20,
            min_child_weight: 1e-3,
            lambda: 1.0,
            min_gain: 0.0,
            subsample: 1.0,
            colsample: 1.0,
            max_bins: 255,
            encoding: CategoryEncoding::Ordinal,
            early_stopping_rounds: 0,
            validation_share: 0.1,
        }
    }
}

impl GbdtSettings {
    pub(super) fn preprocessing(&self) -> PreprocessorSettings {
        PreprocessorSettings { encoding: self.encoding, ..PreprocessorSettings::for_trees() }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// `InvalidArgument` naming all fields that are out of range.
    pub fn validate(&self) -> Result<()> {
        let share = |value: f64, max: f64| value > 0.0 && value <= max;
        let penalty = |value: f64| value >= 0.0 && value.is_finite();
        let checks = [
            ("rounds must be from 1 to 10000", (1..=10_000).contains(&self.rounds)),
            ("learning_rate must be in (0, 1]", share(self.learning_rate, 1.0)),
            ("max_depth must be from 1 to 30", (1..=30).contains(&self.max_depth)),
            ("max_leaves must be from 2 to 4096", (2..=4096).contains(&self.max_leaves)),
            ("min_child_rows must be at least 1", self.min_child_rows >= 1),
            ("min_child_weight must be finite and at least 0", penalty(self.min_child_weight)),
            ("lambda must be finite and at least 0", penalty(self.lambda)),
            ("min_gain must be finite and at least 0", penalty(self.min_gain)),
            ("subsample must be in (0, 1]", share(self.subsample, 1.0)),
            ("colsample must be in (0, 1]", share(self.colsample, 1.0)),
            ("max_bins must be from 2 to 255", (2..=255).contains(&self.max_bins)),
            ("validation_share must be in (0, 0.5]", share(self.validation_share, 0.5)),
        ];
        let faults: Vec<&str> = checks.iter().filter(|check| !check.1).map(|check| check.0).collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("settings of boosted trees: {}", faults.join("; "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_at_once() {
        GbdtSettings::default().validate().unwrap();
        let bad = GbdtSettings { rounds: 0, learning_rate: f64::NAN, max_bins: 256, ..GbdtSettings::default() };
        let error = bad.validate().unwrap_err();
        for name in ["rounds", "learning_rate", "max_bins"] {
            assert!(error.message().contains(name), "{error}");
        }
    }
}
