//! Metrics of numbers.

use crate::{metric::Rows, unit::square_unit};

pub(crate) fn mse(rows: &Rows<'_>) -> f64 {
    mse_in(rows, 1.0)
}

fn mse_in(rows: &Rows<'_>, unit: f64) -> f64 {
    rows.mean(|label, score| (label / unit - score / unit).powi(2))
}

/// In the unit of the label, which it can be where the mean square is no double.
pub(crate) fn rmse(rows: &Rows<'_>) -> f64 {
    let unit = unit(rows);
    mse_in(rows, unit).sqrt() * unit
}

fn unit(rows: &Rows<'_>) -> f64 {
    square_unit(rows.labels.iter().chain(rows.scores).copied())
}

pub(crate) fn mae(rows: &Rows<'_>) -> f64 {
    rows.mean(|label, score| (label - score).abs())
}

/// `1 - SSE / SST`; of a constant label one when the error is zero, else zero.
pub(crate) fn r2(rows: &Rows<'_>) -> f64 {
    let unit = unit(rows);
    explained(mse_in(rows, unit), variance(rows, |label, _| label / unit))
}

/// `1 - Var(y - p) / Var(y)`; of a constant label one when the errors are constant, else zero.
pub(crate) fn explained_variance(rows: &Rows<'_>) -> f64 {
    let unit = unit(rows);
    let errors = variance(rows, |label, score| label / unit - score / unit);
    explained(errors, variance(rows, |label, _| label / unit))
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
