//! The rows of a pane as a mergeable profile.
//!
//! Invariant: memory is that of one profile and of fewer than [`PENDING_ROWS_MAX`] rows and one batch that wait to be
//! summarized together, for services answer few rows at a time.

use arrow_array::RecordBatch;
use arrow_select::concat::concat_batches;
use mlops_core::Result;

use super::windows::Pane;
use crate::profile::{Profile, SketchSettings};

/// Rows that are summarized at a time.
const PENDING_ROWS_MAX: usize = 4_096;

/// A profile, and rows that it does not know yet.
#[derive(Debug, Clone)]
pub(super) struct ProfilePane {
    profile: Profile,
    pending: Vec<RecordBatch>,
    pending_rows: usize,
    /// Rows whose columns did not fit.
    rejected: u64,
}

impl ProfilePane {
    /// # Errors
    /// `InvalidArgument` when the settings are out of range.
    pub(super) fn new(settings: &SketchSettings) -> Result<Self> {
        Ok(Self { profile: Profile::new(settings.clone())?, pending: Vec::new(), pending_rows: 0, rejected: 0 })
    }

    /// Adds rows. Where their columns do not fit those before, they are counted as rejected.
    pub(super) fn push(&mut self, rows: RecordBatch) {
        if self.pending.first().is_some_and(|first| first.schema() != rows.schema()) {
            self.settle();
        }
        self.pending_rows += rows.num_rows();
        self.pending.push(rows);
        if self.pending_rows >= PENDING_ROWS_MAX {
            self.settle();
        }
    }

    fn settle(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let rows = std::mem::take(&mut self.pending_rows);
        let Some(first) = pending.first() else { return };
        let whole = concat_batches(&first.schema(), &pending).map_err(mlops_core::Error::from);
        if whole.and_then(|whole| self.profile.observe(&whole)).is_err() {
            self.rejected += rows as u64;
        }
    }

    /// Everything that was pushed, and how many rows did not fit.
    pub(super) fn into_profile(mut self) -> (Profile, u64) {
        self.settle();
        (self.profile, self.rejected)
    }
}

impl Pane for ProfilePane {
    fn absorb(&mut self, other: &Self) -> Result<()> {
        self.settle();
        let mut other = other.clone();
        other.settle();
        self.rejected += other.rejected;
        let rows = other.profile.rows();
        if self.profile.merge(&other.profile).is_err() {
            // Panes of one window may come from before and after a change of the schema.
            self.rejected += rows;
        }
        Ok(())
    }
}
