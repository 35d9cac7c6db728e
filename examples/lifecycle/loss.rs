//! Whether a champion answers worse than it used to: its log loss, period against earlier periods.
//!
//! Only rows whose label is known by the end of the period count: nobody can be alarmed by a label that
//! has not arrived.

use mlops::core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::stream::Stream;

/// A period is worse when its mean loss is this many standard errors above the earlier mean (Welch's t).
/// Neighbouring losses are correlated, so the bar is far above what independent rows would ask for...
const STANDARD_ERRORS: f64 = 5.0;

/// ...and when it is this many times the earlier mean, so that a difference that matters to nobody in a
/// large period is not one.
const RATIO: f64 = 1.5;

/// Fewer rows than this say nothing.
const ROWS_MIN: u64 = 100;

/// Moments of the log loss of some answers. They add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    rows: u64,
    sum: f64,
    sum_of_squares: f64,
}

impl Loss {
    /// The loss of the rows whose label is known at `now`; `labels` and `scores` belong to `rows`.
    pub fn known_at(now: Timestamp, stream: &Stream, rows: &[usize], labels: &[f64], scores: &[f64]) -> Self {
        let known = stream.row_at(now - stream.label_delay);
        let pairs = rows.iter().zip(labels.iter().zip(scores)).filter(|&(&row, _)| row < known);
        pairs.fold(Self::default(), |total, (_, (&label, &score))| total.with(label, score))
    }

    fn with(self, label: f64, score: f64) -> Self {
        let loss = -(if label > 0.5 { score } else { 1.0 - score }).max(1e-6).ln();
        Self { rows: self.rows + 1, sum: self.sum + loss, sum_of_squares: self.sum_of_squares + loss * loss }
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            sum: self.sum + other.sum,
            sum_of_squares: self.sum_of_squares + other.sum_of_squares,
        }
    }

    fn mean(self) -> f64 {
        self.sum / self.rows as f64
    }

    /// Of the mean.
    fn squared_error(self) -> f64 {
        (self.sum_of_squares / self.rows as f64 - self.mean().powi(2)).max(0.0) / (self.rows - 1) as f64
    }

    /// What is worse than `earlier`, if it is.
    pub fn worse_than(self, earlier: Self) -> Option<String> {
        if self.rows < ROWS_MIN || earlier.rows < ROWS_MIN {
            return None;
        }
        let (now, before) = (self.mean(), earlier.mean());
        let error = (self.squared_error() + earlier.squared_error()).sqrt();
        (now > before * RATIO && now - before > STANDARD_ERRORS * error)
            .then(|| format!("log loss {now:.3}, {before:.3} before"))
    }
}
