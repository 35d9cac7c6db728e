//! Ranges from mean and deviation.

use super::verdict::Expected;
use crate::stats::{count_of, float, moments};

/// Mean and deviation (n - 1 in the denominator) of the history; as Deequ's `BatchNormalStrategy`.
pub(super) fn batch(values: &[f64], below: Option<f64>, above: Option<f64>) -> Option<Expected> {
    let found = moments(values).filter(|found| found.n > 1)?;
    Some(Expected::around(found.mean, found.variance.sqrt(), below, above))
}

/// How an online strategy treats the beginning and what is odd.
#[derive(Debug, Clone, Copy)]
pub(super) struct Online {
    pub(super) ignore_start_share: f64,
    pub(super) ignore_anomalies: bool,
}

/// Running mean and deviation (n in the denominator) up to and with the value, the last of `values`; each value is
/// judged in its turn, and an odd one taken back out.
///
/// As Deequ's `OnlineNormalStrategy` over a whole history, its divisor included: the position of the value, not the
/// count of those that were kept.
pub(super) fn online(values: &[f64], rules: Online, below: Option<f64>, above: Option<f64>) -> Expected {
    let skipped = float(count_of(values.len())) * rules.ignore_start_share;
    let (mut mean, mut squares) = (0.0, 0.0);
    let mut expected = Expected::new(f64::NEG_INFINITY, f64::INFINITY);
    for (index, value) in (0_u64..).zip(values) {
        let position = float(index + 1);
        let next_mean = if index == 0 { *value } else { mean + (value - mean) / position };
        let next_squares = squares + (value - mean) * (value - next_mean);
        let variance = if index == 0 { 0.0 } else { next_squares / position };
        expected = Expected::around(next_mean, variance.max(0.0).sqrt(), below, above);
        let odd = float(index) >= skipped && !expected.contains(*value);
        if !(odd && rules.ignore_anomalies) {
            (mean, squares) = (next_mean, if index == 0 { 0.0 } else { next_squares });
        }
    }
    expected
}

/// Exponentially weighted mean and deviation of what came before the last of `values`, each judged by what came before
/// it (West, Communications of the ACM 22, 1979). The first `settled` values are always taken in.
pub(super) fn ewma(values: &[f64], weight: f64, settled: u64, below: Option<f64>, above: Option<f64>) -> Expected {
    let mut expected = Expected::new(f64::NEG_INFINITY, f64::INFINITY);
    let (mut mean, mut variance) = (0.0, 0.0_f64);
    for (index, value) in (0_u64..).zip(values) {
        if index == 0 {
            mean = *value;
            continue;
        }
        expected = Expected::around(mean, variance.sqrt(), below, above);
        if index < settled || expected.contains(*value) {
            let gap = value - mean;
            mean += weight * gap;
            variance = (1.0 - weight) * (variance + weight * gap * gap);
        }
    }
    expected
}
