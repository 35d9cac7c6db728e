//! Losses of numbers that have a parameter, and their shares explained.
//!
//! Invariant: weighted means over rows, by scikit-learn's definitions where it has one.

use mlops_core::{Error, Result};

use crate::metric::{Metric, Rows, undefined};

/// The unit deviance of a Tweedie law of this power (Jorgensen, JRSS B 49, 1987): zero for exact
/// predictions, 0 the squared error, 1 Poisson's, 2 gamma's, 1 to 2 of sums of gammas.
pub(crate) fn tweedie_of_row(label: f64, prediction: f64, power: f64) -> f64 {
    let x_ln_y = |x: f64, y: f64| if x == 0.0 { 0.0 } else { x * y.ln() };
    2.0 * if power == 0.0 {
        (label - prediction).powi(2) / 2.0
    } else if power == 1.0 {
        x_ln_y(label, label / prediction) - label + prediction
    } else if power == 2.0 {
        (prediction / label).ln() + label / prediction - 1.0
    } else {
        let (one, two) = (1.0 - power, 2.0 - power);
        label.max(0.0).powf(two) / (one * two) - label * prediction.powf(one) / one + prediction.powf(two) / two
    }
}

/// Why numbers do not suit a Tweedie law of this power.
pub(crate) fn tweedie_fault(labels: &[f64], predictions: &[f64], power: f64) -> Option<&'static str> {
    let positive = |values: &[f64]| values.iter().all(|value| *value > 0.0);
    if power == 0.0 {
        None
    } else if power >= 2.0 && !(positive(labels) && positive(predictions)) {
        Some("needs labels and predictions above 0")
    } else if (1.0..2.0).contains(&power) && !(labels.iter().all(|label| *label >= 0.0) && positive(predictions)) {
        Some("needs labels of at least 0 and predictions above 0")
    } else if power < 0.0 && !positive(predictions) {
        Some("needs predictions above 0")
    } else if power > 0.0 && power < 1.0 || !power.is_finite() {
        Some("has no law for powers between 0 and 1")
    } else {
        None
    }
}

/// The mean Tweedie deviance.
///
/// ```
/// let poisson = mlops_metrics::tweedie_deviance(&[1.0, 0.0], &[1.0, 0.5], None, 1.0)?;
/// assert!((poisson - 0.5).abs() < 1e-12);
/// # Ok::<(), mlops_core::Error>(())
/// ```
///
/// # Errors
/// `InvalidArgument` when lengths differ or are zero, a number is not finite or out of the range of
/// the law, weights are negative or all zero, or the power lies between 0 and 1.
pub fn tweedie_deviance(labels: &[f64], predictions: &[f64], weights: Option<&[f64]>, power: f64) -> Result<f64> {
    Metric::Mse.check(labels, predictions, weights)?;
    if let Some(fault) = tweedie_fault(labels, predictions, power) {
        return Err(Error::invalid_argument(format!("the Tweedie deviance of power {power} {fault}")));
    }
    Ok(Rows { labels, scores: predictions, weights }.mean(|label, prediction| tweedie_of_row(label, prediction, power)))
}

/// The mean Huber loss: half the square of errors up to `delta`, beyond it linear.
///
/// # Errors
/// As [`tweedie_deviance`]; `InvalidArgument` when delta is not above zero.
pub fn huber_loss(labels: &[f64], predictions: &[f64], weights: Option<&[f64]>, delta: f64) -> Result<f64> {
    Metric::Mse.check(labels, predictions, weights)?;
    if !(delta > 0.0 && delta.is_finite()) {
        return Err(Error::invalid_argument(format!("the Huber loss needs a delta above 0, found {delta}")));
    }
    Ok(Rows { labels, scores: predictions, weights }.mean(|label, prediction| {
        let error = (label - prediction).abs();
        if error <= delta { 0.5 * error * error } else { delta * (error - 0.5 * delta) }
    }))
}

/// The mean absolute error over that of repeating the label of `lag` rows before (Hyndman and
/// Koehler, International Journal of Forecasting 22, 2006); rows must be in time order.
///
/// # Errors
/// As [`tweedie_deviance`]; `FailedPrecondition` when there are no more rows than the lag or the
/// naive forecast is exact.
pub fn mase(labels: &[f64], predictions: &[f64], lag: usize) -> Result<f64> {
    let error = Metric::Mae.compute(labels, predictions)?;
    let steps: Vec<f64> = labels.iter().skip(lag).zip(labels).map(|(label, before)| (label - before).abs()).collect();
    let naive = steps.iter().sum::<f64>() / steps.len().max(1) as f64;
    if lag == 0 || naive <= 0.0 {
        return Err(undefined("mase", "there is no naive forecast that errs"));
    }
    Ok(error / naive)
}

/// The median of values that count by their weight: where the cumulated weight reaches half, the
/// mean of two values when it does so exactly between them. As scikit-learn's weighted metrics.
pub(crate) fn weighted_median(values: &[f64], weights: Option<&[f64]>) -> f64 {
    let weight = |row: usize| weights.map_or(1.0, |weights| weights.get(row).copied().unwrap_or(0.0));
    let mut rows: Vec<(f64, f64)> = values.iter().enumerate().map(|(row, value)| (*value, weight(row))).collect();
    rows.retain(|(_, weight)| *weight > 0.0);
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut sum = 0.0;
    let cumulated: Vec<f64> = rows
        .iter()
        .map(|(_, weight)| {
            sum += weight;
            sum
        })
        .collect();
    let half = 0.5 * sum;
    let at = cumulated.partition_point(|sum| *sum < half).min(rows.len().saturating_sub(1));
    let value = |index: usize| rows.get(index).or_else(|| rows.last()).map_or(f64::NAN, |row| row.0);
    match cumulated.get(at) {
        Some(sum) if sum - half > f64::EPSILON => value(at),
        _ => f64::midpoint(value(at), value(at + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_meet_their_neighbors() {
        let (labels, predictions) = ([1.0, 2.0, 0.5], [1.5, 1.0, 0.7]);
        let at = |power| tweedie_deviance(&labels, &predictions, None, power).unwrap();
        assert!((at(1.0) - at(1.000_001)).abs() < 1e-4 && (at(2.0) - at(1.999_999)).abs() < 1e-4);
        assert_eq!(at(0.0), Metric::Mse.compute(&labels, &predictions).unwrap());
        for power in [-1.0, 0.0, 1.0, 1.5, 2.0, 3.0] {
            assert!(tweedie_deviance(&labels, &labels, None, power).unwrap().abs() < 1e-12, "{power}");
        }
        assert!(tweedie_deviance(&labels, &predictions, None, 0.5).is_err());
        assert!(tweedie_deviance(&[0.0], &[1.0], None, 2.0).is_err());
        assert!(tweedie_deviance(&[0.0], &[1.0], None, 1.0).is_ok());
    }

    #[test]
    fn medians_by_hand() {
        assert_eq!(weighted_median(&[3.0, 1.0, 2.0], None), 2.0);
        assert_eq!(weighted_median(&[4.0, 1.0, 2.0, 3.0], None), 2.5);
        assert_eq!(weighted_median(&[1.0, 2.0, 9.0], Some(&[1.0, 1.0, 0.0])), 1.5);
        assert_eq!(weighted_median(&[1.0, 2.0, 3.0], Some(&[5.0, 1.0, 1.0])), 1.0);
    }

    #[test]
    fn naive_forecasts_and_deltas() {
        assert_eq!(mase(&[1.0, 2.0, 4.0], &[1.0, 2.0, 1.0], 1).unwrap(), 1.0 / 1.5);
        assert!(mase(&[1.0, 1.0], &[1.0, 1.0], 1).is_err() && mase(&[1.0], &[1.0], 1).is_err());
        assert_eq!(huber_loss(&[0.0, 0.0], &[1.0, 3.0], None, 1.0).unwrap(), (0.5 + 2.5) / 2.0);
        assert!(huber_loss(&[0.0], &[0.0], None, 0.0).is_err());
    }
}
