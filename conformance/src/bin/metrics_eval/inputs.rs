//! Reading inputs out of JSON, and writing numbers into it.

use mlops_core::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A field as any type.
pub(crate) fn field<T: DeserializeOwned>(input: &Value, name: &str) -> Result<T> {
    let value = input.get(name).ok_or_else(|| Error::invalid_argument(format!("field {name:?} is missing")))?;
    serde_json::from_value(value.clone())
        .map_err(|error| Error::invalid_argument(format!("field {name:?} cannot be read: {error}")))
}

/// A field that may be missing.
pub(crate) fn optional<T: DeserializeOwned>(input: &Value, name: &str) -> Result<Option<T>> {
    if input.get(name).is_some() { field(input, name).map(Some) } else { Ok(None) }
}

pub(crate) fn part<'a>(input: &'a Value, name: &str) -> Result<&'a Value> {
    input.get(name).ok_or_else(|| Error::invalid_argument(format!("part {name:?} is missing")))
}

/// Numbers by name; one that is not finite is null, as JSON has none.
pub(crate) fn object<const N: usize>(numbers: [(&str, f64); N]) -> Map<String, Value> {
    numbers.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}
