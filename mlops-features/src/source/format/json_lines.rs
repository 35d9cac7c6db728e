//! One JSON object a line. A key that a row does not have is null; a column that no row has is missing.

use std::{io::Cursor, sync::Arc};

use arrow_array::{Array as _, RecordBatch, cast::AsArray as _};
use arrow_json::ReaderBuilder;
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};
use bytes::Bytes;
use mlops_core::{Error, Result};

use super::{BATCH_ROWS, collect, damaged};
use crate::{
    definition::{FileFormat, all_faults},
    source::shape::{Wanted, is_finer},
};

pub(super) fn decode(bytes: &Bytes, wanted: &Wanted) -> Result<RecordBatch> {
    let fields = wanted.columns().map(|(field, name, _)| Field::new(name, field.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let reader = || ReaderBuilder::new(Arc::clone(&schema)).with_batch_size(BATCH_ROWS);
    let mut parts = Vec::new();
    for batch in reader().build(Cursor::new(bytes)).map_err(refused)? {
        parts.push(batch.map_err(refused)?);
    }
    check_digits(bytes, &schema)?;
    let batch = collect(parts.into_iter().map(Ok), wanted, FileFormat::JsonLines, false)?;
    let missing = |(column, (_, name, optional)): (&arrow_array::ArrayRef, (_, &str, bool))| {
        let absent = !optional && !column.is_empty() && column.null_count() == column.len();
        absent.then(|| format!("column \"{name}\" has a value in no row; say that it is optional if that is right"))
    };
    let faults: Vec<_> = batch.columns().iter().zip(wanted.columns()).filter_map(missing).collect();
    all_faults("it does not fit the table", &faults)?;
    Ok(batch)
}

/// Refuses a number or time with digits that its column does not hold. The reader cuts them off, so whole numbers and
/// times are read once more, as the texts that they are.
fn check_digits(bytes: &Bytes, schema: &Schema) -> Result<()> {
    let cut = |field: &&Arc<Field>| field.data_type().is_integer() || field.data_type().is_temporal();
    let types: Vec<&Arc<Field>> = schema.fields().iter().filter(cut).collect();
    let texts = types.iter().map(|field| Field::new(field.name(), DataType::Utf8, true));
    let texts = ReaderBuilder::new(Arc::new(Schema::new(texts.collect::<Vec<_>>())));
    let texts = texts.with_batch_size(BATCH_ROWS).with_coerce_primitive(true);
    let mut rows_before = 0;
    for batch in texts.build(Cursor::new(bytes)).map_err(refused)? {
        let batch = batch.map_err(refused)?;
        let mut faults = Vec::new();
        for (field, column) in types.iter().zip(batch.columns()) {
            let unit = match field.data_type() {
                DataType::Timestamp(unit, _) => Some(*unit),
                _ => None,
            };
            let changes = |text: Option<&str>| text.is_some_and(|text| is_cut(text, unit));
            if let Some(row) = column.as_string::<i32>().iter().position(changes) {
                let (name, row, wanted) = (field.name(), rows_before + row + 1, field.data_type());
                faults.push(format!("column \"{name}\" has a value in row {row} that {wanted} cannot hold"));
            }
        }
        all_faults("it does not fit the table", &faults)?;
        rows_before += batch.num_rows();
    }
    Ok(())
}

/// Whether `text`, a whole number or a time that may be one of ticks, has digits that are not kept. A number with a point
/// or an exponent is a double to the reader.
fn is_cut(text: &str, unit: Option<TimeUnit>) -> bool {
    match text.parse::<f64>() {
        Ok(_) if text.parse::<i128>().is_ok() => false,
        Ok(number) => number.fract() != 0.0 || number.abs() > 2_f64.powi(53),
        Err(_) => unit.is_some_and(|unit| is_finer(text, unit)),
    }
}

/// The reader says by its message alone which column it could not read, and quotes the value, which no message may.
fn refused(error: ArrowError) -> Error {
    let text = error.to_string();
    let column =
        text.split_once("field '").and_then(|(_, rest)| rest.split_once('\'')).map(|(name, _)| name.to_owned());
    match column {
        Some(name) => Error::invalid_argument(format!("column \"{name}\" has a value of another type than the table")),
        None => damaged(FileFormat::JsonLines, error),
    }
}
