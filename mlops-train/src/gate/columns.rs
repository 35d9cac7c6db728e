//! Batches with some of their columns changed, types kept.

use std::{collections::BTreeMap, sync::Arc};

use arrow_array::{
    Array, ArrayRef, BooleanArray, LargeStringArray, PrimitiveArray, RecordBatch, StringArray, cast::AsArray, types,
};
use arrow_schema::{DataType, Field, Schema};
use mlops_core::{Error, Result};

use crate::{
    data::{numbers, plain},
    params::ParamValue,
};

/// The column of this name with its place.
pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<(usize, &'a ArrayRef)> {
    batch.schema_ref().column_with_name(name).map(|(place, _)| (place, batch.column(place))).ok_or_else(|| {
        let known: Vec<&str> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        Error::invalid_argument(format!("column {name:?} is not in the batch, which has {}", known.join(", ")))
            .with("column", name)
    })
}

/// The batch with the entries of dictionaries in place.
pub(super) fn plain_columns(batch: &RecordBatch) -> Result<RecordBatch> {
    if batch.columns().iter().all(|column| column.as_any_dictionary_opt().is_none()) {
        return Ok(batch.clone());
    }
    let columns = batch.columns().iter().map(plain).collect::<Result<Vec<_>>>()?;
    let fields = batch.schema_ref().fields().iter().zip(&columns);
    // Entries may be null where no key is.
    let as_is = |(field, column): (&Arc<Field>, &ArrayRef)| {
        let nullable = field.is_nullable() || column.null_count() > 0;
        field.as_ref().clone().with_data_type(column.data_type().clone()).with_nullable(nullable)
    };
    let fields: Vec<Field> = fields.map(as_is).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The batch with one column replaced.
pub(super) fn with_column(batch: &RecordBatch, place: usize, array: ArrayRef) -> Result<RecordBatch> {
    let fields = batch.schema_ref().fields().iter().enumerate();
    let fields: Vec<Field> = fields
        .map(
            |(index, field)| {
                if index == place { field.as_ref().clone().with_nullable(true) } else { field.as_ref().clone() }
            },
        )
        .collect();
    let mut columns = batch.columns().to_vec();
    if let Some(slot) = columns.get_mut(place) {
        *slot = array;
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| Error::internal(format!("a column could not be replaced: {error}")))
}

macro_rules! narrow {
    ($type:expr, $values:expr, $($variant:ident => $arrow:ident $convert:expr),* $(,)?) => {
        match $type {
            DataType::Boolean => {
                let values = $values.iter().map(|value| (!value.is_nan()).then_some(*value != 0.0));
                Some(Arc::new(values.collect::<BooleanArray>()) as ArrayRef)
            }
            $(DataType::$variant => {
                let convert: fn(f64) -> _ = $convert;
                let values = $values.iter().map(|value| (!value.is_nan()).then(|| convert(*value)));
                Some(Arc::new(values.collect::<PrimitiveArray<types::$arrow>>()) as ArrayRef)
            })*
            _ => None,
        }
    };
}

/// A column of a numeric type from doubles; NaN is null, whole types are rounded and saturate.
pub(super) fn from_numbers(kind: &DataType, values: &[f64]) -> Option<ArrayRef> {
    narrow!(kind, values,
        Int8 => Int8Type |v| v.round() as i8,
        Int16 => Int16Type |v| v.round() as i16,
        Int32 => Int32Type |v| v.round() as i32,
        Int64 => Int64Type |v| v.round() as i64,
        UInt8 => UInt8Type |v| v.round() as u8,
        UInt16 => UInt16Type |v| v.round() as u16,
        UInt32 => UInt32Type |v| v.round() as u32,
        UInt64 => UInt64Type |v| v.round() as u64,
        Float32 => Float32Type |v| v as f32,
        Float64 => Float64Type |v| v,
    )
}

/// A column of one value, or of nulls.
fn constant(name: &str, kind: &DataType, value: Option<&ParamValue>, rows: usize) -> Result<ArrayRef> {
    let value = value.filter(|value| **value != ParamValue::Null);
    let wrong = || {
        let shown = value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        Error::invalid_argument(format!("column {name:?} of type {kind} cannot be set to {shown}")).with("column", name)
    };
    let text = match value {
        Some(ParamValue::Text(text)) => Some(text.as_str()),
        _ => None,
    };
    match kind {
        DataType::Utf8 if value.is_none() || text.is_some() => Ok(Arc::new(StringArray::from(vec![text; rows]))),
        DataType::LargeUtf8 if value.is_none() || text.is_some() => {
            Ok(Arc::new(LargeStringArray::from(vec![text; rows])))
        }
        kind => {
            let number = match value {
                None => f64::NAN,
                Some(ParamValue::Bool(flag)) => f64::from(u8::from(*flag)),
                Some(value) => value.as_f64().ok_or_else(wrong)?,
            };
            from_numbers(kind, &vec![number; rows]).ok_or_else(wrong)
        }
    }
}

/// The batch with a column set to one value everywhere.
pub(super) fn set(batch: &RecordBatch, name: &str, value: &ParamValue) -> Result<RecordBatch> {
    let (place, array) = column(batch, name)?;
    with_column(batch, place, constant(name, array.data_type(), Some(value), batch.num_rows())?)
}

/// The batch with the numbers of a column mapped; missing ones stay missing.
pub(super) fn map(batch: &RecordBatch, name: &str, change: impl Fn(f64) -> f64) -> Result<RecordBatch> {
    let (place, array) = column(batch, name)?;
    let values: Vec<f64> = numbers(name, array)?.into_iter().map(change).collect();
    let array = from_numbers(array.data_type(), &values).ok_or_else(|| {
        Error::invalid_argument(format!("column {name:?} of type {} cannot be changed", array.data_type()))
    })?;
    with_column(batch, place, array)
}

/// One row with these values, nulls in the other columns of the schema.
pub(super) fn row(schema: &Schema, values: &BTreeMap<String, ParamValue>) -> Result<RecordBatch> {
    if let Some(unknown) = values.keys().find(|name| schema.column_with_name(name).is_none()) {
        return Err(Error::invalid_argument(format!("column {unknown:?} is not in the schema")).with("column", unknown));
    }
    let column = |field: &Arc<Field>| {
        Ok((field.name().clone(), constant(field.name(), field.data_type(), values.get(field.name()), 1)?, true))
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<(String, ArrayRef, bool)>>>()?;
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| Error::invalid_argument(format!("no row could be made: {error}")))
}
