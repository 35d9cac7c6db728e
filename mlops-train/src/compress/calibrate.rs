//! Which range of numbers a layer's inputs are coded over.

use mlops_core::{Error, Result};
use mlops_edge::Affine;
use serde::{Deserialize, Serialize};

use crate::explain::quantile;

/// How the range comes of the inputs that calibration rows give.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Calibration {
    /// From the least to the largest: nothing is cut off, rare extremes coarsen the rest.
    MinMax,
    /// Between this percentile and its complement, above 50 and at most 100 (such as 99.9): rare
    /// extremes are cut off, the rest is finer.
    Percentile(f64),
}

impl Calibration {
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Percentile(percentile) if !(percentile > 50.0 && percentile <= 100.0) => {
                let message = format!("a calibration percentile must be above 50 and at most 100, found {percentile}");
                Err(Error::invalid_argument(message))
            }
            _ => Ok(()),
        }
    }

    /// The code over some inputs.
    pub(super) fn code(self, inputs: &[f32]) -> Affine {
        match self {
            Self::MinMax => {
                let (low, high) = inputs.iter().fold((0.0_f32, 0.0_f32), |(low, high), v| (low.min(*v), high.max(*v)));
                Affine::over(low, high)
            }
            Self::Percentile(percentile) => {
                let mut sorted: Vec<f64> = inputs.iter().map(|&value| f64::from(value)).collect();
                if sorted.is_empty() {
                    return Affine::over(0.0, 0.0);
                }
                sorted.sort_unstable_by(f64::total_cmp);
                let share = percentile / 100.0;
                Affine::over(quantile(&sorted, 1.0 - share) as f32, quantile(&sorted, share) as f32)
            }
        }
    }
}
