//! The schema that is enforced: a batch has exactly the table's columns, by name, each of the table's type.

use std::sync::Arc;

use arrow_array::{RecordBatch, new_null_array};
use arrow_schema::{Field, Schema, SchemaRef};
use deltalake::kernel::{
    StructField, StructType,
    engine::arrow_conversion::{TryIntoArrow, TryIntoKernel},
};
use mlops_core::Result;

use crate::definition::all_faults;

/// The columns of a new Delta table, refused when Delta would keep another type than asked for.
pub(super) fn to_delta(table: &str, schema: &Schema) -> Result<Vec<StructField>> {
    let (mut fields, mut faults) = (Vec::new(), Vec::new());
    for field in schema.fields() {
        match exact(field) {
            Ok(kept) => fields.push(kept),
            Err(found) => faults.push(format!(
                "column \"{}\" is {}, which Delta Lake {found}; cast it to a type that it has",
                field.name(),
                field.data_type()
            )),
        }
    }
    all_faults(&format!("table \"{table}\""), &faults)?;
    Ok(fields)
}

fn exact(field: &Field) -> std::result::Result<StructField, String> {
    let kept: StructField = field.try_into_kernel().map_err(|_| "cannot keep".to_owned())?;
    let wrapped = StructType::try_new([kept.clone()]).map_err(|error| format!("refuses ({error})"))?;
    let back: Schema = (&wrapped).try_into_arrow().map_err(|_| "cannot give back".to_owned())?;
    let data_type = back.fields().first().map(|back| back.data_type().clone());
    match data_type {
        Some(data_type) if data_type.equals_datatype(field.data_type()) => Ok(kept),
        Some(data_type) => Err(format!("would keep as {data_type}")),
        None => Err("cannot keep".to_owned()),
    }
}

/// `batch` in the table's order of columns. A column that is nullable and was not `declared` may be left out and is
/// null then: the table got it after its writer was written.
pub(super) fn conform(table: &str, schema: &SchemaRef, declared: &Schema, batch: &RecordBatch) -> Result<RecordBatch> {
    let may_miss = |field: &Field| field.is_nullable() && declared.field_with_name(field.name()).is_err();
    let faults = differences(schema, batch.schema_ref(), may_miss);
    all_faults(&format!("batch for table \"{table}\""), &faults)?;
    let columns = schema.fields().iter().map(|field| {
        let Some(column) = batch.column_by_name(field.name()) else {
            return Ok(new_null_array(field.data_type(), batch.num_rows()));
        };
        // Same type but for the names inside a list.
        let renamed = column.data_type() != field.data_type();
        if renamed { arrow_cast::cast(column, field.data_type()) } else { Ok(Arc::clone(column)) }
    });
    Ok(RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)?)
}

fn differences(table: &Schema, other: &Schema, may_miss: impl Fn(&Field) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    for field in table.fields() {
        match other.field_with_name(field.name()) {
            Err(_) if may_miss(field) => {}
            Err(_) => faults.push(format!("column \"{}\" ({}) is missing", field.name(), field.data_type())),
            Ok(found) if !found.data_type().equals_datatype(field.data_type()) => faults.push(format!(
                "column \"{}\" must be {}; it is {}",
                field.name(),
                field.data_type(),
                found.data_type()
            )),
            Ok(_) => {}
        }
    }
    for field in other.fields().iter().filter(|field| table.field_with_name(field.name()).is_err()) {
        faults.push(format!(
            "column \"{}\" is not in the table; add it to the table first, as a nullable column",
            field.name()
        ));
    }
    faults
}
