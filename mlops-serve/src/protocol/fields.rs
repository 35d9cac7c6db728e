//! One row of named values that are text or bytes: a query, or the parts of a form.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use mlops_core::{Error, Result};
use serde_json::{json, value::RawValue};

use super::{Form, Shown, cell::json_of, records::transposed};
use crate::{
    repository::LoadedVersion,
    tensor::{Tensor, TensorInfo, TensorType},
};

/// A name and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) value: &'a [u8],
}

/// What clients call the one field that is a whole body.
const BODIES: [&str; 2] = ["data", "body"];

impl Form {
    /// Reads fields: each the value of an input, or one that is a body of this form.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is no input, and a value that does not fit it.
    pub(crate) fn read_fields(&self, fields: &[Field<'_>], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
        let is_input = |name: &str| version.inputs.iter().any(|info| info.name == name);
        if let [Field { name, value }] = fields
            && BODIES.contains(&&**name)
            && !is_input(name)
        {
            return self.read_or_take(value, version);
        }
        let named = fields.iter().map(|Field { name, value }| {
            let info = version.inputs.iter().find(|info| info.name == **name);
            // What is no input is refused by its name, whatever its value.
            info.map_or_else(|| raw("null".to_owned()), |info| value_of(info, value))
        });
        let values = named.collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = fields.iter().map(|field| field.name.clone().into_owned()).collect();
        let row: Vec<&RawValue> = values.iter().map(AsRef::as_ref).collect();
        Ok((transposed(&names, &[row], version)?, Shown::Row))
    }

    /// Reads the pairs of a query as [`Form::read_fields`] does.
    ///
    /// # Errors
    /// As [`Form::read_fields`].
    pub(crate) fn read_query(
        &self,
        query: &[(String, String)],
        version: &LoadedVersion,
    ) -> Result<(Vec<Tensor>, Shown)> {
        let fields = query.iter().map(|(name, value)| Field { name: Cow::Borrowed(name), value: value.as_bytes() });
        self.read_fields(&fields.collect::<Vec<_>>(), version)
    }

    /// Reads a body of this form, or takes one that is no JSON as the value of the one input of bytes.
    ///
    /// # Errors
    /// As [`Form::read`].
    pub(crate) fn read_or_take(&self, body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
        match only_bytes(version) {
            Some(info) if serde_json::from_slice::<&RawValue>(body).is_err() => take(info, body, version),
            _ => self.read(body, version),
        }
    }

    /// Takes a body as the value of the one input of bytes; a model without one reads a body of this form.
    ///
    /// # Errors
    /// As [`Form::read`].
    pub(crate) fn take_or_read(&self, body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
        match only_bytes(version) {
            Some(info) => take(info, body, version),
            None => self.read(body, version),
        }
    }
}

/// The input of a model that takes nothing but one string of bytes for a row.
fn only_bytes(version: &LoadedVersion) -> Option<&TensorInfo> {
    match version.inputs.as_slice() {
        [only] if only.data_type == TensorType::Bytes => {
            let one = only.shape.iter().skip(1).all(|dim| matches!(dim, -1 | 1));
            (one && !only.shape.is_empty()).then_some(only)
        }
        _ => None,
    }
}

fn take(info: &TensorInfo, body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
    let value = value_of(info, body)?;
    Ok((transposed(std::slice::from_ref(&info.name), &[vec![&*value]], version)?, Shown::Row))
}

/// One value as the JSON of a row of this input, nested as its shape has it; an array is one already.
fn value_of(info: &TensorInfo, value: &[u8]) -> Result<Box<RawValue>> {
    let place = format!("the value of {:?}", info.name);
    let text = std::str::from_utf8(value);
    let one = match (info.data_type, text) {
        (TensorType::Bytes, Err(_)) => json!({ "b64": BASE64_STANDARD.encode(value) }).to_string(),
        (_, Err(_)) => return Err(Error::invalid_argument(format!("{place} is not UTF-8 text"))),
        (TensorType::Bytes, Ok(text)) => json_of(text, TensorType::Bytes, &place)?,
        (_, Ok(text)) if text.trim_start().starts_with('[') => {
            return RawValue::from_string(text.trim().to_owned())
                .map_err(|error| Error::invalid_argument(format!("{place} is not JSON: {error}")));
        }
        (kind, Ok(text)) => json_of(text, kind, &place)?,
    };
    let depth = info.shape.len().saturating_sub(1);
    raw(format!("{}{one}{}", "[".repeat(depth), "]".repeat(depth)))
}

fn raw(json: String) -> Result<Box<RawValue>> {
    RawValue::from_string(json).map_err(|error| Error::internal("a field is no JSON").with_source(error))
}
