//! Rows and columns without declared shapes: how the protocols that grew around one framework write inputs, read by
//! one reader that each of them gives its own keys.
//!
//! Invariant: the metadata decides. A value becomes the model's type or is refused, nesting gives the shape, and a
//! name the model does not know is an error.

use std::{collections::BTreeMap, fmt};

use mlops_core::{Error, Result};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    Inputs,
    inputs::check_shape,
    json::{Scalars, decode_rows, decode_whole},
};
use crate::{repository::LoadedVersion, server::TensorReply, tensor::Tensor};

/// How the value of a key is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// An array with a value, or an object of named values, per row; where the model has several inputs, also an array
    /// of values in the order of the inputs.
    Rows,
    /// One tensor, or an object of named tensors.
    Columns,
    /// `{"columns": names, "data": rows}`.
    Split,
    /// As [`Layout::Rows`] of a data frame, whose columns, in the order of the first row, are the parts of the tensor
    /// of a model that takes one matrix.
    Records,
    /// [`Layout::Split`] where it is an object with `data`, else [`Layout::Rows`].
    SplitOrRows,
}

/// How a protocol writes rows.
#[derive(Debug)]
pub(crate) struct Form {
    /// The keys of a request, of which it has exactly one.
    pub(crate) keys: &'static [(&'static str, Layout)],
    /// Whether an array without a key is rows, and an object without a known key one row.
    pub(crate) bare: bool,
    /// The key of the answer; without one it is the bare value.
    pub(crate) answer: Option<&'static str>,
}

/// How the answer to a request is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// A value or object per row.
    Rows,
    /// A tensor or an object of tensors.
    Columns,
    /// The one row of a request that was an object without any known key.
    Row,
}

type Object<'a> = BTreeMap<String, &'a RawValue>;

fn object(data: &RawValue) -> Option<Object<'_>> {
    data.get().starts_with('{').then(|| serde_json::from_str(data.get()).ok())?
}

fn array(data: &RawValue) -> Option<Vec<&RawValue>> {
    data.get().starts_with('[').then(|| serde_json::from_str(data.get()).ok())?
}

impl Form {
    /// Reads a body.
    ///
    /// # Errors
    /// `InvalidArgument` for a body that is not JSON, has none or two of the keys, or does not fit the model.
    pub(crate) fn read(&self, body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
        let not_json = |error| Error::invalid_argument(format!("the body is not JSON: {error}"));
        let body: &RawValue = serde_json::from_slice(body).map_err(not_json)?;
        let known = || self.keys.iter().map(|(key, _)| *key).collect::<Vec<_>>().join(", ");
        let Some(fields) = object(body) else {
            if let (true, Some(rows)) = (self.bare, array(body)) {
                return Ok((rows_of(&rows, version)?, Shown::Rows));
            }
            return Err(Error::invalid_argument(format!("the body must be an object with one of {}", known())));
        };
        let mut found = self.keys.iter().filter_map(|(key, layout)| Some((*key, *layout, *fields.get(*key)?)));
        match (found.next(), found.next()) {
            (Some(("data", Layout::Rows, _)), None) if fields.contains_key("columns") => {
                Ok((split_rows("the body", &fields, version)?, Shown::Rows))
            }
            (Some((key, layout, data)), None) => by_layout(key, layout, data, version),
            (None, _) if self.bare => Ok((rows_of(&[body], version)?, Shown::Row)),
            _ => Err(Error::invalid_argument(format!("the body must have exactly one of {}", known()))),
        }
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// As [`write`].
    pub(crate) fn write(&self, reply: &TensorReply, shown: Shown) -> Result<Vec<u8>> {
        write(reply, shown, false, self.answer)
    }
}

fn by_layout(key: &str, layout: Layout, data: &RawValue, version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
    let bad = |expected: &str| Error::invalid_argument(format!("{key} must be {expected}"));
    let split = object(data).filter(|fields| fields.contains_key("data"));
    Ok(match (layout, split) {
        (Layout::Split | Layout::SplitOrRows, Some(fields)) => (split_rows(key, &fields, version)?, Shown::Rows),
        (Layout::Split, None) => return Err(bad("an object with columns and data")),
        (Layout::Records, _) => {
            (records_of(&array(data).ok_or_else(|| bad("an array of rows"))?, version)?, Shown::Rows)
        }
        (Layout::Rows | Layout::SplitOrRows, _) => {
            (rows_of(&array(data).ok_or_else(|| bad("an array of rows"))?, version)?, Shown::Rows)
        }
        (Layout::Columns, _) => (columns_of(data, version)?, Shown::Columns),
    })
}

fn split_rows(key: &str, fields: &Object<'_>, version: &LoadedVersion) -> Result<Vec<Tensor>> {
    let bad = |expected: &str| Error::invalid_argument(format!("{key} must have {expected}"));
    let rows = fields.get("data").and_then(|data| array(data)).ok_or_else(|| bad("data, an array of rows"))?;
    let columns: Option<Vec<String>> = fields.get("columns").and_then(|names| column_names(names));
    match columns {
        Some(names) if !is_matrix(&names, version) => {
            let rows: Option<Vec<Vec<&RawValue>>> = rows.iter().map(|row| array(row)).collect();
            let rows = rows.filter(|rows| rows.iter().all(|row| row.len() == names.len()));
            let rows = rows.ok_or_else(|| bad("one value per column in each row of data"))?;
            transposed(&names, &rows, version)
        }
        Some(names) if rows.iter().any(|row| array(row).is_none_or(|row| row.len() != names.len())) => {
            Err(bad("one value per column in each row of data"))
        }
        None if fields.contains_key("columns") => Err(bad("columns, an array of names")),
        _ => rows_of(&rows, version),
    }
}

/// Names of columns, which a data frame that has none writes as their numbers.
fn column_names(names: &RawValue) -> Option<Vec<String>> {
    let names: Vec<serde_json::Value> = serde_json::from_str(names.get()).ok()?;
    let text = |name| match name {
        serde_json::Value::String(text) => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    names.into_iter().map(text).collect()
}

/// Whether columns are the parts of the one tensor that a model takes, which has no names for them.
fn is_matrix(names: &[String], version: &LoadedVersion) -> bool {
    match version.inputs.as_slice() {
        [only] => only.shape.len() == 2 && !names.contains(&only.name),
        _ => false,
    }
}

/// Columns of rows that have a value per name.
///
/// # Errors
/// `InvalidArgument` for a name that is not an input and values that do not fit it.
pub(crate) fn transposed(names: &[String], rows: &[Vec<&RawValue>], version: &LoadedVersion) -> Result<Vec<Tensor>> {
    let mut inputs = Inputs::of(version);
    for (index, name) in names.iter().enumerate() {
        let info = inputs.named(name)?;
        let column: Vec<&RawValue> = rows.iter().filter_map(|row| row.get(index).copied()).collect();
        let tensor = decode_rows(info, &column)?;
        check_shape(info, tensor.shape())?;
        inputs.push(tensor);
    }
    inputs.finish()
}

fn rows_of(rows: &[&RawValue], version: &LoadedVersion) -> Result<Vec<Tensor>> {
    let first = rows.first().and_then(|row| object(row)).filter(|fields| !is_bytes(fields, version));
    if let Some(first) = first {
        return named_rows(&first, rows, version);
    }
    match version.inputs.as_slice() {
        [info] => {
            let mut inputs = Inputs::of(version);
            let tensor = decode_rows(info, rows)?;
            check_shape(info, tensor.shape())?;
            inputs.push(tensor);
            inputs.finish()
        }
        several => {
            let values: Option<Vec<Vec<&RawValue>>> = rows.iter().map(|row| array(row)).collect();
            let fits = values.filter(|rows| rows.iter().all(|row| row.len() == several.len()));
            let values = fits.ok_or_else(|| {
                Error::invalid_argument(format!(
                    "the model has {} inputs; each row must be an object of named values, or an array of as many values",
                    several.len()
                ))
            })?;
            let names: Vec<String> = several.iter().map(|info| info.name.clone()).collect();
            transposed(&names, &values, version)
        }
    }
}

fn records_of(rows: &[&RawValue], version: &LoadedVersion) -> Result<Vec<Tensor>> {
    let names = rows.first().and_then(|row| serde_json::from_str(row.get()).ok()).map(|Names(names)| names);
    match names {
        Some(names) if is_matrix(&names, version) => {
            let matrix = values_of(&names, rows)?.iter().map(|values| raw_array(values)).collect::<Result<Vec<_>>>()?;
            rows_of(&matrix.iter().map(AsRef::as_ref).collect::<Vec<_>>(), version)
        }
        _ => rows_of(rows, version),
    }
}

fn raw_array(values: &[&RawValue]) -> Result<Box<RawValue>> {
    let values: Vec<&str> = values.iter().map(|value| value.get()).collect();
    RawValue::from_string(format!("[{}]", values.join(",")))
        .map_err(|error| Error::internal("a row of values is no JSON").with_source(error))
}

/// The names of an object's members, in order.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(json: D) -> std::result::Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some((name, IgnoredAny)) = map.next_entry()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }

        json.deserialize_map(InOrder)
    }
}

/// Whether an object is one byte string rather than named values.
fn is_bytes(fields: &Object<'_>, version: &LoadedVersion) -> bool {
    fields.len() == 1 && fields.contains_key("b64") && !version.inputs.iter().any(|info| info.name == "b64")
}

fn named_rows(first: &Object<'_>, rows: &[&RawValue], version: &LoadedVersion) -> Result<Vec<Tensor>> {
    let names: Vec<String> = first.keys().cloned().collect();
    transposed(&names, &values_of(&names, rows)?, version)
}

/// The values of rows that are objects with exactly these names, in their order.
fn values_of<'a>(names: &[String], rows: &[&'a RawValue]) -> Result<Vec<Vec<&'a RawValue>>> {
    let values = rows.iter().map(|row| {
        let fields = object(row).filter(|fields| fields.len() == names.len());
        fields.and_then(|fields| names.iter().map(|name| fields.get(name).copied()).collect())
    });
    let values: Option<Vec<Vec<&RawValue>>> = values.collect();
    values.ok_or_else(|| Error::invalid_argument("every row must have the same names as the first"))
}

fn columns_of(data: &RawValue, version: &LoadedVersion) -> Result<Vec<Tensor>> {
    match (object(data).filter(|fields| !is_bytes(fields, version)), version.inputs.as_slice()) {
        (Some(fields), _) => columns(fields.iter().map(|(name, data)| (name.as_str(), *data)), version),
        (None, [info]) => columns([(info.name.as_str(), data)], version),
        (None, several) => Err(Error::invalid_argument(format!(
            "the model has {} inputs, so inputs must be an object of named tensors",
            several.len()
        ))),
    }
}

/// Tensors by name, each a JSON array of its rows.
///
/// # Errors
/// As [`transposed`].
pub(crate) fn columns<'a>(
    columns: impl IntoIterator<Item = (&'a str, &'a RawValue)>,
    version: &LoadedVersion,
) -> Result<Vec<Tensor>> {
    let mut inputs = Inputs::of(version);
    for (name, data) in columns {
        let info = inputs.named(name)?;
        let tensor = decode_whole(info, data)?;
        check_shape(info, tensor.shape())?;
        inputs.push(tensor);
    }
    inputs.finish()
}

/// The outputs as JSON, under `key` if there is one; a single output goes without its name. `tokens` as in
/// [`Scalars::of`].
///
/// # Errors
/// `FailedPrecondition` for values without a JSON form; `Internal` when outputs differ in their rows.
pub(crate) fn write(reply: &TensorReply, shown: Shown, tokens: bool, key: Option<&str>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    if let Some(key) = key {
        out.extend_from_slice(format!("{{\"{key}\":").as_bytes());
    }
    write_value(reply, shown, tokens, &mut out)?;
    out.extend(key.map(|_| b'}'));
    Ok(out)
}

fn write_value(reply: &TensorReply, shown: Shown, tokens: bool, out: &mut Vec<u8>) -> Result<()> {
    let columns = reply.outputs.iter().map(|tensor| Ok((tensor.name(), Scalars::of(tensor, tokens)?)));
    let columns: Vec<(&str, Scalars<'_>)> = columns.collect::<Result<_>>()?;
    let rows = reply.outputs.first().map_or(0, Tensor::rows);
    if shown != Shown::Columns && reply.outputs.iter().any(|tensor| tensor.rows() != rows) {
        return Err(Error::internal("the outputs differ in their rows, so they cannot be told row by row"));
    }
    match shown {
        Shown::Columns => named(&columns, out, |scalars, out| scalars.whole(out)),
        Shown::Row if rows == 1 => named(&columns, out, |scalars, out| scalars.row(0, out)),
        Shown::Row | Shown::Rows => {
            out.push(b'[');
            for row in 0..rows {
                if row > 0 {
                    out.push(b',');
                }
                named(&columns, out, |scalars, out| scalars.row(row, out))?;
            }
            out.push(b']');
            Ok(())
        }
    }
}

fn named<'a>(
    columns: &[(&str, Scalars<'a>)],
    out: &mut Vec<u8>,
    value: impl Fn(&Scalars<'a>, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    if let [(_, only)] = columns {
        return value(only, out);
    }
    out.push(b'{');
    for (index, (name, scalars)) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(serde_json::Value::from(*name).to_string().as_bytes());
        out.push(b':');
        value(scalars, out)?;
    }
    out.push(b'}');
    Ok(())
}
