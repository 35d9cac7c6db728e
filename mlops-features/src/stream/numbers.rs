//! What is kept of a stream in a table's log: three numbers per partition, in the same commit as the rows.

use std::sync::Arc;

use mlops_core::{Error, Result};

use crate::table::Table;

/// Names of one partition's numbers.
pub(super) struct Names {
    /// Offset of the next row.
    pub(super) position: String,
    /// Newest event time in microseconds.
    pub(super) newest: String,
    /// Rows that were dropped for being late.
    pub(super) dropped: String,
}

impl Names {
    pub(super) fn of(stream: &str, partition: &str) -> Self {
        let name = |what: &str| format!("mlops.stream/{stream}/{partition}/{what}");
        Self { position: name("position"), newest: name("newest"), dropped: name("dropped") }
    }
}

/// One partition as a table has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// As it stands in the log, none before the first commit.
    pub(super) position: Option<i64>,
    pub(super) newest: Option<i64>,
    pub(super) dropped: i64,
}

impl Kept {
    pub(super) async fn read(table: &Table, stream: &str, partition: &str) -> Result<Self> {
        let Names { position, newest, dropped } = Names::of(stream, partition);
        let found = table.numbers(&[position, newest, dropped]).await?;
        let at = |index: usize| found.get(index).copied().flatten();
        Ok(Self { position: at(0), newest: at(1), dropped: at(2).unwrap_or(0) })
    }

    /// The next row.
    pub(super) fn offset(self) -> u64 {
        self.position.and_then(|position| u64::try_from(position).ok()).unwrap_or(0)
    }
}

/// The number under which a position is kept.
pub(super) fn kept_position(partition: &Arc<str>, offset: u64) -> Result<i64> {
    i64::try_from(offset).map_err(|_| {
        Error::invalid_argument(format!(
            "partition \"{partition}\" has offset {offset}; offsets above 2^63 are not kept"
        ))
    })
}
