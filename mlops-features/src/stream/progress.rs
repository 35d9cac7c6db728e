//! How far a stream has been taken in.

use mlops_core::Timestamp;

use super::Positions;

/// What a [`super::StreamIngestor`] has made durable. Rows are counted since it was made, but for those that were
/// dropped: they are counted in the table's log, since they are nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamProgress {
    /// For every partition the next row.
    pub positions: Positions,
    /// Newest version of the table.
    pub table_version: Option<u64>,
    /// Commits to the table.
    pub commits: u64,
    /// Rows that went into the table.
    pub rows: u64,
    /// Rows that went into the quarantine, late ones included.
    pub quarantined: u64,
    /// Late rows that went into the table.
    pub late_accepted: u64,
    /// Late rows that went into the quarantine.
    pub late_quarantined: u64,
    /// Late rows that were dropped, ever.
    pub late_dropped: u64,
    /// Event time before which every row that still comes is late.
    pub watermark: Option<Timestamp>,
}
