//! What can be estimated of a classifier.

use std::fmt;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What each outcome of a decision is worth, in any one currency.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValueMatrix {
    /// A positive that was called.
    pub true_positive: f64,
    /// A negative that was called.
    pub false_positive: f64,
    /// A positive that was missed.
    pub false_negative: f64,
    /// A negative that was left alone.
    pub true_negative: f64,
}

/// A metric of a classifier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CbpeMetric {
    /// Share of rows that are right.
    Accuracy,
    /// Share of positives among those called.
    Precision,
    /// Share of the positives that are called.
    Recall,
    /// Share of the negatives that are left alone.
    Specificity,
    /// Harmonic mean of precision and recall.
    F1,
    /// Area under the receiver operating characteristic.
    RocAuc,
    /// Mean precision over the positives, as scikit-learn's `average_precision_score`.
    AveragePrecision,
    /// Share of rows that are called and positive.
    TruePositive,
    /// Share of rows that are called and negative.
    FalsePositive,
    /// Share of rows that are not called and positive.
    FalseNegative,
    /// Share of rows that are not called and negative.
    TrueNegative,
    /// Mean value of a row; times the rows it is the value of the window.
    BusinessValue(ValueMatrix),
}

impl CbpeMetric {
    /// The stable name in reports.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::Precision => "precision",
            Self::Recall => "recall",
            Self::Specificity => "specificity",
            Self::F1 => "f1",
            Self::RocAuc => "roc_auc",
            Self::AveragePrecision => "average_precision",
            Self::TruePositive => "true_positive",
            Self::FalsePositive => "false_positive",
            Self::FalseNegative => "false_negative",
            Self::TrueNegative => "true_negative",
            Self::BusinessValue(_) => "business_value",
        }
    }

    /// Whether it is defined for more than two classes, as the mean over one class against the rest.
    #[must_use]
    pub fn is_multiclass(&self) -> bool {
        matches!(
            self,
            Self::Accuracy
                | Self::Precision
                | Self::Recall
                | Self::Specificity
                | Self::F1
                | Self::RocAuc
                | Self::AveragePrecision
        )
    }

    /// Smallest and largest value.
    pub(super) fn range(&self) -> (f64, f64) {
        match self {
            Self::BusinessValue(_) => (f64::NEG_INFINITY, f64::INFINITY),
            _ => (0.0, 1.0),
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        let Self::BusinessValue(value) = self else { return Ok(()) };
        let cells = [value.true_positive, value.false_positive, value.false_negative, value.true_negative];
        if cells.iter().all(|cell| cell.abs() <= 1e150) {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("value matrix: values must be finite and at most 1e150, found {cells:?}")))
    }
}

impl fmt::Display for CbpeMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
