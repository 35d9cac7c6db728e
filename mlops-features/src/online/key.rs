//! Join keys as bytes. Each cell carries its type and length, so keys of different types or different splits of the
//! same text never collide.

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use mlops_core::{Error, Result};

use super::EntityKey;
use crate::{
    time::column,
    value::{cell, encode},
};

/// The key of every row of `batch`, none where any part is null.
pub(super) fn entity_keys(
    batch: &RecordBatch,
    names: &[impl AsRef<str>],
    types: &[DataType],
) -> Result<Vec<Option<EntityKey>>> {
    let mut columns: Vec<&ArrayRef> = Vec::with_capacity(names.len());
    for (name, wanted) in names.iter().zip(types) {
        let found = column(batch, name.as_ref())?;
        if found.data_type() != wanted {
            return Err(Error::invalid_argument(format!(
                "join key \"{}\" must be {wanted}; it is {}",
                name.as_ref(),
                found.data_type()
            )));
        }
        columns.push(found);
    }
    (0..batch.num_rows()).map(|row| entity_key(&columns, row)).collect()
}

fn entity_key(columns: &[&ArrayRef], row: usize) -> Result<Option<EntityKey>> {
    if columns.iter().any(|column| column.is_null(row)) {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(16 * columns.len());
    for column in columns {
        encode(&cell(column.as_ref(), row)?, &mut bytes);
    }
    Ok(Some(bytes.into()))
}
