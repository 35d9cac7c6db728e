//! Reading inputs out of JSON, and writing numbers into it.

use mlops_core::{Error, ErrorKind, Result};
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

/// What does not exist for these inputs, such as a curve with one class, as nothing.
pub(crate) fn existing<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Err(error) if error.kind() == ErrorKind::FailedPrecondition => Ok(None),
        found => found.map(Some),
    }
}

/// A number of labels that may lie outside of what the metric takes, such as a logarithm of negative ones.
pub(crate) fn in_domain(found: Result<f64>) -> Result<f64> {
    match found {
        Err(error) if error.kind() == ErrorKind::InvalidArgument => Ok(f64::NAN),
        found => defined(found),
    }
}

/// A number that does not exist for these inputs as one that is not finite.
pub(crate) fn defined(found: Result<f64>) -> Result<f64> {
    Ok(existing(found)?.unwrap_or(f64::NAN))
}

/// Numbers by name; one that is not finite is null, as JSON has none.
pub(crate) fn object<const N: usize>(numbers: [(&str, f64); N]) -> Map<String, Value> {
    numbers.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}
