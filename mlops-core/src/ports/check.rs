//! The gate at the door: checks on a batch before it is kept.

use std::{fmt, sync::Arc};

use arrow_array::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// One rule that a batch broke.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckFailure {
    /// The rule, such as `not_null`.
    pub rule: String,
    /// The column it concerns, when it concerns one.
    pub column: Option<String>,
    /// What was found, without row values.
    pub message: String,
    /// Indices of the offending rows, ascending; empty when the rule is about the whole batch.
    pub rows: Vec<usize>,
}

/// The verdict on a batch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CheckOutcome {
    /// The rules it broke; none when it passes.
    pub failures: Vec<CheckFailure>,
    /// Rules it broke that do not keep it from passing.
    #[serde(default)]
    pub warnings: Vec<CheckFailure>,
}

impl CheckOutcome {
    /// Whether every rule held, warnings apart.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Judges a batch before it is stored.
pub trait BatchCheck: fmt::Debug + Send + Sync + 'static {
    /// Checks every rule, not just up to the first failure.
    ///
    /// # Errors
    /// Only when the check itself cannot run, such as a rule on a column that is not there.
    fn check(&self, batch: &RecordBatch) -> Result<CheckOutcome>;
}

impl<T: BatchCheck + ?Sized> BatchCheck for Arc<T> {
    fn check(&self, batch: &RecordBatch) -> Result<CheckOutcome> {
        (**self).check(batch)
    }
}
