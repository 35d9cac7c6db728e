//! What became of everything that was offered.

use std::sync::atomic::{AtomicU64, Ordering};

use mlops_core::Meter;

/// Counts since the start. Every batch offered is accepted or shed; every row of an accepted batch is in exactly one of
/// the other counts of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct LiveStats {
    /// Batches taken into the queue.
    pub accepted_batches: u64,
    /// Batches refused because the queue was full.
    pub shed_batches: u64,
    /// Rows that are in windows.
    pub rows: u64,
    /// Rows that came after all their windows were closed, whatever became of them.
    pub late_rows: u64,
    /// Rows dated too far ahead of the clock.
    pub ahead_rows: u64,
    /// Rows dated too far ahead of the newest row of their stream.
    pub jumped_rows: u64,
    /// Rows without a time, where times come from a column.
    pub undated_rows: u64,
    /// Rows of versions that nobody watches.
    pub unwatched_rows: u64,
    /// Rows whose columns do not fit their window.
    pub rejected_rows: u64,
    /// Windows that were reported.
    pub windows: u64,
    /// Reports or events that could not be delivered.
    pub failures: u64,
}

/// One of the counts of [`LiveStats`], which are atomic here.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) accepted: AtomicU64,
    pub(super) shed: AtomicU64,
    rows: [AtomicU64; 7],
    windows: AtomicU64,
    failures: AtomicU64,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Late,
    Ahead,
    Jumped,
    Undated,
    Unwatched,
    Rejected,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Late => "late",
            Self::Ahead => "ahead",
            Self::Jumped => "jumped",
            Self::Undated => "undated",
            Self::Unwatched => "unwatched",
            Self::Rejected => "rejected",
        }
    }
}

impl Counters {
    pub(super) fn count_rows(&self, meter: &dyn Meter, fate: Fate, rows: u64) {
        if rows == 0 {
            return;
        }
        if let Some(counter) = self.rows.get(fate as usize) {
            counter.fetch_add(rows, Ordering::Relaxed);
        }
        meter.count("mlops_monitor_live_rows_total", &[("fate", fate.name())], rows);
    }

    pub(super) fn count_window(&self) {
        self.windows.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> LiveStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let [rows, late_rows, ahead_rows, jumped_rows, undated_rows, unwatched_rows, rejected_rows] =
            self.rows.each_ref().map(of);
        LiveStats {
            accepted_batches: of(&self.accepted),
            shed_batches: of(&self.shed),
            rows,
            late_rows,
            ahead_rows,
            jumped_rows,
            undated_rows,
            unwatched_rows,
            rejected_rows,
            windows: of(&self.windows),
            failures: of(&self.failures),
        }
    }
}
