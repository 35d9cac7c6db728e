//! Estimates of metrics of numbers and of ranked lists.

use mlops_core::Result;

use super::{Estimate, EstimateOptions, resampled_pairs, same};
use crate::{
    metric::{Metric, undefined},
    rank_metric::RankMetric,
    regression_metric::RegressionMetric,
};

pub(super) fn score_of_numbers(
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

pub(super) fn numbers(
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

pub(super) fn ranks(metric: RankMetric, values: &[f64], options: &EstimateOptions) -> Result<Estimate> {
    if values.is_empty() {
        return Err(undefined(metric, "no query has relevant items"));
    }
    Ok(Estimate::mean(values, options.level, same))
}
