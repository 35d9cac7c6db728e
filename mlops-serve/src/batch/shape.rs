//! How the columns of a file become inputs of the model and columns of the output.
//!
//! Invariant: a file that has a shape holds every input in a type that the model's type can hold: nothing is found
//! missing after the first row. Only values can still be wrong.

use std::sync::Arc;

use arrow_array::{RecordBatch, RecordBatchOptions};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use mlops_core::{Error, Result, Signature};

use super::settings::{BadRows, BatchSettings};

/// A file's columns as they are needed.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Places of the needed columns in the file.
    pub(super) columns: Vec<usize>,
    /// Keys, then outputs.
    pub(super) output: SchemaRef,
}

impl Shape {
    /// Fits a file of this schema to the model.
    ///
    /// # Errors
    /// `InvalidArgument` naming all columns that are missing or of another type.
    pub(super) fn of(signature: &Signature, keys: &[String], file: &Schema, settings: &BatchSettings) -> Result<Self> {
        let (mut columns, mut faults, mut fields) = (Vec::new(), Vec::new(), Vec::new());
        for spec in signature.inputs() {
            let wanted = spec.to_field();
            match file.column_with_name(&spec.name) {
                None => faults.push(format!("input column {:?} is missing", spec.name)),
                Some((_, found)) if !reads_as(found.data_type(), wanted.data_type(), settings.narrow_floats) => {
                    let (wanted, found) = (wanted.data_type(), found.data_type());
                    faults.push(format!("input column {:?} must be {wanted}, found {found}", spec.name));
                }
                Some((place, _)) => columns.push(place),
            }
        }
        for key in keys {
            match file.column_with_name(key) {
                None => faults.push(format!("key column {key:?} is missing")),
                Some((place, field)) => {
                    columns.push(place);
                    fields.push(field.clone());
                }
            }
        }
        if !faults.is_empty() {
            return Err(Error::invalid_argument(faults.join("; ")));
        }
        let output = |field: Field| {
            let nullable = field.is_nullable() || settings.bad_rows == BadRows::Null;
            field.with_nullable(nullable)
        };
        fields.extend(signature.outputs().iter().map(|spec| output(spec.to_field())));
        columns.sort_unstable();
        columns.dedup();
        Ok(Self { columns, output: Arc::new(Schema::new(fields)) })
    }
}

/// Rows of a file as inputs of the model.
///
/// # Errors
/// `InvalidArgument` when a value does not fit the type.
pub(super) fn inputs(signature: &Signature, rows: &RecordBatch) -> Result<RecordBatch> {
    // A value that does not fit is an error, not a null.
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let column = |spec: &mlops_core::TensorSpec| {
        let found = rows.column_by_name(&spec.name);
        let found = found.ok_or_else(|| Error::internal(format!("input column {:?} was not read", spec.name)))?;
        let wanted = spec.to_field();
        if found.data_type() == wanted.data_type() {
            return Ok(Arc::clone(found));
        }
        Ok(cast_with_options(found, wanted.data_type(), &options)?)
    };
    let columns = signature.inputs().iter().map(column).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(signature.input_schema(), columns, &options)?)
}

/// Whether every value of `found` has its like in `wanted`; with `narrow`, floating-point numbers may lose digits. Times
/// lose what is finer than a microsecond, the resolution of every time here; those without a zone are UTC.
fn reads_as(found: &DataType, wanted: &DataType, narrow: bool) -> bool {
    use DataType as T;
    let fits = match (found, wanted) {
        _ if found == wanted => true,
        (T::Dictionary(_, values), _) => reads_as(values, wanted, narrow),
        (T::Utf8 | T::LargeUtf8 | T::Utf8View, T::Utf8)
        | (T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_), T::Binary) => true,
        (T::Timestamp(_, _), T::Timestamp(TimeUnit::Microsecond, _)) => true,
        (T::List(inner) | T::LargeList(inner) | T::FixedSizeList(inner, _), T::FixedSizeList(element, width)) => {
            let sized = !matches!(found, T::FixedSizeList(_, found) if found != width);
            sized && reads_as(inner.data_type(), element.data_type(), narrow)
        }
        _ => match (digits(found), digits(wanted)) {
            (Some(found), Some(wanted)) => found.fits(&wanted) || (narrow && wanted.float),
            _ => false,
        },
    };
    fits && can_cast_types(found, wanted)
}

/// What numbers of a type can hold exactly.
struct Digits {
    signed: bool,
    /// Binary digits of the integers that are all there.
    bits: u32,
    float: bool,
}

impl Digits {
    fn fits(&self, wanted: &Self) -> bool {
        let sign = !self.signed || wanted.signed;
        (wanted.float || !self.float) && sign && self.bits <= wanted.bits
    }
}

fn digits(data_type: &DataType) -> Option<Digits> {
    let (signed, bits, float) = match data_type {
        DataType::Int8 => (true, 7, false),
        DataType::Int16 => (true, 15, false),
        DataType::Int32 => (true, 31, false),
        DataType::Int64 => (true, 63, false),
        DataType::UInt8 => (false, 8, false),
        DataType::UInt16 => (false, 16, false),
        DataType::UInt32 => (false, 32, false),
        DataType::UInt64 => (false, 64, false),
        DataType::Float16 => (true, 11, true),
        DataType::Float32 => (true, 24, true),
        DataType::Float64 => (true, 53, true),
        _ => return None,
    };
    Some(Digits { signed, bits, float })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_widen_and_narrow_only_where_asked() {
        use DataType as T;
        for (found, wanted, exact, narrow) in [
            (T::Int32, T::Int64, true, true),
            (T::Int64, T::Int32, false, false),
            (T::UInt32, T::Int64, true, true),
            (T::UInt64, T::Int64, false, false),
            (T::Int8, T::UInt8, false, false),
            (T::Int16, T::Float32, true, true),
            (T::Int32, T::Float32, false, true),
            (T::Int32, T::Float64, true, true),
            (T::Int64, T::Float64, false, true),
            (T::Float32, T::Float64, true, true),
            (T::Float64, T::Float32, false, true),
            (T::Float64, T::Int64, false, false),
            (T::Boolean, T::Float64, false, false),
            (T::LargeUtf8, T::Utf8, true, true),
            (T::Dictionary(Box::new(T::Int32), Box::new(T::Utf8)), T::Utf8, true, true),
            (T::Utf8, T::Binary, false, false),
            (T::Utf8, T::Float64, false, false),
            (
                T::Timestamp(TimeUnit::Nanosecond, None),
                T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                true,
                true,
            ),
        ] {
            assert_eq!(reads_as(&found, &wanted, false), exact, "{found} as {wanted}");
            assert_eq!(reads_as(&found, &wanted, true), narrow, "{found} as {wanted}, narrowing");
        }
        let list = |inner, width| T::FixedSizeList(Arc::new(Field::new("element", inner, false)), width);
        assert!(reads_as(&list(T::Float32, 3), &list(T::Float64, 3), false));
        assert!(!reads_as(&list(T::Float32, 3), &list(T::Float32, 2), false));
        assert!(reads_as(&T::List(Arc::new(Field::new("item", T::Float32, true))), &list(T::Float32, 3), false));
    }
}
