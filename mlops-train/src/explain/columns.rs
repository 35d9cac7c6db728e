//! Replacing a column of a batch.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, RecordBatch,
    UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use mlops_core::{
    Error, Result,
    arrow_schema::{DataType as ArrowType, Schema},
};

use crate::data::{Column, values};

/// A column of numbers or switches, NaN where missing.
///
/// # Errors
/// `InvalidArgument` when there is no such column or it is no number.
pub(super) fn numbers(rows: &RecordBatch, name: &str) -> Result<Vec<f64>> {
    let missing = || Error::invalid_argument(format!("there is no column {name:?}"));
    let array = rows.column_by_name(name).ok_or_else(missing)?;
    match values(name, array)? {
        Column::Numbers(values) => Ok(values),
        Column::Categories(_) => Err(Error::invalid_argument(format!(
            "column {name:?} is text, which has no order; take partial dependence by its levels"
        ))),
    }
}

/// Whether values of a column are whole.
pub(super) fn is_whole(rows: &RecordBatch, name: &str) -> bool {
    rows.column_by_name(name).is_some_and(|column| column.data_type().is_integer())
}

/// Numbers in the type of a column; whole types get the nearest.
pub(super) fn array_of(name: &str, data_type: &ArrowType, values: &[f64]) -> Result<ArrayRef> {
    macro_rules! whole {
        ($array:ident) => {
            Arc::new(values.iter().map(|value| Some(value.round() as _)).collect::<$array>())
        };
    }
    Ok(match data_type {
        ArrowType::Float64 => Arc::new(Float64Array::from(values.to_vec())),
        ArrowType::Float32 => Arc::new(values.iter().map(|value| Some(*value as f32)).collect::<Float32Array>()),
        ArrowType::Boolean => Arc::new(values.iter().map(|value| Some(*value > 0.5)).collect::<BooleanArray>()),
        ArrowType::Int8 => whole!(Int8Array),
        ArrowType::Int16 => whole!(Int16Array),
        ArrowType::Int32 => whole!(Int32Array),
        ArrowType::Int64 => whole!(Int64Array),
        ArrowType::UInt8 => whole!(UInt8Array),
        ArrowType::UInt16 => whole!(UInt16Array),
        ArrowType::UInt32 => whole!(UInt32Array),
        ArrowType::UInt64 => whole!(UInt64Array),
        other => {
            let message = format!("column {name:?} of type {other} cannot be varied as a number");
            return Err(Error::invalid_argument(message));
        }
    })
}

/// The batch with another column in the place of the one of this name; nulls are allowed in none.
pub(super) fn with_column(rows: &RecordBatch, name: &str, column: &ArrayRef) -> Result<RecordBatch> {
    let schema: &Schema = rows.schema_ref();
    let place = schema.index_of(name)?;
    let mut columns = rows.columns().to_vec();
    if let Some(old) = columns.get_mut(place) {
        *old = Arc::clone(column);
    }
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}
