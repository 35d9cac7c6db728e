//! Bounds and choices of a batch job as plain data.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What becomes of a row that the model cannot take: one that lacks a value the model needs, or that the model refuses
/// as invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadRows {
    /// The job fails with an error that names file and row.
    #[default]
    Fail,
    /// Its outputs are null, and it is counted.
    Null,
}

/// By what an input file is told to be the same as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fingerprint {
    /// Its size and the time of its last change.
    #[default]
    SizeAndTime,
    /// The digest of its bytes, which costs reading it twice more. A copy with another time of change counts as the same.
    Content,
}

/// Settings of a [`BatchJob`](crate::BatchJob).
///
/// ```
/// let settings: mlops_serve::BatchSettings = serde_json::from_str(r#"{"workers": 8, "bad_rows": "null"}"#)?;
/// assert_eq!((settings.workers, settings.rows_per_batch), (8, 8_192));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchSettings {
    /// Rows that the model predicts at a time.
    pub rows_per_batch: usize,
    /// Threads that predict. Each takes a part of its own; where parts are fewer, they share the batches of a part.
    pub workers: usize,
    /// What becomes of rows that the model cannot take.
    pub bad_rows: BadRows,
    /// By what an unchanged input is known.
    pub fingerprint: Fingerprint,
    /// Rounds numbers to the model's floating-point type where that holds fewer digits than the file's; otherwise a file
    /// whose numbers do not fit exactly is refused.
    pub narrow_floats: bool,
    /// Most rows in a row group of the output.
    pub row_group_rows: usize,
    /// Most bytes of output rows that are held for a row group.
    pub row_group_bytes: usize,
    /// Least time between two reports of progress, milliseconds; 0 reports every batch.
    pub progress_every_ms: u64,
}

impl Default for BatchSettings {
    fn default() -> Self {
        Self {
            rows_per_batch: 8_192,
            workers: 2,
            bad_rows: BadRows::Fail,
            fingerprint: Fingerprint::SizeAndTime,
            narrow_floats: false,
            row_group_rows: 1 << 17,
            row_group_bytes: 64 << 20,
            progress_every_ms: 200,
        }
    }
}

impl BatchSettings {
    /// Checks every bound.
    ///
    /// # Errors
    /// `InvalidArgument` naming all settings at fault.
    pub fn validate(&self) -> Result<()> {
        let bounds = [
            ("rows_per_batch", self.rows_per_batch, 1 << 24),
            ("workers", self.workers, 1024),
            ("row_group_rows", self.row_group_rows, 1 << 30),
            ("row_group_bytes", self.row_group_bytes, 1 << 40),
        ];
        let outside = bounds.iter().filter(|(_, value, most)| !(1..=*most).contains(value));
        let faults: Vec<String> =
            outside.map(|(name, value, most)| format!("{name} is {value}; it must be from 1 to {most}")).collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("batch settings: {}", faults.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_at_once() {
        BatchSettings::default().validate().unwrap();
        let settings = BatchSettings { workers: 0, rows_per_batch: 0, ..BatchSettings::default() };
        let error = settings.validate().unwrap_err();
        assert!(error.message().contains("rows_per_batch is 0") && error.message().contains("workers is 0"), "{error}");
    }
}
