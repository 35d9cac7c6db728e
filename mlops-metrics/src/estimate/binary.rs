//! Estimates of metrics of two classes.

use mlops_core::{Error, Result};

use super::{Estimate, EstimateOptions, Evidence, resampled_pairs, same};
use crate::{
    confusion::ConfusionMatrix,
    interval::{Interval, IntervalMethod, deviate, wilson},
    metric::{Metric, balanced_accuracy},
    probability::log_loss_of,
    stats::auc_variance,
};

pub(super) fn binary(
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
