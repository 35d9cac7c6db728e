//! Metrics of probabilities.

use crate::metric::Rows;

/// Mean of `-y ln p - (1 - y) ln(1 - p)` with `p` clipped to the machine epsilon of doubles.
pub(crate) fn log_loss(rows: &Rows<'_>) -> f64 {
    rows.mean(log_loss_of)
}

/// The log loss of one row with label 0 or 1.
pub(crate) fn log_loss_of(label: f64, score: f64) -> f64 {
    let p = score.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    -(label * p.ln() + (1.0 - label) * (1.0 - p).ln())
}

/// The log loss of one row of several classes, from the probability of its own class.
pub(crate) fn class_log_loss_of(own: f64) -> f64 {
    -own.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}
