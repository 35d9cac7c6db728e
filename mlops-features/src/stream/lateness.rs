//! Which rows are late. A row is judged against the rows before it in its own partition, never against how rows were
//! grouped when they were read, so a row that is read again after a crash is judged the same.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mlops_core::Timestamp;
use serde::{Deserialize, Serialize};

/// What becomes of rows that come after the watermark has passed their event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LatePolicy {
    /// They go into the table like any other and are counted.
    #[default]
    Accept,
    /// They go into the quarantine, with how late they were.
    Quarantine,
    /// They are counted and forgotten.
    Drop,
}

/// The newest event time of every partition.
#[derive(Debug, Clone)]
pub(super) struct Lateness {
    newest: BTreeMap<Arc<str>, i64>,
    allowed: i64,
}

impl Lateness {
    pub(super) fn new(allowed: Duration) -> Self {
        Self { newest: BTreeMap::new(), allowed: i64::try_from(allowed.as_micros()).unwrap_or(i64::MAX) }
    }

    /// Takes up where a partition stood.
    pub(super) fn restore(&mut self, partition: &Arc<str>, newest: i64) {
        self.newest.insert(Arc::clone(partition), newest);
    }

    /// How many microseconds before the watermark `time` lies, if it is late; then moves the watermark.
    pub(super) fn judge(&mut self, partition: &Arc<str>, time: i64) -> Option<i64> {
        let Some(newest) = self.newest.get_mut(partition) else {
            self.newest.insert(Arc::clone(partition), time);
            return None;
        };
        let watermark = newest.saturating_sub(self.allowed);
        *newest = time.max(*newest);
        (time < watermark).then(|| watermark.saturating_sub(time))
    }

    /// The newest event time of `partition`.
    pub(super) fn newest(&self, partition: &str) -> Option<i64> {
        self.newest.get(partition).copied()
    }

    /// The event time before which every row that still comes is late, in whatever partition; none before the first
    /// row.
    pub(super) fn watermark(&self) -> Option<Timestamp> {
        let least = self.newest.values().min()?;
        Some(Timestamp::from_micros(least.saturating_sub(self.allowed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_late_by_its_own_partition_and_the_edge_is_in_time() {
        let mut lateness = Lateness::new(Duration::from_micros(10));
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let verdicts = [(&a, 100), (&a, 90), (&a, 89), (&b, 5), (&b, 4), (&a, 120), (&a, 100)];
        let verdicts = verdicts.map(|(partition, time)| lateness.judge(partition, time));
        assert_eq!(verdicts, [None, None, Some(1), None, None, None, Some(10)]);
        assert_eq!(lateness.watermark(), Some(Timestamp::from_micros(-5)));
    }
}
