//! The running intersection of intervals within 0 to 1.

use serde::{Deserialize, Serialize};

/// Invariant: never empty and never wider than before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Narrowing {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) contradicted: bool,
}

impl Narrowing {
    pub(super) const ALL: Self = Self { low: 0.0, high: 1.0, contradicted: false };

    /// Intersects; where nothing would be left, the interval stays and is contradicted from then on.
    pub(super) fn narrow(&mut self, low: f64, high: f64) {
        let (low, high) = (self.low.max(low), self.high.min(high));
        if low > high {
            self.contradicted = true;
        } else if !self.contradicted {
            (self.low, self.high) = (low, high);
        }
    }
}
