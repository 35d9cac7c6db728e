//! Metrics of numbers.

use crate::metric::Rows;

pub(crate) fn mse(rows: &Rows<'_>) -> f64 {
    rows.mean(|label, score| (label - score).powi(2))
}

pub(crate) fn mae(rows: &Rows<'_>) -> f64 {
    rows.mean(|label, score| (label - score).abs())
}

/// `1 - SSE / SST`; of a constant label one when the error is zero, else zero.
pub(crate) fn r2(rows: &Rows<'_>) -> f64 {
    explained(mse(rows), variance(rows, |label, _| label))
}

/// The weighted variance of a value per row: zero where it is one constant, which rounding of its mean would hide.
pub(crate) fn variance(rows: &Rows<'_>, value: impl Fn(f64, f64) -> f64) -> f64 {
    let mut values = rows.iter().filter(|(_, _, weight)| *weight > 0.0).map(|(label, score, _)| value(label, score));
    let first = values.next();
    if values.all(|value| Some(value) == first) {
        return 0.0;
    }
    let mean = rows.mean(&value);
    rows.mean(|label, score| (value(label, score) - mean).powi(2))
}

/// `1 - error / variance`; without variance one when the error is zero, else zero.
pub(crate) fn explained(error: f64, variance: f64) -> f64 {
    if variance > 0.0 { 1.0 - error / variance } else { f64::from(u8::from(error == 0.0)) }
}
