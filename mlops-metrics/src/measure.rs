//! Every metric under one type, by name, for settings and reports.
//!
//! Invariant: a name reads back to the same metric. Values and intervals are in `estimate`.

use std::{fmt, str::FromStr};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    calibration::CALIBRATION_BINS_MAX, class_metric::ClassMetric, direction::Direction, metric::Metric,
    rank_metric::RankMetric, regression_metric::RegressionMetric,
};

/// Any metric: of two classes, of several, of numbers or of ranked lists.
///
/// It is written by its name: those of [`Metric`], [`RegressionMetric`], [`ClassMetric`] and
/// [`RankMetric`], and `ece_10` for the calibration error with 10 bins of equal width.
///
/// ```
/// use mlops_metrics::{Direction, Measure, Metric};
///
/// let measures: Vec<Measure> = serde_json::from_str(r#"["roc_auc", "ece_10", "ndcg_at_5", "bias"]"#)?;
/// assert_eq!(measures[0], Measure::from(Metric::RocAuc));
/// assert_eq!(measures[3].direction(), None);
/// assert!(measures[3].loss(-2.0) > measures[3].loss(1.0));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Measure {
    /// Of labels 0 and 1 or numbers; accuracy, balanced accuracy, Matthews' correlation and log
    /// loss of several classes too.
    Score(Metric),
    /// Of numbers.
    Number(RegressionMetric),
    /// Of several classes.
    Class(ClassMetric),
    /// Of ranked lists.
    Rank(RankMetric),
    /// Expected calibration error of probabilities in bins of equal width.
    Ece {
        /// Number of bins, 1 to [`CALIBRATION_BINS_MAX`].
        bins: u32,
    },
}

impl Measure {
    /// Which values are better; `None` when the best value is zero from both sides.
    #[must_use]
    pub fn direction(self) -> Option<Direction> {
        match self {
            Self::Score(metric) => Some(metric.direction()),
            Self::Number(RegressionMetric::Bias) => None,
            Self::Number(metric) if metric.is_maximized() => Some(Direction::Maximize),
            Self::Class(_) | Self::Rank(_) => Some(Direction::Maximize),
            Self::Number(_) | Self::Ece { .. } => Some(Direction::Minimize),
        }
    }

    /// The value as something to minimize.
    #[must_use]
    pub fn loss(self, value: f64) -> f64 {
        self.direction().map_or(value.abs(), |direction| direction.loss(value))
    }
}

impl From<Metric> for Measure {
    fn from(metric: Metric) -> Self {
        Self::Score(metric)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Score(metric) => metric.fmt(f),
            Self::Number(metric) => metric.fmt(f),
            Self::Class(metric) => metric.fmt(f),
            Self::Rank(metric) => metric.fmt(f),
            Self::Ece { bins } => write!(f, "ece_{bins}"),
        }
    }
}

impl From<Measure> for String {
    fn from(measure: Measure) -> Self {
        measure.to_string()
    }
}

impl TryFrom<String> for Measure {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        name.parse()
    }
}

impl FromStr for Measure {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let bins = name.strip_prefix("ece_").and_then(|bins| bins.parse().ok());
        if let Some(bins) = bins.filter(|bins| (1..=CALIBRATION_BINS_MAX).contains(bins)) {
            return Ok(Self::Ece { bins });
        }
        let score = name.parse().map(Self::Score);
        let class = || name.parse().map(Self::Class);
        let number = || name.parse().map(Self::Number);
        let rank = || name.parse().map(Self::Rank);
        let unknown = |_: Error| Error::invalid_argument(format!("metric {name:?} is unknown; {}", known()));
        score.or_else(|_: Error| class()).or_else(|_: Error| number()).or_else(|_: Error| rank()).map_err(unknown)
    }
}

fn known() -> String {
    let scores = Metric::all().map(|metric| metric.to_string());
    let classes = ClassMetric::all().map(|metric| metric.to_string());
    let numbers = RegressionMetric::all().map(|metric| metric.to_string());
    let names: Vec<String> = scores.chain(numbers).chain(classes).collect();
    format!("there are {}, pinball_1 to pinball_99, ece_10, ndcg, map, mrr, and ndcg_at_10", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let all = Metric::all()
            .map(Measure::Score)
            .chain(RegressionMetric::all().map(Measure::Number))
            .chain(ClassMetric::all().map(Measure::Class))
            .chain(["ndcg_at_3", "mrr", "ece_15", "pinball_90"].map(|name| name.parse().unwrap()));
        for measure in all {
            assert_eq!(measure.to_string().parse::<Measure>().unwrap(), measure);
        }
        let error = "auc".parse::<Measure>().unwrap_err();
        assert!(error.message().contains("roc_auc") && error.message().contains("f1_macro"), "{error}");
        assert!("ece_0".parse::<Measure>().is_err());
    }
}
