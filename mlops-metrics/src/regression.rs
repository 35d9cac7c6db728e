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
    let mean = rows.mean(|label, _| label);
    let variance = rows.mean(|label, _| (label - mean).powi(2));
    explained(mse(rows), variance)
}

/// `1 - error / variance`; without variance one when the error is zero, else zero.
pub(crate) fn explained(error: f64, variance: f64) -> f64 {
    if variance > 0.0 { 1.0 - error / variance } else { f64::from(u8::from(error == 0.0)) }
}
