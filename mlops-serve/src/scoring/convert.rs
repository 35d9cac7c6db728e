//! Bodies of `/invocations` to tensors, and outputs to its answer.

use std::sync::Arc;

use mlops_core::{Error, Result};
use serde_json::value::RawValue;

use super::csv::{self, Cell};
use crate::{
    protocol::{Form, Layout, Shown, columns, json::Scalars, json_of},
    repository::LoadedVersion,
    server::TensorReply,
    tensor::{Tensor, TensorInfo, TensorType},
};

pub(super) static FORM: Form = Form {
    keys: &[
        ("dataframe_split", Layout::Split),
        ("dataframe_records", Layout::Records),
        ("instances", Layout::Rows),
        ("inputs", Layout::Columns),
    ],
    bare: true,
    answer: Some("predictions"),
};

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    /// A row of JSON per line.
    JsonLines,
    Csv,
}

impl Kind {
    /// By the media type; JSON when there is none.
    pub(super) fn of(media_type: &str) -> Option<Self> {
        match media_type.to_ascii_lowercase().as_str() {
            "" | "application/json" => Some(Self::Json),
            "application/jsonlines" | "application/x-jsonlines" | "application/x-ndjson" => Some(Self::JsonLines),
            "text/csv" => Some(Self::Csv),
            _ => None,
        }
    }
}

/// Reads a body.
///
/// # Errors
/// `InvalidArgument` for a body that is not of its form or does not fit the model.
pub(super) fn read_body(kind: Kind, body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
    match kind {
        Kind::Json => FORM.read(body, version),
        Kind::JsonLines => {
            let lines = text(body)?.lines().filter(|line| !line.trim().is_empty());
            FORM.read(format!("[{}]", lines.collect::<Vec<_>>().join(",")).as_bytes(), version)
        }
        Kind::Csv => Ok((read_csv(text(body)?, version)?, Shown::Rows)),
    }
}

fn text(body: &[u8]) -> Result<&str> {
    std::str::from_utf8(body).map_err(|_| Error::invalid_argument("the body is not UTF-8 text"))
}

/// Rows of CSV. The first line names the columns when its cells are names of inputs, or when the model has one tensor
/// and a cell is no number; without names the cells are in the order of the inputs.
fn read_csv(csv: &str, version: &LoadedVersion) -> Result<Vec<Tensor>> {
    let mut rows = csv::parse(csv)?;
    if rows.is_empty() {
        return Err(Error::invalid_argument("the CSV has no line"));
    }
    let names: Vec<String> = match rows.first() {
        Some(first) if is_header(first, version) => rows.remove(0).into_iter().map(|cell| cell.text).collect(),
        _ => version.inputs.iter().map(|info| info.name.clone()).collect(),
    };
    if let Some(only) = matrix(version) {
        let lines = rows.iter().map(|row| json_array(row.iter(), only.data_type)).collect::<Result<Vec<_>>>()?;
        let whole = raw(format!("[{}]", lines.join(",")))?;
        return columns([(only.name.as_str(), &*whole)], version);
    }
    if rows.iter().any(|row| row.len() != names.len()) {
        return Err(Error::invalid_argument(format!("each line of the CSV must have {} cells", names.len())));
    }
    let column = |(index, name): (usize, &String)| {
        raw(json_array(rows.iter().filter_map(|row| row.get(index)), kind_of(name, version))?)
    };
    let arrays = names.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
    columns(names.iter().map(String::as_str).zip(arrays.iter().map(AsRef::as_ref)), version)
}

fn raw(json: String) -> Result<Box<RawValue>> {
    RawValue::from_string(json).map_err(|error| Error::internal("a column of CSV is no JSON").with_source(error))
}

/// The one input that takes a whole line as its row.
fn matrix(version: &LoadedVersion) -> Option<&TensorInfo> {
    match version.inputs.as_slice() {
        [only] if only.shape.len() == 2 => Some(only),
        _ => None,
    }
}

fn is_header(first: &[Cell], version: &LoadedVersion) -> bool {
    let named = first.iter().all(|cell| version.inputs.iter().any(|info| info.name == cell.text));
    named || (matrix(version).is_some() && first.iter().any(|cell| cell.text.trim().parse::<f64>().is_err()))
}

fn kind_of(name: &str, version: &LoadedVersion) -> TensorType {
    version.inputs.iter().find(|info| info.name == name).map_or(TensorType::Bytes, |info| info.data_type)
}

/// Cells of one type as a JSON array: an empty one that was not quoted is null.
fn json_array<'a>(cells: impl Iterator<Item = &'a Cell>, kind: TensorType) -> Result<String> {
    let mut array = String::from("[");
    for cell in cells {
        if array.len() > 1 {
            array.push(',');
        }
        match cell.text.is_empty() && !cell.quoted {
            true => array.push_str("null"),
            false => array.push_str(&json_of(&cell.text, kind, "a cell of the CSV")?),
        }
    }
    array.push(']');
    Ok(array)
}

/// A line per row: the elements of all outputs side by side, text in quotes.
///
/// # Errors
/// As [`Scalars::of`]; `Internal` when outputs differ in their rows.
pub(super) fn write_csv(reply: &TensorReply) -> Result<Vec<u8>> {
    let rows = reply.outputs.first().map_or(0, Tensor::rows);
    let mut columns = Vec::new();
    for tensor in &reply.outputs {
        let count = tensor.values().len();
        if tensor.rows() != rows {
            return Err(Error::internal("the outputs differ in their rows, so they cannot be told row by row"));
        }
        let flat = Tensor::new(tensor.name(), tensor.data_type(), [count], Arc::clone(tensor.values()))?;
        columns.push((flat, count.checked_div(rows).unwrap_or(0)));
    }
    let scalars = columns.iter().map(|(flat, width)| Ok((Scalars::of(flat, false)?, *width)));
    let scalars: Vec<(Scalars<'_>, usize)> = scalars.collect::<Result<_>>()?;
    let (mut out, mut cell) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let mut comma = false;
        for (scalars, width) in &scalars {
            for index in row * width..(row + 1) * width {
                out.extend_from_slice(if comma { b"," } else { b"" });
                comma = true;
                cell.clear();
                scalars.row(index, &mut cell)?;
                out.extend_from_slice(&csv::cell(&cell));
            }
        }
        out.push(b'\n');
    }
    Ok(out)
}
