//! A value written as text, as a cell of CSV and a field of a form have it, as the JSON that the model's type takes.

use mlops_core::{Error, Result};
use serde_json::Value;

use crate::tensor::TensorType;

/// The JSON of one value. Checked to be one, so that no text can change the structure around it; `place` says where the
/// text is.
///
/// # Errors
/// `InvalidArgument` for what is no value of the type.
pub(crate) fn json_of(text: &str, kind: TensorType, place: &str) -> Result<String> {
    let trimmed = text.trim();
    match kind {
        TensorType::Bytes => Ok(Value::from(text).to_string()),
        TensorType::Bool if trimmed.eq_ignore_ascii_case("true") => Ok("true".to_owned()),
        TensorType::Bool if trimmed.eq_ignore_ascii_case("false") => Ok("false".to_owned()),
        TensorType::Bool => Err(Error::invalid_argument(format!("{place} is neither true nor false, as BOOL asks"))),
        _ if serde_json::from_str::<serde_json::Number>(trimmed).is_ok() => Ok(trimmed.to_owned()),
        other => Err(Error::invalid_argument(format!("{place} is not a number that {other} holds"))),
    }
}
