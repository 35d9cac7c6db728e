//! Rows of the log by what identifies them, and the labels that arrive later.

use std::sync::Arc;

use arrow_array::{BooleanArray, Int64Array, RecordBatch, UInt32Array, cast::AsArray, types::Int64Type};
use arrow_schema::{DataType, Field, Schema};
use arrow_select::{filter::filter_record_batch, take::take};
use hashbrown::{HashMap, HashSet};
use mlops_core::{Error, Result};

use super::{REQUEST_ID, ROW};
use crate::{definition::first_duplicate, time::column};

/// What identifies each row: the id of its request and its place in it.
///
/// # Errors
/// `InvalidArgument` when one of the two columns is missing or of another type.
pub(super) fn identities(batch: &RecordBatch) -> Result<Vec<(&str, i64)>> {
    let wrong = |name: &str| Error::invalid_argument(format!("column \"{name}\" of a prediction log has another type"));
    let ids = column(batch, REQUEST_ID)?.as_string_opt::<i32>().ok_or_else(|| wrong(REQUEST_ID))?;
    let rows = column(batch, ROW)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong(ROW))?;
    Ok(ids.iter().zip(rows).map(|(id, row)| (id.unwrap_or(""), row.unwrap_or(0))).collect())
}

/// Each row once, the first that is there.
///
/// # Errors
/// As [`identities`].
pub(super) fn first_of_each(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut seen = HashSet::new();
    let mask: BooleanArray = identities(batch)?.into_iter().map(|identity| Some(seen.insert(identity))).collect();
    Ok(filter_record_batch(batch, &mask)?)
}

/// The predictions with the columns of `labels` other than its `request_id` and `row`: an inner join on those two,
/// in the order of the predictions. Labels without `row` are for row 0. Of several labels for one row the last
/// counts.
///
/// # Errors
/// `InvalidArgument` for a missing or wrongly typed id column, or a label named like a column of the predictions.
pub fn join_labels(predictions: &RecordBatch, labels: &RecordBatch) -> Result<RecordBatch> {
    let labels = with_row(labels)?;
    let mut by_identity: HashMap<(&str, i64), u32> = HashMap::new();
    for (at, identity) in identities(&labels)?.into_iter().enumerate() {
        let at = u32::try_from(at).map_err(|_| Error::resource_exhausted("more than 4,294,967,295 labels"))?;
        by_identity.insert(identity, at);
    }
    let found: Vec<Option<u32>> =
        identities(predictions)?.iter().map(|identity| by_identity.get(identity).copied()).collect();
    let mask: BooleanArray = found.iter().map(|found| Some(found.is_some())).collect();
    let indices: UInt32Array = found.into_iter().flatten().collect::<Vec<_>>().into();
    let matched = filter_record_batch(predictions, &mask)?;
    let mut fields: Vec<_> = matched.schema_ref().fields().iter().cloned().collect();
    let mut columns = matched.columns().to_vec();
    for (field, label) in labels.schema_ref().fields().iter().zip(labels.columns()) {
        if field.name() == REQUEST_ID || field.name() == ROW {
            continue;
        }
        fields.push(Arc::clone(field));
        columns.push(take(label, &indices, None)?);
    }
    if let Some(twice) = first_duplicate(fields.iter().map(|field| field.name().as_str())) {
        return Err(Error::invalid_argument(format!("label \"{twice}\" has the name of a logged column; rename it")));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

fn with_row(labels: &RecordBatch) -> Result<RecordBatch> {
    if labels.column_by_name(ROW).is_some() {
        return Ok(labels.clone());
    }
    let mut fields: Vec<_> = labels.schema_ref().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(ROW, DataType::Int64, true)));
    let mut columns = labels.columns().to_vec();
    columns.push(Arc::new(Int64Array::from_value(0, labels.num_rows())));
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}
