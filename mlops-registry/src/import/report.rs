//! What an import found, wrote and left out.
//!
//! Invariant: nothing is left out without a note; of more than [`NOTES_MAX`] notes the rest is counted.

use serde::{Deserialize, Serialize};

/// Most notes that are kept.
pub const NOTES_MAX: usize = 10_000;

/// How much was imported so far; in a dry run, how much would be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportCounts {
    /// Experiments created.
    pub experiments: u64,
    /// Runs created, or completed after an import that broke off.
    pub runs: u64,
    /// Those of them that had not ended in the source; the next import brings them up to date.
    pub runs_open: u64,
    /// Runs that an earlier import brought.
    pub runs_present: u64,
    /// Params of those runs.
    pub params: u64,
    /// Tags of those runs.
    pub tags: u64,
    /// Metric points of those runs.
    pub points: u64,
    /// Datasets linked to those runs.
    pub datasets: u64,
    /// Files of those runs and of logged models.
    pub files: u64,
    /// Size of those files, in bytes.
    pub file_bytes: u64,
    /// Logged models created.
    pub logged_models: u64,
    /// Logged models that an earlier import brought.
    pub logged_models_present: u64,
    /// Traces.
    pub traces: u64,
    /// Traces that an earlier import brought.
    pub traces_present: u64,
    /// Spans of those traces.
    pub spans: u64,
    /// Registered models created.
    pub models: u64,
    /// Versions registered.
    pub versions: u64,
    /// Versions that an earlier import brought.
    pub versions_present: u64,
}

/// Something that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportNote {
    /// Where: a file with its line, or a record of the source.
    pub place: String,
    /// Why.
    pub reason: String,
}

/// What one import did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportReport {
    /// How much.
    pub counts: ImportCounts,
    /// What was left out and why, in the order in which it was found.
    pub notes: Vec<ImportNote>,
    /// Notes beyond [`NOTES_MAX`].
    pub notes_dropped: u64,
}

impl ImportReport {
    /// Notes that something is left out.
    pub fn skip(&mut self, place: impl Into<String>, reason: impl Into<String>) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(ImportNote { place: place.into(), reason: reason.into() });
        } else {
            self.notes_dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_bounded_and_counted() {
        let mut report = ImportReport::default();
        (0..NOTES_MAX + 3).for_each(|line| report.skip(format!("a:{line}"), "bad"));
        assert_eq!((report.notes.len(), report.notes_dropped), (NOTES_MAX, 3));
    }
}
