//! Bodies of `/invocations` to tensors, and outputs to its answer.

use mlops_core::{Error, Result};
use serde_json::value::RawValue;

use super::csv::{self, Cell};
use crate::{
    protocol::{Key, Layout, Read, Shown, read, transposed, write},
    repository::LoadedVersion,
    server::TensorReply,
    tensor::{Tensor, TensorType},
};

const KEYS: &[Key] = &[
    ("dataframe_split", Layout::Split),
    ("dataframe_records", Layout::Rows),
    ("instances", Layout::Rows),
    ("inputs", Layout::Columns),
];

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    /// A row of JSON per line.
    JsonLines,
    Csv,
}

impl Form {
    /// By the content type; JSON when there is none.
    pub(super) fn of(content_type: &str) -> Option<Self> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match kind.as_str() {
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
pub(super) fn read_body(form: Form, body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
    match form {
        Form::Json => bare(body, version),
        Form::JsonLines => {
            let lines = text(body)?.lines().filter(|line| !line.trim().is_empty());
            bare(format!("[{}]", lines.collect::<Vec<_>>().join(",")).as_bytes(), version)
        }
        Form::Csv => Ok((read_csv(text(body)?, version)?, Shown::Rows)),
    }
}

fn bare(body: &[u8], version: &LoadedVersion) -> Result<(Vec<Tensor>, Shown)> {
    let Read { tensors, shown } = read(body, KEYS, true, version)?;
    Ok((tensors, shown))
}

fn text(body: &[u8]) -> Result<&str> {
    std::str::from_utf8(body).map_err(|_| Error::invalid_argument("the body is not UTF-8 text"))
}

/// Rows of CSV. The first line names the columns when its cells are names of inputs, or when the model has one tensor
/// and a cell is no number; without names the cells are in the order of the inputs.
fn read_csv(csv: &str, version: &LoadedVersion) -> Result<Vec<Tensor>> {
    let mut rows = csv::parse(csv)?;
    let names: Vec<String> = match rows.first() {
        Some(first) if is_header(first, version) => rows.remove(0).into_iter().map(|cell| cell.text).collect(),
        _ => version.inputs.iter().map(|info| info.name.clone()).collect(),
    };
    if let [only] = version.inputs.as_slice()
        && only.shape.len() == 2
    {
        let lines = rows.iter().map(|row| Ok(format!("[{}]", cells(row, |_| only.data_type)?.join(","))));
        let lines = lines.collect::<Result<Vec<_>>>()?;
        return Ok(bare(format!("[{}]", lines.join(",")).as_bytes(), version)?.0);
    }
    if rows.iter().any(|row| row.len() != names.len()) {
        return Err(Error::invalid_argument(format!("each line of the CSV must have {} cells", names.len())));
    }
    let kinds: Vec<TensorType> = names.iter().map(|name| kind_of(name, version)).collect();
    let kind = |index: usize| kinds.get(index).copied().unwrap_or(TensorType::Bytes);
    let raw = |cell: String| {
        let bad = |_| Error::invalid_argument("a cell of the CSV is not a value of its column's type");
        RawValue::from_string(cell).map_err(bad)
    };
    let values = rows.iter().map(|row| cells(row, kind)?.into_iter().map(raw).collect());
    let values = values.collect::<Result<Vec<Vec<Box<RawValue>>>>>()?;
    let values: Vec<Vec<&RawValue>> = values.iter().map(|row| row.iter().map(AsRef::as_ref).collect()).collect();
    transposed(&names, &values, version)
}

fn is_header(first: &[Cell], version: &LoadedVersion) -> bool {
    let named = first.iter().all(|cell| version.inputs.iter().any(|info| info.name == cell.text));
    let matrix = matches!(version.inputs.as_slice(), [only] if only.shape.len() == 2);
    named || (matrix && first.iter().any(|cell| cell.text.trim().parse::<f64>().is_err()))
}

fn kind_of(name: &str, version: &LoadedVersion) -> TensorType {
    version.inputs.iter().find(|info| info.name == name).map_or(TensorType::Bytes, |info| info.data_type)
}

/// The cells of a line as JSON: an empty one that was not quoted is null.
fn cells(row: &[Cell], kind: impl Fn(usize) -> TensorType) -> Result<Vec<String>> {
    let json = |(index, cell): (usize, &Cell)| {
        if cell.text.is_empty() && !cell.quoted {
            return Ok("null".to_owned());
        }
        let text = cell.text.trim();
        match kind(index) {
            TensorType::Bytes => Ok(serde_json::Value::from(cell.text.as_str()).to_string()),
            TensorType::Bool => Ok(text.to_ascii_lowercase()),
            // Anything but a number would change the structure of the JSON that is built of it.
            _ if serde_json::from_str::<serde_json::Number>(text).is_ok() => Ok(text.to_owned()),
            other => Err(Error::invalid_argument(format!("a cell of the CSV is not a number that {other} holds"))),
        }
    };
    row.iter().enumerate().map(json).collect()
}

/// `{"predictions": ..}`.
///
/// # Errors
/// As [`write`].
pub(super) fn write_predictions(reply: &TensorReply, shown: Shown) -> Result<Vec<u8>> {
    let mut out = b"{\"predictions\":".to_vec();
    write(reply, shown, false, &mut out)?;
    out.push(b'}');
    Ok(out)
}
