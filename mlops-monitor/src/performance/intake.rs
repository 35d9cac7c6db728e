//! From Arrow batches to rows: the only place that knows how predictions and labels are written.
//!
//! Invariant: a row that cannot be used (null, not finite, unknown class) is counted and left out,
//! a column that cannot be used is an error; neither stops the other rows of other batches.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, cast::AsArray, types::Int64Type};
use arrow_schema::{DataType as ArrowType, TimeUnit};
use mlops_core::{Error, PredictionBatch, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    columns::{RowColumns, Task},
    join::{Prediction, RowId},
    rows::{Cell, cells},
};
use crate::{extract, stats::count_of};

/// What became of the rows of one batch of predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PredictionIntake {
    /// Taken: joined at once with a label that was early, or pending.
    pub taken: u64,
    /// Known by id already.
    pub duplicate: u64,
    /// Older than the last window that was closed.
    pub late: u64,
    /// Without a usable prediction.
    pub invalid: u64,
}

/// What became of the rows of one batch of labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LabelIntake {
    /// Joined to their prediction.
    pub joined: u64,
    /// Replaced an earlier label.
    pub corrected: u64,
    /// Said nothing new, or came after a later label.
    pub duplicate: u64,
    /// Held until their prediction comes.
    pub early: u64,
    /// Without a usable id or label.
    pub invalid: u64,
}

/// One label as it came in.
pub(crate) struct LabelRow {
    pub(crate) id: RowId,
    pub(crate) label: f64,
    pub(crate) at: Timestamp,
}

fn find<'a>(batches: &[&'a RecordBatch], name: &str) -> Result<&'a ArrayRef> {
    let found = batches.iter().find_map(|batch| batch.column_by_name(name));
    found.ok_or_else(|| {
        Error::invalid_argument(format!("column {name:?} is missing from the batch")).with("column", name)
    })
}

fn numbers(batches: &[&RecordBatch], name: &str) -> Result<Vec<Option<f64>>> {
    let column = find(batches, name)?;
    let numbers = extract::plain(column).and_then(|column| as_numbers(&column));
    numbers.ok_or_else(|| {
        let found = extract::type_name(column.data_type());
        Error::invalid_argument(format!("column {name:?} must hold numbers, found {found}")).with("column", name)
    })
}

/// Numbers, and booleans as 0 and 1.
fn as_numbers(column: &ArrayRef) -> Option<Vec<Option<f64>>> {
    match column.data_type() {
        ArrowType::Boolean => {
            Some(column.as_boolean().iter().map(|value| value.map(|value| f64::from(u8::from(value)))).collect())
        }
        _ => extract::numbers(column),
    }
}

/// The prediction of each row; `None` where it is not usable.
pub(crate) fn scores(task: &Task, batches: &[&RecordBatch]) -> Result<Vec<Option<Vec<f64>>>> {
    let names: Vec<&str> = match task {
        Task::Binary { score, .. } | Task::Ranking { score, .. } => vec![score],
        Task::Regression { prediction } => vec![prediction],
        Task::Multiclass { classes, predicted: Some(predicted), .. } => {
            let indices = class_indices(classes, predicted, batches)?;
            return Ok(indices.into_iter().map(|index| index.map(|index| vec![index])).collect());
        }
        Task::Multiclass { probabilities, .. } => probabilities.iter().map(String::as_str).collect(),
    };
    let columns = names.iter().map(|name| numbers(batches, name)).collect::<Result<Vec<_>>>()?;
    let rows = columns.first().map_or(0, Vec::len);
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let row = |row: usize| {
        columns.iter().map(|column| column.get(row).copied().flatten().and_then(|v| finite(Some(v)))).collect()
    };
    Ok((0..rows).map(row).collect())
}

/// The index of the class that each row names.
fn class_indices(classes: &[String], name: &str, batches: &[&RecordBatch]) -> Result<Vec<Option<f64>>> {
    let column = find(batches, name)?;
    let known = |level: &str| classes.iter().position(|class| class == level).map(as_number);
    let read = |cell: Cell| match cell {
        Cell::Level(level) => known(&level),
        // Whole numbers are names when there are such names, indices otherwise.
        Cell::Number(value) => known(&value.to_string())
            .or_else(|| Some(value).filter(|v| v.fract() == 0.0 && *v >= 0.0 && *v < as_number(classes.len()))),
        Cell::Missing => None,
    };
    Ok(cells(Some(column), column.len()).into_iter().map(read).collect())
}

#[allow(clippy::cast_precision_loss, reason = "at most CLASSES_MAX")]
fn as_number(index: usize) -> f64 {
    index as f64
}

/// The label of each row; `None` where it is not usable for the task.
pub(crate) fn labels(columns: &RowColumns, batch: &RecordBatch) -> Result<Vec<Option<f64>>> {
    let name = &columns.labels.label;
    let usable: fn(&f64) -> bool = match &columns.task {
        Task::Multiclass { classes, .. } => return class_indices(classes, name, &[batch]),
        Task::Binary { .. } => |label| *label == 0.0 || *label == 1.0,
        Task::Ranking { .. } => |label| *label >= 0.0 && label.is_finite(),
        Task::Regression { .. } => |label| label.is_finite(),
    };
    Ok(numbers(&[batch], name)?.into_iter().map(|label| label.filter(usable)).collect())
}

/// The rows of a batch of predictions; `None` where a row is not usable.
pub(crate) fn predictions(columns: &RowColumns, batch: &PredictionBatch) -> Result<Vec<Option<(RowId, Prediction)>>> {
    let rows = batch.outputs.num_rows();
    if batch.inputs.num_rows() != rows {
        let found = batch.inputs.num_rows();
        return Err(Error::invalid_argument(format!(
            "a prediction batch needs as many rows of inputs as of outputs, found {found} and {rows}"
        )));
    }
    let both = [&batch.outputs, &batch.inputs];
    let scores = scores(&columns.task, &both)?;
    let kept: Vec<Vec<Cell>> = columns.kept.iter().map(|name| cells(find(&both, name).ok(), rows)).collect();
    let read = |(row, scores): (usize, Option<Vec<f64>>)| {
        let kept = kept.iter().map(|column| column.get(row).cloned().unwrap_or(Cell::Missing)).collect();
        let id = RowId { request: Arc::clone(&batch.request_id), row: u32::try_from(row).ok()? };
        let (at, variant) = (batch.at, Arc::clone(&batch.variant));
        // No window can end after the last instant there is.
        let timely = at < Timestamp::MAX;
        Some((id, Prediction { at, variant, scores: scores.filter(|_| timely)?, kept }))
    };
    Ok(scores.into_iter().enumerate().map(read).collect())
}

/// The rows of a batch of labels; `None` where a row is not usable.
pub(crate) fn label_rows(columns: &RowColumns, batch: &RecordBatch, now: Timestamp) -> Result<Vec<Option<LabelRow>>> {
    let names = &columns.labels;
    let ids = cells(Some(find(&[batch], &names.request_id)?), batch.num_rows());
    let rows = match batch.column_by_name(&names.row) {
        Some(_) => numbers(&[batch], &names.row)?,
        None => vec![Some(0.0); batch.num_rows()],
    };
    let times = times(batch, &names.labeled_at, now)?;
    let labels = labels(columns, batch)?;
    let parts = ids.into_iter().zip(rows).zip(times).zip(labels);
    Ok(parts.map(|(((id, row), at), label)| read_label(id, row, at, label)).collect())
}

fn read_label(id: Cell, row: Option<f64>, at: Option<Timestamp>, label: Option<f64>) -> Option<LabelRow> {
    let request: Arc<str> = match id {
        Cell::Level(id) => id.into(),
        Cell::Number(id) => id.to_string().into(),
        Cell::Missing => return None,
    };
    let row = row.filter(|row| row.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(row))?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and within u32")]
    let id = RowId { request, row: row as u32 };
    Some(LabelRow { id, label: label?, at: at? })
}

fn times(batch: &RecordBatch, name: &str, now: Timestamp) -> Result<Vec<Option<Timestamp>>> {
    let Some(column) = batch.column_by_name(name) else { return Ok(vec![Some(now); batch.num_rows()]) };
    let micros = match column.data_type() {
        ArrowType::Int64 => column.as_primitive::<Int64Type>().iter().collect(),
        ArrowType::Timestamp(unit, _) => {
            let (times, scale, shrink) = match unit {
                TimeUnit::Second => {
                    (column.as_primitive::<arrow_array::types::TimestampSecondType>().values(), 1_000_000, 1)
                }
                TimeUnit::Millisecond => {
                    (column.as_primitive::<arrow_array::types::TimestampMillisecondType>().values(), 1_000, 1)
                }
                TimeUnit::Microsecond => {
                    (column.as_primitive::<arrow_array::types::TimestampMicrosecondType>().values(), 1, 1)
                }
                TimeUnit::Nanosecond => {
                    (column.as_primitive::<arrow_array::types::TimestampNanosecondType>().values(), 1, 1_000)
                }
            };
            let valid = |row: usize| !column.is_null(row);
            let read = |(row, time): (usize, &i64)| valid(row).then(|| time.saturating_mul(scale) / shrink);
            times.iter().enumerate().map(read).collect::<Vec<Option<i64>>>()
        }
        other => {
            let found = extract::type_name(other);
            return Err(Error::invalid_argument(format!(
                "column {name:?} must hold timestamps or microseconds, found {found}"
            ))
            .with("column", name));
        }
    };
    Ok(micros.into_iter().map(|time| time.map(Timestamp::from_micros)).collect())
}

/// How many of the rows are not usable.
pub(crate) fn unusable<T>(rows: &[Option<T>]) -> u64 {
    count_of(rows.iter().filter(|row| row.is_none()).count())
}
