//! A metric with its interval and with what a test of two of them needs.
//!
//! Invariant: every estimate names the method of its interval, and two estimates of one metric
//! carry the same kind of evidence, so that they can be compared. Intervals hold for independent
//! rows; repeated looks at growing data need wider ones.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{
    bootstrap::Bootstrap,
    calibration::{CalibrationBins, expected_calibration_error},
    class_metric::{ClassMetric, ClassRows},
    confusion::{Average, ConfusionMatrix},
    interval::{Interval, IntervalMethod, check_level, deviate, mover_difference, mover_mean, student_mean, wilson},
    measure::Measure,
    metric::{Metric, balanced_accuracy, undefined},
    probability::{class_log_loss_of, log_loss_of},
    rank_metric::RankMetric,
    regression_metric::RegressionMetric,
    stats::auc_variance,
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
                binary(metric, labels, scores, *threshold, options)
            }
            (Self::Ece { bins }, ScoredRows::Binary { labels, scores, .. }) => {
                let error = |labels: &[f64], scores: &[f64]| {
                    expected_calibration_error(labels, scores, bins, CalibrationBins::Width)
                };
                resampled_pairs(labels, scores, options, &error)
            }
            (Self::Score(metric), ScoredRows::Classes(rows)) => score_of_classes(metric, rows, options),
            (Self::Class(metric), ScoredRows::Classes(rows)) => classes(metric, rows, options),
            (Self::Score(metric), ScoredRows::Numbers { labels, predictions }) if !metric.is_classification() => {
                score_of_numbers(metric, labels, predictions, options)
            }
            (Self::Number(metric), ScoredRows::Numbers { labels, predictions }) => {
                numbers(metric, labels, predictions, options)
            }
            (Self::Rank(metric), ScoredRows::Queries { queries, relevance, scores, relevant_min }) => {
                ranks(metric, &metric.of_queries(queries, relevance, scores, *relevant_min)?, options)
            }
            _ => Err(Error::invalid_argument(format!("metric {self} is not one of this task")).with("metric", self)),
        }
    }

    /// Whether its interval takes resampling, which is too slow for every slice of the data.
    #[must_use]
    pub fn is_resampled(self) -> bool {
        match self {
            Self::Score(metric) => matches!(metric, Metric::AveragePrecision | Metric::R2),
            Self::Number(metric) => {
                matches!(metric, RegressionMetric::MedianAe | RegressionMetric::ExplainedVariance)
            }
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

fn binary(
    metric: Metric,
    labels: &[f64],
    scores: &[f64],
    threshold: f64,
    options: &EstimateOptions,
) -> Result<Estimate> {
    metric.check(labels, scores, None)?;
    let (n, level) = (labels.len(), options.level);
    let pairs = || labels.iter().copied().zip(scores.iter().copied());
    let matrix = ConfusionMatrix::from_scores(pairs().map(|(label, score)| (label, score, 1.0)), threshold);
    let hits = matrix.cell(1, 1);
    Ok(match metric {
        Metric::Accuracy => Estimate::proportion(matrix.correct(), matrix.total(), n, level, same),
        Metric::Precision => Estimate::proportion(hits, matrix.called(1), n, level, same),
        Metric::Recall => Estimate::proportion(hits, matrix.support(1), n, level, same),
        // F1 = 2 J / (1 + J) with J = TP / (TP + FP + FN).
        Metric::F1 => Estimate::proportion(hits, matrix.total() - matrix.cell(0, 0), n, level, |j| 2.0 * j / (1.0 + j)),
        Metric::BalancedAccuracy => {
            let parts = [0, 1].map(|class| (matrix.cell(class, class), matrix.support(class)));
            Estimate::mean_proportion(balanced_accuracy(&matrix)?, &parts, n, level)
        }
        Metric::Mcc => correlation(&matrix, n, level),
        Metric::RocAuc => area(labels, scores, level)?,
        Metric::LogLoss => Estimate::mean(&pairs().map(|(y, p)| log_loss_of(y, p)).collect::<Vec<_>>(), level, same),
        Metric::Brier => Estimate::mean(&pairs().map(|(y, p)| (y - p).powi(2)).collect::<Vec<_>>(), level, same),
        Metric::AveragePrecision => {
            // In the order of scores once, so that resamples arrive sorted.
            let mut ordered: Vec<(f64, f64)> = pairs().collect();
            ordered.sort_by(|a, b| b.1.total_cmp(&a.1));
            let (labels, scores): (Vec<f64>, Vec<f64>) = ordered.into_iter().unzip();
            resampled_pairs(&labels, &scores, options, &|labels, scores| metric.compute(labels, scores))?
        }
        Metric::Mse | Metric::Rmse | Metric::Mae | Metric::R2 => {
            return Err(Error::invalid_argument(format!("metric {metric} is not one of two classes")));
        }
    })
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

/// DeLong's variance on the logit scale. Perfect separation has no variance; then Wilson's bound
/// for as many successes as the smaller class has rows.
fn area(labels: &[f64], scores: &[f64], level: f64) -> Result<Estimate> {
    let n = labels.len();
    let Ok((value, variance)) = auc_variance(labels, scores) else {
        return Ok(Estimate::bare(Metric::RocAuc.compute(labels, scores)?, n));
    };
    let z = deviate(level);
    let spread = value * (1.0 - value);
    if spread <= 0.0 || variance <= 0.0 {
        let positives = labels.iter().filter(|label| **label > 0.5).count();
        let smaller = positives.min(n - positives) as u64;
        let successes = (value * smaller as f64).round() as u64;
        let interval = wilson(successes, smaller, level)?;
        let standard_error = (interval.high - interval.low) / (2.0 * z);
        let evidence = Evidence::Normal { center: value, standard_error };
        return Ok(Estimate { value, n: n as u64, interval: Some(interval), evidence });
    }
    let (logit, half) = ((value / (1.0 - value)).ln(), z * variance.sqrt() / spread);
    let back = |x: f64| 1.0 / (1.0 + (-x).exp());
    let interval = Interval::new(back(logit - half), back(logit + half), level, IntervalMethod::DeLongLogit);
    let evidence = Evidence::Normal { center: value, standard_error: variance.sqrt() };
    Ok(Estimate { value, n: n as u64, interval: Some(interval), evidence })
}

/// Matthews' correlation by the delta method over multinomial cells, on Fisher's z scale.
fn correlation(matrix: &ConfusionMatrix, n: usize, level: f64) -> Estimate {
    let value = matrix.mcc();
    let total = matrix.total();
    let cell = |label, called| matrix.cell(label, called) / total;
    let (tn, fp, fn_, tp) = (cell(0, 0), cell(0, 1), cell(1, 0), cell(1, 1));
    let (called, positive, negative, uncalled) = (tp + fp, tp + fn_, tn + fp, tn + fn_);
    let scale = (called * positive * negative * uncalled).sqrt();
    if scale <= 0.0 || value.abs() >= 1.0 - 1e-12 {
        return Estimate::bare(value, n);
    }
    let slope = |opposite: f64, sign: f64, a: f64, b: f64| sign * opposite / scale - value / 2.0 * (1.0 / a + 1.0 / b);
    let cells = [
        (tp, slope(tn, 1.0, called, positive)),
        (fp, slope(fn_, -1.0, called, negative)),
        (fn_, slope(fp, -1.0, positive, uncalled)),
        (tn, slope(tp, 1.0, negative, uncalled)),
    ];
    let mean: f64 = cells.iter().map(|(p, g)| p * g).sum();
    let variance = (cells.iter().map(|(p, g)| p * g * g).sum::<f64>() - mean * mean).max(0.0) / total;
    let (center, standard_error) = (value.atanh(), variance.sqrt() / (1.0 - value * value));
    let half = deviate(level) * standard_error;
    let ends = ((center - half).tanh(), (center + half).tanh());
    let interval = Interval::new(ends.0, ends.1, level, IntervalMethod::DeltaFisherZ);
    Estimate { value, n: n as u64, interval: Some(interval), evidence: Evidence::Normal { center, standard_error } }
}

fn score_of_numbers(
    metric: Metric,
    labels: &[f64],
    predictions: &[f64],
    options: &EstimateOptions,
) -> Result<Estimate> {
    metric.check(labels, predictions, None)?;
    let errors = |of: fn(f64) -> f64| -> Vec<f64> {
        labels.iter().zip(predictions).map(|(label, prediction)| of(label - prediction)).collect()
    };
    Ok(match metric {
        Metric::Mae => Estimate::mean(&errors(f64::abs), options.level, same),
        Metric::Mse => Estimate::mean(&errors(|e| e * e), options.level, same),
        Metric::Rmse => Estimate::mean(&errors(|e| e * e), options.level, root),
        _ => resampled_pairs(labels, predictions, options, &|labels, scores| metric.compute(labels, scores))?,
    })
}

/// The lower end of a mean of squares may lie below zero.
fn root(value: f64) -> f64 {
    value.max(0.0).sqrt()
}

fn numbers(
    metric: RegressionMetric,
    labels: &[f64],
    predictions: &[f64],
    options: &EstimateOptions,
) -> Result<Estimate> {
    metric.check(labels, predictions)?;
    let rows = labels.iter().zip(predictions);
    let values: Option<Vec<f64>> = rows.map(|(&label, &prediction)| metric.of_row(label, prediction)).collect();
    Ok(match (values, metric) {
        (Some(values), RegressionMetric::Rmsle) => Estimate::mean(&values, options.level, root),
        (Some(values), _) => Estimate::mean(&values, options.level, same),
        // A bootstrap of a maximum is not consistent.
        (None, RegressionMetric::MaxError) => Estimate::bare(metric.compute(labels, predictions)?, labels.len()),
        (None, _) => resampled_pairs(labels, predictions, options, &|labels, scores| metric.compute(labels, scores))?,
    })
}

fn ranks(metric: RankMetric, values: &[f64], options: &EstimateOptions) -> Result<Estimate> {
    if values.is_empty() {
        return Err(undefined(metric, "no query has relevant items"));
    }
    Ok(Estimate::mean(values, options.level, same))
}

fn score_of_classes(metric: Metric, rows: &ClassRows<'_>, options: &EstimateOptions) -> Result<Estimate> {
    let (matrix, n) = (rows.confusion()?, rows.labels.len());
    match metric {
        Metric::Accuracy => Ok(Estimate::proportion(matrix.correct(), matrix.total(), n, options.level, same)),
        Metric::BalancedAccuracy => {
            let parts = with_rows(&matrix, ConfusionMatrix::support);
            Ok(Estimate::mean_proportion(matrix.balanced_accuracy(), &parts, n, options.level))
        }
        Metric::Mcc => resampled_matrix(rows, options, &ConfusionMatrix::mcc),
        Metric::LogLoss => {
            let own = rows.own_probabilities();
            let own = own.ok_or_else(|| undefined(metric, "it needs probabilities of every class"))?;
            let values: Vec<f64> = own.into_iter().map(class_log_loss_of).collect();
            Ok(Estimate::mean(&values, options.level, same))
        }
        _ => Err(Error::invalid_argument(format!("metric {metric} is not one of several classes"))),
    }
}

fn classes(metric: ClassMetric, rows: &ClassRows<'_>, options: &EstimateOptions) -> Result<Estimate> {
    let (matrix, n) = (rows.confusion()?, rows.labels.len());
    match metric {
        ClassMetric::Precision(Average::Micro)
        | ClassMetric::Recall(Average::Micro | Average::Weighted)
        | ClassMetric::F1(Average::Micro) => score_of_classes(Metric::Accuracy, rows, options),
        ClassMetric::Precision(Average::Macro) => Ok(macro_mean(
            matrix.averaged_precision(Average::Macro),
            &matrix,
            ConfusionMatrix::called,
            (n, options.level),
        )),
        ClassMetric::Recall(Average::Macro) => Ok(macro_mean(
            matrix.averaged_recall(Average::Macro),
            &matrix,
            ConfusionMatrix::support,
            (n, options.level),
        )),
        ClassMetric::Precision(Average::Weighted) => {
            resampled_matrix(rows, options, &|matrix| matrix.averaged_precision(Average::Weighted))
        }
        ClassMetric::F1(average) => resampled_matrix(rows, options, &|matrix| matrix.averaged_f1(average)),
        ClassMetric::Kappa => resampled_matrix(rows, options, &ConfusionMatrix::kappa),
        ClassMetric::RocAucOvr(_) => Estimate::resampled(metric.compute(rows)?, n, options, |chosen_rows| {
            let (labels, probabilities) = (chosen(rows.labels, chosen_rows), rows.probabilities?);
            let of_row = |&row: &usize| probabilities.get(row * rows.classes..(row + 1) * rows.classes);
            let probabilities = chosen_rows.iter().filter_map(of_row).collect::<Vec<_>>().concat();
            metric.compute(&ClassRows::from_probabilities(rows.classes, &labels, &probabilities).ok()?).ok()
        }),
    }
}

/// Right rows and all rows of every class that has any.
fn with_rows(matrix: &ConfusionMatrix, all: fn(&ConfusionMatrix, usize) -> f64) -> Vec<(f64, f64)> {
    let parts = (0..matrix.classes()).map(|class| (matrix.cell(class, class), all(matrix, class)));
    parts.filter(|(_, all)| *all > 0.0).collect()
}

/// Classes that occur on one side only add a zero without a spread to the mean.
fn macro_mean(
    value: f64,
    matrix: &ConfusionMatrix,
    all: fn(&ConfusionMatrix, usize) -> f64,
    (n, level): (usize, f64),
) -> Estimate {
    let parts = with_rows(matrix, all);
    let occurring = (0..matrix.classes()).filter(|&class| matrix.support(class) + matrix.called(class) > 0.0).count();
    let scale = parts.len() as f64 / occurring as f64;
    let estimate = Estimate::mean_proportion(value, &parts, n, level);
    let evidence = match estimate.evidence {
        Evidence::Normal { center, standard_error } => {
            Evidence::Normal { center, standard_error: standard_error * scale }
        }
        other => other,
    };
    let interval = estimate.interval.map(|interval| interval.map(|end| end * scale));
    Estimate { interval, evidence, ..estimate }
}

fn resampled_matrix(
    rows: &ClassRows<'_>,
    options: &EstimateOptions,
    of: &dyn Fn(&ConfusionMatrix) -> f64,
) -> Result<Estimate> {
    let value = of(&rows.confusion()?);
    Estimate::resampled(value, rows.labels.len(), options, |chosen_rows| {
        let (labels, predicted) = (chosen(rows.labels, chosen_rows), chosen(&rows.predicted, chosen_rows));
        Some(of(&ConfusionMatrix::from_classes(rows.classes, &labels, &predicted).ok()?))
    })
}
