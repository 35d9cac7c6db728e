//! What a look at a history answers, in numbers and in words.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The range that a value is expected in; a side without a number is open.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// Smallest value expected.
    pub lower: Option<f64>,
    /// Largest value expected.
    pub upper: Option<f64>,
}

impl Expected {
    /// From ends that may be infinite.
    pub(super) fn new(lower: f64, upper: f64) -> Self {
        let finite = |end: f64| end.is_finite().then_some(end);
        Self { lower: finite(lower), upper: finite(upper) }
    }

    /// So many deviations around a centre, a side without a number being open. A hair is added, so that a constant
    /// series is not odd by its rounding.
    pub(super) fn around(centre: f64, deviation: f64, below: Option<f64>, above: Option<f64>) -> Self {
        let hair = 1e-12 * centre.abs();
        let end = |factor: Option<f64>| factor.map_or(f64::INFINITY, |factor| factor * deviation + hair);
        Self::new(centre - end(below), centre + end(above))
    }

    /// Whether the value is in it, ends included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.lower.is_none_or(|lower| value >= lower) && self.upper.is_none_or(|upper| value <= upper)
    }

    pub(super) fn judge(self, value: f64) -> AnomalyVerdict {
        if self.contains(value) {
            AnomalyVerdict::Ok { expected: self }
        } else {
            AnomalyVerdict::Anomaly { value, expected: self }
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lower.map(short), self.upper.map(short)) {
            (Some(lower), Some(upper)) => write!(f, "{lower} to {upper}"),
            (Some(lower), None) => write!(f, "at least {lower}"),
            (None, Some(upper)) => write!(f, "at most {upper}"),
            (None, None) => f.write_str("anything"),
        }
    }
}

/// Six digits, without zeros at the end.
fn short(value: f64) -> String {
    if value == 0.0 || (1e-4..1e9).contains(&value.abs()) {
        let decimals = if value.abs() >= 1_000.0 { 1 } else { 4 };
        let text = format!("{value:.decimals$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.4e}")
    }
}

/// Why a point cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PointFault {
    /// The value is not finite, or beyond 1e150.
    NotFinite,
    /// The history has a point at this time or later.
    OutOfOrder,
    /// The newest event is further in the future than clocks are allowed to differ.
    FromFuture,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnomalyVerdict {
    /// As expected.
    Ok {
        /// What was expected.
        expected: Expected,
    },
    /// Not as expected.
    Anomaly {
        /// What was found.
        value: f64,
        /// What was expected.
        expected: Expected,
    },
    /// Too short a history.
    Insufficient {
        /// Earlier values that count.
        n: u64,
        /// Earlier values that are needed.
        min_n: u64,
    },
    /// The point cannot be judged.
    Unusable(PointFault),
}

impl AnomalyVerdict {
    /// Whether something is wrong.
    #[must_use]
    pub fn is_anomaly(&self) -> bool {
        matches!(self, Self::Anomaly { .. })
    }

    /// One sentence about the metric of this name.
    #[must_use]
    pub fn describe(&self, name: &str) -> String {
        match self {
            Self::Ok { expected } => format!("{name} is as expected: {expected}"),
            Self::Anomaly { value, expected } => format!("{name} is {}; expected {expected}", short(*value)),
            Self::Insufficient { n, min_n } => format!("{name} has {n} earlier values; {min_n} are needed"),
            Self::Unusable(PointFault::NotFinite) => format!("{name} is no finite number"),
            Self::Unusable(PointFault::OutOfOrder) => format!("{name} is not later than its history"),
            Self::Unusable(PointFault::FromFuture) => format!("{name} lies in the future"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_the_range() {
        let check = |verdict: AnomalyVerdict, text: &str| assert_eq!(verdict.describe("rows"), text);
        check(Expected::new(900.0, 1_100.5).judge(120.0), "rows is 120; expected 900 to 1100.5");
        check(Expected::new(0.25, f64::INFINITY).judge(0.1), "rows is 0.1; expected at least 0.25");
        check(Expected::new(f64::NEG_INFINITY, 1e12).judge(0.0), "rows is as expected: at most 1.0000e12");
        check(AnomalyVerdict::Insufficient { n: 2, min_n: 10 }, "rows has 2 earlier values; 10 are needed");
    }
}
