//! A metric with its interval and with what a test of two of them needs.
//!
//! Invariant: every estimate names the method of its interval, and two estimates of one metric
//! carry the same kind of evidence, so that they can be compared. Intervals hold for independent
//! rows; repeated looks at growing data need wider ones.

mod binary;
mod classes;
mod numbers;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    bootstrap::Bootstrap,
    calibration::{CalibrationBins, expected_calibration_error},
    class_metric::{ClassMetric, ClassRows},
    confusion::Average,
    interval::{Interval, check_level, mover_difference, mover_mean, student_mean, wilson},
    measure::Measure,
    metric::Metric,
};

/// The value of a metric, how sure it is, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Rows (queries, of a metric of ranked lists) that it is about.
    pub n: u64,
    /// Where the true value lies; `None` where no method holds, as for a largest error.
    pub interval: Option<Interval>,
    /// What a test against another estimate needs.
    pub evidence: Evidence,
}

/// What is known of the sampling distribution of an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Evidence {
    /// Nothing.
    Unknown,
    /// It is a proportion, or an increasing function of one as F1 is of
    /// `TP / (TP + FP + FN)`.
    Proportion {
        /// Successes.
        successes: u64,
        /// Trials.
        trials: u64,
    },
    /// It is a mean over rows, or an increasing function of one as RMSE is.
    Mean {
        /// Rows.
        n: u64,
        /// Their mean.
        mean: f64,
        /// Their variance, with n - 1 in the denominator.
        variance: f64,
    },
    /// It is about normal on some scale.
    Normal {
        /// The value on that scale.
        center: f64,
        /// Its standard error.
        standard_error: f64,
    },
}

/// How intervals are computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EstimateOptions {
    /// Confidence, between 0 and 1. Default 0.95.
    pub level: f64,
    /// Resamples where there is no formula, 10 to [`crate::RESAMPLES_MAX`]. Default 500.
    pub resamples: u32,
    /// Seed of the resamples.
    pub seed: u64,
    /// Rows drawn in all resamples together; beyond, fewer resamples are drawn, down to 50.
    /// Default 50 million.
    pub draws_max: u64,
}

impl Default for EstimateOptions {
    fn default() -> Self {
        Self { level: 0.95, resamples: 500, seed: 0, draws_max: 50_000_000 }
    }
}

impl EstimateOptions {
    /// Checks the options.
    ///
    /// # Errors
    /// `InvalidArgument` when a value is out of range.
    pub fn validate(&self) -> Result<()> {
        self.bootstrap(1).validate()
    }

    /// The bootstrap for so many rows.
    #[must_use]
    pub fn bootstrap(&self, rows: usize) -> Bootstrap {
        let affordable = self.draws_max / (rows as u64).max(1);
        let resamples = u32::try_from(affordable.max(50)).unwrap_or(u32::MAX).min(self.resamples);
        Bootstrap { resamples, seed: self.seed, level: self.level, ..Bootstrap::default() }
    }
}

/// Labels and predictions of one task.
#[derive(Debug, Clone, PartialEq)]
pub enum ScoredRows<'a> {
    /// Two classes.
    Binary {
        /// 0 or 1.
        labels: &'a [f64],
        /// Scores; probabilities where a metric needs them.
        scores: &'a [f64],
        /// Rows are called positive from this score on.
        threshold: f64,
    },
    /// Several classes.
    Classes(ClassRows<'a>),
    /// Numbers.
    Numbers {
        /// What happened.
        labels: &'a [f64],
        /// What was said.
        predictions: &'a [f64],
    },
    /// Ranked lists; rows of one query follow each other.
    Queries {
        /// The query of each row.
        queries: &'a [usize],
        /// How relevant each row is.
        relevance: &'a [f64],
        /// By which rows are ordered, highest first.
        scores: &'a [f64],
        /// Relevance from which a row is relevant.
        relevant_min: f64,
    },
}

impl Estimate {
    /// The interval of this value less another's, from both intervals (MOVER, which for two
    /// proportions is Newcombe's).
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Interval> {
        Some(mover_difference((self.value, self.interval?), (other.value, other.interval?)))
    }

    fn bare(value: f64, n: usize) -> Self {
        Self { value, n: n as u64, interval: None, evidence: Evidence::Unknown }
    }

    /// An increasing function of a proportion; without trials a value of zero and no evidence.
    fn proportion(successes: f64, trials: f64, n: usize, level: f64, increasing: fn(f64) -> f64) -> Self {
        // Counts of rows are whole numbers below 2^53.
        let (successes, trials) = (successes as u64, trials as u64);
        let Ok(interval) = wilson(successes, trials, level) else { return Self::bare(0.0, n) };
        Self {
            value: increasing(successes as f64 / trials as f64),
            n: n as u64,
            interval: Some(interval.map(increasing)),
            evidence: Evidence::Proportion { successes, trials },
        }
    }

    /// An increasing function of a mean over rows.
    fn mean(values: &[f64], level: f64, increasing: fn(f64) -> f64) -> Self {
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let variance = if n > 1 { squares / (n as f64 - 1.0) } else { 0.0 };
        let interval = student_mean(n as u64, mean, variance, level).map(|interval| interval.map(increasing));
        let evidence =
            if interval.is_some() { Evidence::Mean { n: n as u64, mean, variance } } else { Evidence::Unknown };
        Self { value: increasing(mean), n: n as u64, interval, evidence }
    }

    /// The mean of independent proportions.
    fn mean_proportion(value: f64, parts: &[(f64, f64)], n: usize, level: f64) -> Self {
        let intervals: Option<Vec<(f64, Interval)>> = parts
            .iter()
            .map(|&(k, trials)| wilson(k as u64, trials as u64, level).ok().map(|interval| (k / trials, interval)))
            .collect();
        let interval = intervals.and_then(|parts| mover_mean(&parts));
        // One success and one failure more, lest a part without failures count as certain.
        let variance = |&(k, trials): &(f64, f64)| {
            let p = (k + 1.0) / (trials + 2.0);
            p * (1.0 - p) / trials
        };
        let standard_error = parts.iter().map(variance).sum::<f64>().sqrt() / parts.len() as f64;
        let evidence = match interval {
            Some(_) => Evidence::Normal { center: value, standard_error },
            None => Evidence::Unknown,
        };
        Self { value, n: n as u64, interval, evidence }
    }

    fn resampled(
        value: f64,
        n: usize,
        options: &EstimateOptions,
        statistic: impl Fn(&[usize]) -> Option<f64>,
    ) -> Result<Self> {
        options.validate()?;
        // Too few defined resamples leave the value without an interval.
        let Ok(resampled) = options.bootstrap(n).run(n, statistic) else { return Ok(Self::bare(value, n)) };
        let evidence = Evidence::Normal { center: value, standard_error: resampled.standard_error };
        Ok(Self { value, n: n as u64, interval: Some(resampled.interval), evidence })
    }
}

impl Measure {
    /// Its value over rows, with an interval.
    ///
    /// Methods: proportions by Wilson (F1 as a function of the proportion `TP / (TP + FP + FN)`),
    /// balanced accuracy and macro precision and recall by MOVER over Wilson, areas under the curve
    /// by DeLong on the logit scale, Matthews' correlation of two classes by the delta method on
    /// Fisher's scale, means over rows or queries by Student's t (RMSE and RMSLE as roots of such),
    /// the rest by a percentile bootstrap; a largest error has none.
    ///
    /// # Errors
    /// `InvalidArgument` when the metric is not one of this task, an option is out of range, or
    /// the rows break the metric's rules; `FailedPrecondition` when it is not defined for them.
    pub fn estimate(self, rows: &ScoredRows<'_>, options: &EstimateOptions) -> Result<Estimate> {
        check_level(options.level)?;
        match (self, rows) {
            (Self::Score(metric), ScoredRows::Binary { labels, scores, threshold }) => {
                binary::binary(metric, labels, scores, *threshold, options)
            }
            (Self::Ece { bins }, ScoredRows::Binary { labels, scores, .. }) => {
                let error = |labels: &[f64], scores: &[f64]| {
                    expected_calibration_error(labels, scores, bins, CalibrationBins::Width)
                };
                resampled_pairs(labels, scores, options, &error)
            }
            (Self::Score(metric), ScoredRows::Classes(rows)) => classes::score_of_classes(metric, rows, options),
            (Self::Class(metric), ScoredRows::Classes(rows)) => classes::classes(metric, rows, options),
            (Self::Score(metric), ScoredRows::Numbers { labels, predictions }) if !metric.is_classification() => {
                numbers::score_of_numbers(metric, labels, predictions, options)
            }
            (Self::Number(metric), ScoredRows::Numbers { labels, predictions }) => {
                numbers::numbers(metric, labels, predictions, options)
            }
            (Self::Rank(metric), ScoredRows::Queries { queries, relevance, scores, relevant_min }) => {
                numbers::ranks(metric, &metric.of_queries(queries, relevance, scores, *relevant_min)?, options)
            }
            _ => Err(Error::invalid_argument(format!("metric {self} is not one of this task")).with("metric", self)),
        }
    }

    /// Whether its interval takes resampling, which is too slow for every slice of the data.
    #[must_use]
    pub fn is_resampled(self) -> bool {
        match self {
            Self::Score(metric) => matches!(metric, Metric::AveragePrecision | Metric::R2),
            Self::Number(metric) => metric.is_resampled(),
            Self::Class(metric) => !matches!(
                metric,
                ClassMetric::Precision(Average::Macro | Average::Micro)
                    | ClassMetric::Recall(_)
                    | ClassMetric::F1(Average::Micro)
            ),
            Self::Ece { .. } => true,
            Self::Rank(_) => false,
        }
    }
}

fn same(value: f64) -> f64 {
    value
}

/// A metric of labels and scores.
type PairMetric<'a> = &'a dyn Fn(&[f64], &[f64]) -> Result<f64>;

fn resampled_pairs(
    labels: &[f64],
    scores: &[f64],
    options: &EstimateOptions,
    metric: PairMetric<'_>,
) -> Result<Estimate> {
    Estimate::resampled(metric(labels, scores)?, labels.len(), options, |rows| {
        metric(&chosen(labels, rows), &chosen(scores, rows)).ok()
    })
}

fn chosen<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().filter_map(|&row| values.get(row).copied()).collect()
}
