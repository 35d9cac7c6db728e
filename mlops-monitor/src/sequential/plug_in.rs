//! The predictable plug-in bets that both sequences of bounded means share.

use serde::{Deserialize, Serialize};

use crate::stats::float;

/// Running mean and variance of values from 0 to 1, started at those of a fair coin seen once:
/// mean_t = (1/2 + sum x) / (t + 1), variance_t = (1/4 + sum (x_i - mean_i)^2) / (t + 1).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct PlugIn {
    pub(super) n: u64,
    sum: f64,
    squares: f64,
}

impl PlugIn {
    pub(super) fn mean(&self) -> f64 {
        (0.5 + self.sum) / (float(self.n) + 1.0)
    }

    /// The bet on the next value t, known before it: sqrt(2 ln(2 / alpha) / (variance_(t-1) t ln(1 + t))).
    pub(super) fn bet(&self, alpha: f64) -> f64 {
        let t = float(self.n) + 1.0;
        let variance = (0.25 + self.squares) / t;
        (2.0 * (2.0 / alpha).ln() / (variance * t * t.ln_1p())).sqrt()
    }

    pub(super) fn add(&mut self, x: f64) {
        self.n = self.n.saturating_add(1);
        self.sum += x;
        self.squares += (x - self.mean()).powi(2);
    }
}
