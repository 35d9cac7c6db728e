//! A metric over time, bounded.

use std::collections::VecDeque;

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::stream::is_usable;

/// Most points of a history.
pub const HISTORY_MAX: usize = 100_000;

/// What became of a point.
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "a point that is not added is no part of the history"]
pub enum Recorded {
    /// It is the newest point now.
    Added,
    /// The newest point is the same: nothing changed, so that a retry does no harm.
    Repeated,
    /// The newest point has the same time and this other value, which stays.
    Conflicting {
        /// The value that is recorded.
        recorded: f64,
    },
    /// There are later points; it was left out.
    OutOfOrder {
        /// Time of the newest point.
        latest: Timestamp,
    },
    /// The value is not finite, or beyond 1e150; it was left out.
    NotFinite,
}

/// The last values of a metric with their times, strictly ascending; the oldest make room for the newest.
///
/// ```
/// use mlops_core::Timestamp;
/// use mlops_monitor::history::{MetricHistory, Recorded};
///
/// let mut history = MetricHistory::new(2);
/// for i in 0..3 {
///     assert_eq!(history.record(Timestamp::from_millis(i), 0.5), Recorded::Added);
/// }
/// assert_eq!(history.len(), 2);
/// let late = history.record(Timestamp::from_millis(1), 0.5);
/// assert_eq!(late, Recorded::OutOfOrder { latest: Timestamp::from_millis(2) });
/// assert_eq!(history.record(Timestamp::from_millis(3), f64::NAN), Recorded::NotFinite);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct MetricHistory {
    capacity: usize,
    points: VecDeque<(Timestamp, f64)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    capacity: usize,
    points: VecDeque<(Timestamp, f64)>,
}

impl MetricHistory {
    /// An empty history of at most so many points, 1 to [`HISTORY_MAX`]; other numbers are taken as the nearest of
    /// these.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity: capacity.clamp(1, HISTORY_MAX), points: VecDeque::new() }
    }

    /// Adds a point that is later than all others.
    pub fn record(&mut self, time: Timestamp, value: f64) -> Recorded {
        if !is_usable(value) {
            return Recorded::NotFinite;
        }
        if let Some((latest, recorded)) = self.latest() {
            if time == latest {
                return if value == recorded { Recorded::Repeated } else { Recorded::Conflicting { recorded } };
            }
            if time < latest {
                return Recorded::OutOfOrder { latest };
            }
        }
        if self.points.len() >= self.capacity {
            self.points.pop_front();
        }
        self.points.push_back((time, value));
        Recorded::Added
    }

    /// The newest point.
    #[must_use]
    pub fn latest(&self) -> Option<(Timestamp, f64)> {
        self.points.back().copied()
    }

    /// The points from the oldest on.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Timestamp, f64)> + ExactSizeIterator {
        self.points.iter().copied()
    }

    /// How many points there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

impl TryFrom<Stored> for MetricHistory {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let Stored { capacity, points } = stored;
        let usable = points.iter().all(|(_, value)| is_usable(*value));
        let ascending = points.iter().zip(points.iter().skip(1)).all(|(left, right)| left.0 < right.0);
        if !(1..=HISTORY_MAX).contains(&capacity) || points.len() > capacity || !usable || !ascending {
            return Err(Error::invalid_argument(format!(
                "metric history: at most capacity (1 to {HISTORY_MAX}) finite values at ascending times are needed"
            )));
        }
        Ok(Self { capacity, points })
    }
}
