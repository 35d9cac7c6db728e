//! Which values of a metric are better.

use serde::{Deserialize, Serialize};

/// Which values are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Less is better.
    Minimize,
    /// More is better.
    Maximize,
}

impl Direction {
    /// Whether `value` is better than `other`.
    #[must_use]
    pub fn is_better(self, value: f64, other: f64) -> bool {
        self.loss(value) < self.loss(other)
    }

    /// The value as something to minimize.
    #[must_use]
    pub fn loss(self, value: f64) -> f64 {
        match self {
            Self::Minimize => value,
            Self::Maximize => -value,
        }
    }
}
