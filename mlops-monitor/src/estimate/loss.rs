//! How wrong a prediction of a number is, and models that foretell it.

use std::fmt;

use mlops_core::Result;
use serde::{Deserialize, Serialize};

/// The loss of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// |y - p|.
    Absolute,
    /// (y - p)^2.
    Squared,
    /// |y - p| / max(epsilon, |y|), epsilon being that of doubles, as scikit-learn has it.
    Percentage,
    /// (ln(1 + y) - ln(1 + p))^2, for numbers above -1.
    SquaredLog,
}

impl Loss {
    /// The loss of a prediction; `None` where it does not exist or is beyond the range of doubles.
    #[must_use]
    pub fn of(self, label: f64, prediction: f64) -> Option<f64> {
        let gap = (label - prediction).abs();
        let loss = match self {
            Self::Absolute => gap,
            Self::Squared => gap * gap,
            Self::Percentage => gap / label.abs().max(f64::EPSILON),
            Self::SquaredLog if label > -1.0 && prediction > -1.0 => (label.ln_1p() - prediction.ln_1p()).powi(2),
            Self::SquaredLog => return None,
        };
        // So that sums of squares of losses stay finite as well.
        Some(loss).filter(|loss| *loss <= 1e150)
    }
}

/// A metric of a regression model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossMetric {
    /// Mean absolute error.
    Mae,
    /// Mean squared error.
    Mse,
    /// Its root.
    Rmse,
    /// Mean absolute percentage error, as a share.
    Mape,
    /// Mean squared logarithmic error.
    Msle,
    /// Its root.
    Rmsle,
}

impl LossMetric {
    /// The loss that it is the mean, or the root of the mean, of.
    #[must_use]
    pub fn loss(self) -> Loss {
        match self {
            Self::Mae => Loss::Absolute,
            Self::Mse | Self::Rmse => Loss::Squared,
            Self::Mape => Loss::Percentage,
            Self::Msle | Self::Rmsle => Loss::SquaredLog,
        }
    }

    /// The metric of a mean loss.
    #[must_use]
    pub fn of_mean(self, loss: f64) -> f64 {
        match self {
            Self::Rmse | Self::Rmsle => loss.sqrt(),
            _ => loss,
        }
    }

    /// Variance of the metric on one row, from mean and variance of the loss: for a root by its derivative.
    pub(super) fn row_variance(self, mean: f64, variance: f64) -> f64 {
        match self {
            Self::Rmse | Self::Rmsle if mean > 0.0 => variance / (4.0 * mean),
            _ => variance,
        }
    }

    /// The stable name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mae => "mae",
            Self::Mse => "mse",
            Self::Rmse => "rmse",
            Self::Mape => "mape",
            Self::Msle => "msle",
            Self::Rmsle => "rmsle",
        }
    }
}

impl fmt::Display for LossMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A model that foretells the loss of a row.
///
/// It is learnt outside and handed in: any regressor that minimises the squared error will do, since the mean of its
/// predictions then estimates the mean loss.
pub trait LossModel: fmt::Debug + Send + Sync + 'static {
    /// The loss expected of each row. Columns are the features in the order they were learnt, the model's prediction
    /// last; all have the same length. Features may be NaN or infinite; the answer has one finite number a row.
    ///
    /// # Errors
    /// `InvalidArgument` when columns are more or fewer than were learnt.
    fn predict(&self, columns: &[Vec<f64>]) -> Result<Vec<f64>>;
}
