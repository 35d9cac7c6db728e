//! Metrics of numbers that tell where errors are, and of what kind.
//!
//! Invariant: over finite numbers, rows counting by their weight. Squared and absolute errors and R2
//! are in [`Metric`], losses with a parameter are functions such as
//! [`tweedie_deviance`](crate::tweedie_deviance).

use std::{fmt, str::FromStr};

use mlops_core::{Error, Result};

use crate::{
    correlation::{kendall_tau, pearson, spearman},
    deviance::{tweedie_fault, tweedie_of_row, weighted_median},
    metric::{Metric, Rows, in_range, undefined},
    regression,
};

/// A metric of predicted numbers, by scikit-learn's definitions where it has one.
///
/// ```
/// use mlops_metrics::RegressionMetric;
///
/// let (labels, predictions) = ([1.0, 2.0, 4.0], [1.0, 3.0, 3.0]);
/// assert_eq!(RegressionMetric::MaxError.compute(&labels, &predictions)?, 1.0);
/// assert_eq!(RegressionMetric::Mape.compute(&labels, &predictions)?, 0.25);
/// assert_eq!("pinball_90".parse::<RegressionMetric>()?, RegressionMetric::Pinball { percent: 90 });
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RegressionMetric {
    /// Mean of `|y - p| / max(|y|, 2.2e-16)`: a ratio, not a percentage.
    Mape,
    /// Mean of `2 |y - p| / (|y| + |p|)`, zero where both are zero; 0 to 2.
    Smape,
    /// Median absolute error, in units of the label.
    MedianAe,
    /// Largest absolute error, in units of the label.
    MaxError,
    /// Mean squared difference of `ln(1 + x)`; needs numbers above -1.
    Msle,
    /// Square root of [`RegressionMetric::Msle`].
    Rmsle,
    /// Share of the label's variance that is explained when a constant error is forgiven.
    ExplainedVariance,
    /// Mean of prediction less label, in units of the label: best at zero, not when small.
    Bias,
    /// Sum of absolute errors over the sum of absolute labels.
    Wape,
    /// Mean Poisson deviance; needs labels of at least 0 and predictions above 0.
    PoissonDeviance,
    /// Mean gamma deviance; needs labels and predictions above 0.
    GammaDeviance,
    /// `1 - MAE / MAE of the median`: the absolute error's R2.
    D2Absolute,
    /// Pearson's correlation of labels and predictions; unweighted.
    Pearson,
    /// Spearman's rank correlation; unweighted.
    Spearman,
    /// Kendall's tau-b; unweighted.
    KendallTau,
    /// Mean pinball loss of a predicted quantile.
    Pinball {
        /// The quantile in percent, 1 to 99.
        percent: u8,
    },
}

const NAMED: [(RegressionMetric, &str); 15] = [
    (RegressionMetric::Mape, "mape"),
    (RegressionMetric::Smape, "smape"),
    (RegressionMetric::MedianAe, "median_ae"),
    (RegressionMetric::MaxError, "max_error"),
    (RegressionMetric::Msle, "msle"),
    (RegressionMetric::Rmsle, "rmsle"),
    (RegressionMetric::ExplainedVariance, "explained_variance"),
    (RegressionMetric::Bias, "bias"),
    (RegressionMetric::Wape, "wape"),
    (RegressionMetric::PoissonDeviance, "poisson_deviance"),
    (RegressionMetric::GammaDeviance, "gamma_deviance"),
    (RegressionMetric::D2Absolute, "d2_absolute"),
    (RegressionMetric::Pearson, "pearson"),
    (RegressionMetric::Spearman, "spearman"),
    (RegressionMetric::KendallTau, "kendall_tau"),
];

impl RegressionMetric {
    /// The metrics without a parameter.
    pub fn all() -> impl Iterator<Item = Self> {
        NAMED.iter().map(|row| row.0)
    }

    /// Its value over all rows alike.
    ///
    /// # Errors
    /// As [`RegressionMetric::compute_weighted`].
    pub fn compute(self, labels: &[f64], predictions: &[f64]) -> Result<f64> {
        self.compute_weighted(labels, predictions, None)
    }

    /// Its value over rows that count by their weight.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ or are zero, a number is not finite or out of the range
    /// of the metric, a quantile is out of range, weights are negative or all zero or the metric takes
    /// none; `FailedPrecondition` when it is not defined, as a correlation of a constant column.
    pub fn compute_weighted(self, labels: &[f64], predictions: &[f64], weights: Option<&[f64]>) -> Result<f64> {
        self.check(labels, predictions)?;
        Metric::Mae.check(labels, predictions, weights)?;
        if weights.is_some() && matches!(self, Self::Pearson | Self::Spearman | Self::KendallTau) {
            return Err(Error::invalid_argument(format!("metric {self} takes no weights")).with("metric", self));
        }
        let rows = Rows { labels, scores: predictions, weights };
        let errors = || -> Vec<f64> { labels.iter().zip(predictions).map(|(l, p)| (l - p).abs()).collect() };
        let value = match self {
            Self::MedianAe => weighted_median(&errors(), weights),
            Self::MaxError => errors().into_iter().fold(0.0, f64::max),
            Self::ExplainedVariance => regression::explained_variance(&rows),
            Self::Rmsle => self.mean(&rows).sqrt(),
            Self::Wape => {
                let size = rows.mean(|label, _| label.abs());
                if size <= 0.0 {
                    return Err(undefined(self, "all labels are zero"));
                }
                regression::mae(&rows) / size
            }
            Self::D2Absolute if labels.len() < 2 => return Err(undefined(self, "it needs two rows")),
            Self::D2Absolute => {
                let median = weighted_median(labels, weights);
                regression::explained(regression::mae(&rows), rows.mean(|label, _| (label - median).abs()))
            }
            Self::Pearson => pearson(labels, predictions)?,
            Self::Spearman => spearman(labels, predictions)?,
            Self::KendallTau => kendall_tau(labels, predictions)?,
            _ => self.mean(&rows),
        };
        in_range(self, value)
    }

    fn mean(self, rows: &Rows<'_>) -> f64 {
        rows.mean(|label, prediction| self.of_row(label, prediction).unwrap_or(0.0))
    }

    /// Whether it has no formula for its interval, so that rows must be resampled.
    pub(crate) fn is_resampled(self) -> bool {
        self != Self::MaxError && self.of_row(1.0, 1.0).is_none()
    }

    /// Whether more is better.
    pub(crate) fn is_maximized(self) -> bool {
        matches!(self, Self::ExplainedVariance | Self::D2Absolute | Self::Pearson | Self::Spearman | Self::KendallTau)
    }

    /// What a row adds to the mean behind the metric; `None` for those that are not means.
    pub(crate) fn of_row(self, label: f64, prediction: f64) -> Option<f64> {
        let error = label - prediction;
        Some(match self {
            Self::Mape => error.abs() / label.abs().max(f64::EPSILON),
            Self::Smape if error == 0.0 => 0.0,
            Self::Smape => 2.0 * error.abs() / (label.abs() + prediction.abs()),
            Self::Msle | Self::Rmsle => (label.ln_1p() - prediction.ln_1p()).powi(2),
            Self::Bias => -error,
            Self::Pinball { percent } => {
                let quantile = f64::from(percent) / 100.0;
                (quantile * error).max((quantile - 1.0) * error)
            }
            Self::PoissonDeviance => tweedie_of_row(label, prediction, 1.0),
            Self::GammaDeviance => tweedie_of_row(label, prediction, 2.0),
            Self::MedianAe
            | Self::MaxError
            | Self::ExplainedVariance
            | Self::Wape
            | Self::D2Absolute
            | Self::Pearson
            | Self::Spearman
            | Self::KendallTau => return None,
        })
    }

    pub(crate) fn check(self, labels: &[f64], predictions: &[f64]) -> Result<()> {
        let logarithmic = matches!(self, Self::Msle | Self::Rmsle);
        let problem = if labels.is_empty() || labels.len() != predictions.len() {
            "needs as many predictions as labels, and at least one"
        } else if !labels.iter().chain(predictions).all(|value| value.is_finite()) {
            "needs finite labels and predictions"
        } else if logarithmic && labels.iter().chain(predictions).any(|&value| value <= -1.0) {
            "needs labels and predictions above -1"
        } else if matches!(self, Self::Pinball { percent } if !(1..=99).contains(&percent)) {
            "needs a quantile of 1 to 99 percent"
        } else {
            let deviance = match self {
                Self::PoissonDeviance => tweedie_fault(labels, predictions, 1.0),
                Self::GammaDeviance => tweedie_fault(labels, predictions, 2.0),
                _ => None,
            };
            let Some(fault) = deviance else { return Ok(()) };
            fault
        };
        Err(Error::invalid_argument(format!("metric {self} {problem}")).with("metric", self))
    }
}

impl fmt::Display for RegressionMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pinball { percent } => write!(f, "pinball_{percent}"),
            named => f.write_str(NAMED.iter().find(|row| row.0 == *named).map_or("unknown", |row| row.1)),
        }
    }
}

impl FromStr for RegressionMetric {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let quantile = name.strip_prefix("pinball_").and_then(|percent| percent.parse().ok());
        if let Some(percent) = quantile.filter(|percent| (1..=99).contains(percent)) {
            return Ok(Self::Pinball { percent });
        }
        NAMED.iter().find(|row| row.1 == name).map(|row| row.0).ok_or_else(|| {
            let names: Vec<&str> = NAMED.iter().map(|row| row.1).collect();
            Error::invalid_argument(format!(
                "metric {name:?} is unknown; there are {} and pinball_1 to pinball_99",
                names.join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for metric in RegressionMetric::all().chain([RegressionMetric::Pinball { percent: 5 }]) {
            assert_eq!(metric.to_string().parse::<RegressionMetric>().unwrap(), metric);
        }
        for wrong in ["pinball_0", "pinball_100", "mse2"] {
            assert!(wrong.parse::<RegressionMetric>().is_err());
        }
    }

    #[test]
    fn edges_are_those_of_scikit_learn() {
        // sklearn.metrics 1.9.1 on the same numbers.
        let check = |metric: RegressionMetric, labels: &[f64], predictions: &[f64], expected: f64| {
            let found = metric.compute(labels, predictions).unwrap();
            assert!((found - expected).abs() <= 1e-12 * expected.abs(), "{metric}: {found} {expected}");
        };
        check(RegressionMetric::ExplainedVariance, &[2.0, 2.0], &[1.0, 1.0], 1.0);
        check(RegressionMetric::ExplainedVariance, &[2.0, 2.0], &[1.0, 3.0], 0.0);
        // The mean of three times 0.1 is another double, which leaves a variance that is none.
        let third = [0.1; 3];
        check(RegressionMetric::ExplainedVariance, &third, &[0.1, 0.2, 0.1], 0.0);
        let weighted = RegressionMetric::ExplainedVariance.compute_weighted(&third, &third, Some(&[0.1, 0.7, 0.3]));
        assert_eq!(weighted.unwrap(), 1.0);
        assert!(RegressionMetric::D2Absolute.compute(&[2.0], &[1.0]).is_err());
        check(RegressionMetric::MedianAe, &[0.0; 4], &[1.0, 2.0, 3.0, 10.0], 2.5);
        check(RegressionMetric::Mape, &[0.0, 1.0], &[1.0, 1.0], 0.5 / f64::EPSILON);
        check(RegressionMetric::Smape, &[0.0, 1.0], &[0.0, 3.0], 0.5);
        assert!(RegressionMetric::Rmsle.compute(&[-1.0], &[0.0]).is_err());
        assert!(RegressionMetric::Mape.compute(&[], &[]).is_err());
        assert!(RegressionMetric::Bias.compute(&[f64::NAN], &[0.0]).is_err());
    }
}
