//! Metrics of probabilities.

use crate::metric::Rows;

/// Mean of `-y ln p - (1 - y) ln(1 - p)` with `p` clipped to the machine epsilon of doubles.
pub(crate) fn log_loss(rows: &Rows<'_>) -> f64 {
    rows.mean(|label, score| {
        let p = score.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        -(label * p.ln() + (1.0 - label) * (1.0 - p).ln())
    })
}
