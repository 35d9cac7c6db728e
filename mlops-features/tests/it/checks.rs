//! Rules that batches of tests break.

use mlops_core::{
    BatchCheck, CheckFailure, CheckOutcome, Result,
    arrow_array::{Array, RecordBatch, cast::AsArray, types::Int64Type},
};

/// Refuses rows whose number `n` is below 0.
#[derive(Debug)]
pub(crate) struct NotNegative;

impl BatchCheck for NotNegative {
    fn check(&self, batch: &RecordBatch) -> Result<CheckOutcome> {
        let values = batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
        let rows: Vec<usize> =
            (0..values.len()).filter(|row| values.is_valid(*row) && values.value(*row) < 0).collect();
        let (rule, column, message) = ("not_negative".into(), Some("n".into()), "below 0".into());
        let failures = if rows.is_empty() { Vec::new() } else { vec![CheckFailure { rule, column, message, rows }] };
        Ok(CheckOutcome { failures, warnings: Vec::new() })
    }
}
