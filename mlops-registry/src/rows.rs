//! Lists of values in statements, and records that are kept as JSON in a column.
//!
//! Invariant: what cannot be read back is `DataLoss` that names the kind of record, never a default.

use mlops_core::{Error, Result};
use mlops_store::{Row, Value};
use serde::{Serialize, de::DeserializeOwned};

/// `$from, $from+1, ...` for a list of `count` values.
pub(crate) fn places(from: usize, count: usize) -> String {
    (from..from + count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}

/// Texts as values of a statement.
pub(crate) fn texts(values: &[String]) -> Vec<Value> {
    values.iter().map(Value::from).collect()
}

/// A record as the text of a column.
pub(crate) fn to_json(what: &str, value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::internal(format!("{what} is no JSON")).with_source(error))
}

/// The record in the column `content`.
pub(crate) fn from_json<T: DeserializeOwned>(what: &str, row: &Row) -> Result<T> {
    let text: String = row.get("content")?;
    serde_json::from_str(&text)
        .map_err(|error| Error::data_loss(format!("stored {what} is damaged")).with_source(error))
}
