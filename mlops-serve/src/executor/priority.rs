//! What is served first when requests wait.

use serde::{Deserialize, Serialize};

/// How urgent a request is among those that wait for a worker. The order is strict: a more urgent request never waits
/// for a less urgent one that has not begun, and when the queue is full it takes the place of the last of these.
///
/// ```
/// use mlops_serve::Priority;
///
/// assert_eq!(Priority::from_level(0), Priority::Normal);
/// assert!(Priority::High < Priority::Low, "served first comes first");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before everything else.
    High,
    /// What is not said to be otherwise.
    #[default]
    Normal,
    /// When nothing else waits.
    Low,
}

impl Priority {
    /// From the most urgent to the least.
    pub(crate) const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// From the `priority` of Triton's `schedule_policy`: 1 is the highest, 0 the default (here 2), and everything
    /// from 3 on the lowest.
    #[must_use]
    pub fn from_level(level: u64) -> Self {
        match level {
            1 => Self::High,
            0 | 2 => Self::Normal,
            _ => Self::Low,
        }
    }
}
