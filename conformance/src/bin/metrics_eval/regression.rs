//! Predicted numbers.

use mlops_core::Result;
use mlops_metrics::{Metric, RegressionMetric, huber_loss, mase, tweedie_deviance};
use serde_json::{Map, Value, json};

use crate::inputs::{defined, field, in_domain, object, optional};

pub(crate) fn section(input: &Value) -> Result<Value> {
    let (labels, predictions): (Vec<f64>, Vec<f64>) = (field(input, "y")?, field(input, "pred")?);
    let quantiles = [field(input, "q10")?, field(input, "q90")?];
    let mut expected = both(&labels, &predictions, &quantiles, None)?;
    let of = |metric: RegressionMetric| defined(metric.compute(&labels, &predictions));
    expected.extend(object([
        ("max_error", of(RegressionMetric::MaxError)?),
        ("smape", of(RegressionMetric::Smape)?),
        ("wape", of(RegressionMetric::Wape)?),
        ("huber_1", defined(huber_loss(&labels, &predictions, None, 1.0))?),
        ("mase_lag1", defined(mase(&labels, &predictions, 1))?),
        ("pearson", of(RegressionMetric::Pearson)?),
        ("spearman", of(RegressionMetric::Spearman)?),
        ("kendall_b", of(RegressionMetric::KendallTau)?),
        ("coverage_10_90", coverage(&labels, &quantiles)),
    ]));
    let mut out = Map::from_iter([("expected".to_owned(), Value::Object(expected))]);
    if let Some(weights) = optional::<Vec<f64>>(input, "weight")? {
        let weighted = both(&labels, &predictions, &quantiles, Some(&weights))?;
        out.insert("expected_weighted".to_owned(), json!(weighted));
    }
    Ok(Value::Object(out))
}

/// The metrics that take weights.
fn both(
    labels: &[f64],
    predictions: &[f64],
    quantiles: &[Vec<f64>; 2],
    weights: Option<&[f64]>,
) -> Result<Map<String, Value>> {
    let score = |metric: Metric| defined(metric.compute_weighted(labels, predictions, weights));
    let of = |metric: RegressionMetric| in_domain(metric.compute_weighted(labels, predictions, weights));
    let pinball = |percent: u8, predicted: &[f64]| {
        defined(RegressionMetric::Pinball { percent }.compute_weighted(labels, predicted, weights))
    };
    let [low, high] = quantiles;
    Ok(object([
        ("r2", score(Metric::R2)?),
        ("explained_variance", of(RegressionMetric::ExplainedVariance)?),
        ("mae", score(Metric::Mae)?),
        ("mse", score(Metric::Mse)?),
        ("rmse", score(Metric::Rmse)?),
        ("msle", of(RegressionMetric::Msle)?),
        ("rmsle", of(RegressionMetric::Rmsle)?),
        ("mape", of(RegressionMetric::Mape)?),
        ("median_ae", of(RegressionMetric::MedianAe)?),
        ("pinball_0_1", pinball(10, low)?),
        ("pinball_0_9", pinball(90, high)?),
        ("poisson_dev", of(RegressionMetric::PoissonDeviance)?),
        ("gamma_dev", of(RegressionMetric::GammaDeviance)?),
        ("tweedie_1_5", in_domain(tweedie_deviance(labels, predictions, weights, 1.5))?),
        ("d2_abs", of(RegressionMetric::D2Absolute)?),
    ]))
}

/// Share of labels between the predicted quantiles.
fn coverage(labels: &[f64], [low, high]: &[Vec<f64>; 2]) -> f64 {
    let rows = labels.iter().zip(low).zip(high);
    rows.filter(|((label, low), high)| low <= label && label <= high).count() as f64 / labels.len() as f64
}
