//! What the client sent, as the columns that the model asks for.

use std::sync::Arc;

use arrow_array::{Array as _, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_schema::{FieldRef, Schema};
use mlops_core::{Error, Result};

use crate::{
    repository::LoadedVersion,
    tensor::{Tensor, to_field_column},
};

/// The columns that the client must send, in order.
pub(in crate::server) fn project(version: &LoadedVersion, batch: &RecordBatch) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(version.input_specs.len());
    for (spec, field) in version.input_specs.iter().zip(version.input_schema.fields()) {
        let Some(column) = batch.column_by_name(&spec.name) else {
            if version.optional_input.as_deref() == Some(&spec.name) {
                continue;
            }
            return Err(Error::invalid_argument(format!("input column {:?} is missing", spec.name)));
        };
        if column.data_type() != field.data_type() {
            let (want, found) = (field.data_type(), column.data_type());
            return Err(Error::invalid_argument(format!("input column {:?} must be {want}, found {found}", spec.name)));
        }
        if !spec.nullable && column.null_count() > 0 {
            return Err(Error::invalid_argument(format!("input column {:?} must have no nulls", spec.name)));
        }
        columns.push(Arc::clone(column));
    }
    sent(version, columns, batch.num_rows())
}

/// Validated tensors as the columns that the client must send, in order.
pub(in crate::server) fn gather(version: &LoadedVersion, tensors: &[Tensor], rows: usize) -> Result<RecordBatch> {
    let mut columns = Vec::with_capacity(version.input_specs.len());
    for (spec, field) in version.input_specs.iter().zip(version.input_schema.fields()) {
        let Some(tensor) = tensors.iter().find(|tensor| tensor.name() == spec.name) else { continue };
        check_rows(tensor, rows)?;
        columns.push(to_field_column(spec, field, tensor)?);
    }
    sent(version, columns, rows)
}

/// A batch of what was sent; it shares its schema with all others where the input that may be left out was not.
fn sent(version: &LoadedVersion, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let schema = if columns.len() == version.input_specs.len() {
        Arc::clone(&version.input_schema)
    } else {
        let was_sent = |field: &&FieldRef| version.optional_input.as_ref() != Some(field.name());
        let fields = version.input_schema.fields().iter().filter(was_sent).map(Arc::clone);
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    };
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

pub(super) fn check_rows(tensor: &Tensor, rows: usize) -> Result<()> {
    if tensor.rows() == rows {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "input {:?} has {} rows, another input has {rows}; all inputs need the same",
        tensor.name(),
        tensor.rows()
    )))
}
