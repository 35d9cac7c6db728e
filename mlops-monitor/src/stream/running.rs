//! Running mean and variance (Welford, Technometrics 4, 1962).

use serde::{Deserialize, Serialize};

use crate::stats::float;

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Running {
    pub(super) n: u64,
    pub(super) mean: f64,
    squares: f64,
}

impl Running {
    pub(super) fn add(&mut self, value: f64) {
        self.n += 1;
        let before = value - self.mean;
        // The reciprocal does not wait for the value before, so values follow each other faster.
        self.mean += before * (1.0 / float(self.n));
        self.squares += before * (value - self.mean);
    }

    /// Variance with n - 1 in the denominator; zero for fewer than two values.
    pub(super) fn variance(&self) -> f64 {
        if self.n < 2 { 0.0 } else { self.squares / float(self.n - 1) }
    }

    pub(super) fn count(&self) -> f64 {
        float(self.n)
    }
}
