//! The metrics by name, with their direction.

use std::{fmt, str::FromStr};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{confusion::ConfusionMatrix, direction::Direction, probability, ranking, regression};

/// Scores from here on are called positive.
const THRESHOLD: f64 = 0.5;

/// A number that says how good scores are for labels.
///
/// Metrics of classification take labels 0 and 1 and probabilities (ranking metrics take any
/// score); a row counts as positive from probability one half. Metrics of regression take any
/// numbers.
///
/// ```
/// use mlops_metrics::Metric;
///
/// let labels = [0.0, 1.0, 0.0, 1.0];
/// assert_eq!(Metric::RocAuc.compute(&labels, &[0.1, 0.9, 0.2, 0.2])?, 0.875);
/// assert!(Metric::RocAuc.compute(&[1.0, 1.0], &[0.1, 0.9]).is_err());
/// assert_eq!("roc_auc".parse::<Metric>()?, Metric::RocAuc);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Metric {
    /// Area under the receiver operating characteristic; ties count one half.
    RocAuc,
    /// Sum of precision times the step in recall over all thresholds, without interpolation.
    AveragePrecision,
    /// Mean negative log likelihood in nats; probabilities are clipped to 2.2e-16 from both ends.
    LogLoss,
    /// Mean squared difference of probability and label.
    Brier,
    /// Share of rows on the right side.
    Accuracy,
    /// Mean of the recalls of both classes.
    BalancedAccuracy,
    /// Share of positives among rows called positive; zero when none is.
    Precision,
    /// Share of positives that are called positive; zero when there are none.
    Recall,
    /// Harmonic mean of precision and recall; zero when both are.
    F1,
    /// Matthews' correlation of labels and calls; zero when either is constant.
    Mcc,
    /// Mean squared error.
    Mse,
    /// Square root of the mean squared error, in units of the label.
    Rmse,
    /// Mean absolute error, in units of the label.
    Mae,
    /// Share of the label's variance that is explained; of a constant label one when all
    /// predictions are exact, else zero. Two rows at least.
    R2,
}

/// Every metric with its name and direction.
const METRICS: [(Metric, &str, Direction); 14] = [
    (Metric::RocAuc, "roc_auc", Direction::Maximize),
    (Metric::AveragePrecision, "average_precision", Direction::Maximize),
    (Metric::LogLoss, "log_loss", Direction::Minimize),
    (Metric::Brier, "brier", Direction::Minimize),
    (Metric::Accuracy, "accuracy", Direction::Maximize),
    (Metric::BalancedAccuracy, "balanced_accuracy", Direction::Maximize),
    (Metric::Precision, "precision", Direction::Maximize),
    (Metric::Recall, "recall", Direction::Maximize),
    (Metric::F1, "f1", Direction::Maximize),
    (Metric::Mcc, "mcc", Direction::Maximize),
    (Metric::Mse, "mse", Direction::Minimize),
    (Metric::Rmse, "rmse", Direction::Minimize),
    (Metric::Mae, "mae", Direction::Minimize),
    (Metric::R2, "r2", Direction::Maximize),
];

impl Metric {
    /// All metrics.
    pub fn all() -> impl Iterator<Item = Self> {
        METRICS.iter().map(|row| row.0)
    }

    fn row(self) -> (&'static str, Direction) {
        METRICS.iter().find(|row| row.0 == self).map_or(("unknown", Direction::Maximize), |row| (row.1, row.2))
    }

    /// The name under which it is logged, such as `roc_auc`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Whether more is better.
    #[must_use]
    pub fn direction(self) -> Direction {
        self.row().1
    }

    /// Whether it takes labels 0 and 1.
    #[must_use]
    pub fn is_classification(self) -> bool {
        !matches!(self, Self::Mse | Self::Rmse | Self::Mae | Self::R2)
    }

    /// Its value over all rows alike.
    ///
    /// # Errors
    /// As [`Metric::compute_weighted`].
    pub fn compute(self, labels: &[f64], scores: &[f64]) -> Result<f64> {
        self.compute_weighted(labels, scores, None)
    }

    /// Its value over rows that count by their weight.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ or are zero, a number is not finite, a weight is
    /// negative or all are zero, labels are not 0 and 1 or probabilities not in [0, 1] where they
    /// must be; `FailedPrecondition` when the metric is not defined, such as an area under the
    /// curve with one class.
    pub fn compute_weighted(self, labels: &[f64], scores: &[f64], weights: Option<&[f64]>) -> Result<f64> {
        self.check(labels, scores, weights)?;
        let rows = Rows { labels, scores, weights };
        let confusion = || ConfusionMatrix::from_scores(rows.iter(), THRESHOLD);
        let value = match self {
            Self::RocAuc => ranking::roc_auc(&rows)?,
            Self::AveragePrecision => ranking::average_precision(&rows)?,
            Self::LogLoss => probability::log_loss(&rows),
            Self::Brier => regression::mse(&rows),
            Self::Accuracy => confusion().accuracy(),
            Self::BalancedAccuracy => balanced_accuracy(&confusion())?,
            Self::Precision => confusion().precision(1),
            Self::Recall => confusion().recall(1),
            Self::F1 => confusion().f1(1),
            Self::Mcc => confusion().mcc(),
            Self::Mse => regression::mse(&rows),
            Self::Rmse => regression::rmse(&rows),
            Self::Mae => regression::mae(&rows),
            Self::R2 if labels.len() < 2 => return Err(undefined(self, "it needs two rows")),
            Self::R2 => regression::r2(&rows),
        };
        in_range(self, value)
    }

    pub(crate) fn check(self, labels: &[f64], scores: &[f64], weights: Option<&[f64]>) -> Result<()> {
        let rows = labels.len();
        let lengths = scores.len() == rows && weights.is_none_or(|weights| weights.len() == rows);
        let problem = if rows == 0 || !lengths {
            "needs as many scores and weights as labels, and at least one"
        } else if !labels.iter().chain(scores).all(|value| value.is_finite()) {
            "needs finite labels and scores"
        } else if self.is_classification() && !labels.iter().all(|&label| label == 0.0 || label == 1.0) {
            "needs labels 0 and 1"
        } else if matches!(self, Self::LogLoss | Self::Brier) && !scores.iter().all(|score| (0.0..=1.0).contains(score))
        {
            "needs probabilities from 0 to 1"
        } else if weights.is_some_and(|weights| {
            !weights.iter().all(|weight| *weight >= 0.0 && weight.is_finite()) || weights.iter().sum::<f64>() <= 0.0
        }) {
            "needs finite weights of at least 0 with a positive sum"
        } else {
            return Ok(());
        };
        Err(Error::invalid_argument(format!("metric {self} {problem}")).with("metric", self))
    }
}

/// Checked inputs of a metric.
pub(crate) struct Rows<'a> {
    pub(crate) labels: &'a [f64],
    pub(crate) scores: &'a [f64],
    pub(crate) weights: Option<&'a [f64]>,
}

impl Rows<'_> {
    /// Label, score and weight of every row.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (f64, f64, f64)> {
        let weights = self.weights.unwrap_or_default();
        let weight = move |row: usize| weights.get(row).copied().unwrap_or(1.0);
        let pairs = self.labels.iter().zip(self.scores).enumerate();
        pairs.map(move |(row, (&label, &score))| (label, score, weight(row)))
    }

    /// The weighted mean of a value per row.
    pub(crate) fn mean(&self, value: impl Fn(f64, f64) -> f64) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for (label, score, weight) in self.iter() {
            sum += weight * value(label, score);
            total += weight;
        }
        sum / total
    }
}

/// Undefined without both classes, unlike that of many classes.
pub(crate) fn balanced_accuracy(confusion: &ConfusionMatrix) -> Result<f64> {
    if confusion.support(0) <= 0.0 || confusion.support(1) <= 0.0 {
        return Err(undefined(Metric::BalancedAccuracy, "labels have one class"));
    }
    Ok(confusion.balanced_accuracy())
}

/// The value, if it is a double: errors near the ends of the range of doubles have squares beyond it.
pub(crate) fn in_range(metric: impl fmt::Display, value: f64) -> Result<f64> {
    if value.is_finite() { Ok(value) } else { Err(undefined(metric, "its value leaves the range of doubles")) }
}

/// The error of a metric that does not exist for these labels.
pub(crate) fn undefined(metric: impl fmt::Display, why: &str) -> Error {
    Error::failed_precondition(format!("metric {metric} is not defined: {why}")).with("metric", metric)
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        METRICS.iter().find(|row| row.1 == name).map(|row| row.0).ok_or_else(|| {
            let names: Vec<&str> = METRICS.iter().map(|row| row.1).collect();
            Error::invalid_argument(format!("metric {name:?} is unknown; there are {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    #[test]
    fn names_are_those_of_serde_and_read_back() {
        for metric in Metric::all() {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
            assert_eq!(metric.name().parse::<Metric>().unwrap(), metric);
        }
        assert!("auc".parse::<Metric>().unwrap_err().message().contains("roc_auc"));
    }

    #[test]
    fn a_constant_label_has_no_variance_whatever_its_mean_rounds_to() {
        let labels = [2.1; 7];
        let weights = [0.1, 0.7, 0.3, 0.9, 0.0, 1.3, 0.2];
        let of = |scores: &[f64]| Metric::R2.compute_weighted(&labels, scores, Some(&weights)).unwrap();
        assert_eq!(of(&labels), 1.0);
        assert_eq!(of(&[2.1, 2.1, 2.2, 2.1, 2.1, 2.1, 2.1]), 0.0);
        // The mean of three times 0.1 is another double.
        assert_eq!(Metric::R2.compute(&[0.1; 3], &[0.1, 0.2, 0.1]).unwrap(), 0.0);
        let error = Metric::R2.compute(&[2.1], &[2.0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    }

    #[test]
    fn labels_of_any_size_have_their_root_mean_square_and_share_explained() {
        let (labels, scores) = ([1.0, 2.0, 4.0, -3.0], [1.5, 2.0, 3.0, -3.5]);
        let of = |metric: Metric, unit: f64| metric.compute(&labels.map(|v| v * unit), &scores.map(|v| v * unit));
        for power in [-1_000, -600, 600, 1_000] {
            let unit = 2.0_f64.powi(power);
            assert_eq!(of(Metric::Rmse, unit).unwrap(), of(Metric::Rmse, 1.0).unwrap() * unit, "2^{power}");
            assert_eq!(of(Metric::R2, unit).unwrap(), of(Metric::R2, 1.0).unwrap(), "2^{power}");
        }
        // A mean of squares beyond the doubles is no value.
        assert_eq!(of(Metric::Mse, 1e200).unwrap_err().kind(), ErrorKind::FailedPrecondition);
        assert_eq!(Metric::Mae.compute(&[f64::MAX], &[-f64::MAX]).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    }

    #[test]
    fn wrong_inputs_are_refused() {
        let check = |metric: Metric, labels: &[f64], scores: &[f64], weights: Option<&[f64]>, kind| {
            assert_eq!(metric.compute_weighted(labels, scores, weights).unwrap_err().kind(), kind, "{metric}");
        };
        check(Metric::Mae, &[], &[], None, ErrorKind::InvalidArgument);
        check(Metric::Mae, &[1.0], &[1.0, 2.0], None, ErrorKind::InvalidArgument);
        check(Metric::Mae, &[1.0], &[f64::NAN], None, ErrorKind::InvalidArgument);
        check(Metric::Mae, &[1.0], &[1.0], Some(&[0.0]), ErrorKind::InvalidArgument);
        check(Metric::Mae, &[1.0, 1.0], &[1.0, 1.0], Some(&[2.0, -1.0]), ErrorKind::InvalidArgument);
        check(Metric::Accuracy, &[2.0], &[0.5], None, ErrorKind::InvalidArgument);
        check(Metric::LogLoss, &[1.0], &[1.5], None, ErrorKind::InvalidArgument);
        check(Metric::RocAuc, &[1.0, 1.0], &[0.5, 0.1], None, ErrorKind::FailedPrecondition);
        check(Metric::AveragePrecision, &[0.0], &[0.5], None, ErrorKind::FailedPrecondition);
    }
}
