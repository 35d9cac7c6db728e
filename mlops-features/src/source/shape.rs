//! Columns of a source as columns of its table: renamed, and cast only where no value can change.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, cast::AsArray as _, new_null_array};
use arrow_cast::{CastOptions, can_cast_types, cast_with_options};
use arrow_ord::cmp::not_distinct;
use arrow_schema::{DataType, Field, SchemaRef, TimeUnit};
use mlops_core::{Error, Result};

use crate::definition::{Source, all_faults};

/// What a table wants of its source.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) schema: SchemaRef,
    /// For every column of the table what the source calls it and whether it may be missing.
    columns: Vec<(String, bool)>,
}

impl Wanted {
    pub(super) fn of(source: &Source, table: &SchemaRef) -> Self {
        let column = |field: &Arc<Field>| {
            let name = field.name();
            (source.column_in_source(name).to_owned(), source.is_optional(name))
        };
        Self { schema: Arc::clone(table), columns: table.fields().iter().map(column).collect() }
    }

    /// Columns that are called as the table calls them, each of which must be there.
    #[cfg(feature = "postgres")]
    pub(super) fn by_name(names: &[String], schema: &SchemaRef) -> Self {
        Self { schema: Arc::clone(schema), columns: names.iter().map(|name| (name.clone(), false)).collect() }
    }

    /// The table's columns, what the source calls them, and whether they may be missing.
    pub(super) fn columns(&self) -> impl Iterator<Item = (&Arc<Field>, &str, bool)> {
        let named = self.columns.iter().map(|(name, optional)| (name.as_str(), *optional));
        self.schema.fields().iter().zip(named).map(|(field, (name, optional))| (field, name, optional))
    }

    /// Whether the source's column `name` is wanted.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.columns.iter().any(|(wanted, _)| wanted == name)
    }

    /// `batch` of the source with the table's columns; where `is_text`, texts are read as what the column is.
    ///
    /// # Errors
    /// `InvalidArgument` that lists every column that is missing, of another type, or holds a value that would change,
    /// with the first row of such a value.
    pub(super) fn shape(&self, batch: &RecordBatch, is_text: bool) -> Result<RecordBatch> {
        let (mut columns, mut faults) = (Vec::with_capacity(self.columns.len()), Vec::new());
        for (field, name, optional) in self.columns() {
            match batch.column_by_name(name) {
                None if optional => columns.push(new_null_array(field.data_type(), batch.num_rows())),
                None => faults.push(format!("column \"{name}\" is missing")),
                Some(column) => match exactly(column, field.data_type(), is_text) {
                    Ok(column) => columns.push(column),
                    Err(fault) => faults.push(format!("column \"{name}\" {fault}")),
                },
            }
        }
        if !faults.is_empty() {
            let names: Vec<_> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
            faults.push(format!("it has {}", names.join(", ")));
        }
        all_faults("it does not fit the table", &faults)?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

/// `column` as `wanted` with every value unchanged, or why not.
fn exactly(column: &ArrayRef, wanted: &DataType, is_text: bool) -> std::result::Result<ArrayRef, String> {
    let found = column.data_type();
    if found == wanted {
        return Ok(Arc::clone(column));
    }
    if let DataType::Dictionary(_, values) = found {
        let plain = arrow_cast::cast(column, values).map_err(|error| format!("cannot be made {values}: {error}"))?;
        return exactly(&plain, wanted, is_text);
    }
    let text = is_text && *found == DataType::Utf8 && *wanted != DataType::Binary;
    if !(text || found.equals_datatype(wanted) || may_widen(found, wanted)) || !can_cast_types(found, wanted) {
        return Err(format!("must be {wanted}; it is {found}"));
    }
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let cast = |column: &dyn Array, to: &DataType| {
        cast_with_options(column, to, &options).map_err(|error| format!("cannot be made {wanted}: {error}"))
    };
    let made = cast(column.as_ref(), wanted)?;
    let lost = (0..column.len()).find(|row| column.is_valid(*row) && made.is_null(*row));
    if let Some(row) = lost {
        return Err(format!("has a value in row {} that {wanted} cannot hold", row + 1));
    }
    if let Some((row, what)) = text.then(|| text_that_changes(column, wanted)).flatten() {
        return Err(format!("has a {what} in row {} that is finer than {wanted}", row + 1));
    }
    if !text && narrows(found, wanted) {
        let back = cast(made.as_ref(), found)?;
        let same = not_distinct(&back, column).map_err(|error| error.to_string())?;
        if let Some(row) = (0..same.len()).find(|row| !same.value(*row)) {
            return Err(format!("has a time in row {} that is finer than {wanted}", row + 1));
        }
    }
    Ok(made)
}

/// Whether values of `from` can be values of `to`, each of them or not at all.
fn may_widen(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    let text = |t: &T| matches!(t, T::Utf8 | T::LargeUtf8 | T::Utf8View);
    let bytes = |t: &T| matches!(t, T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_));
    match (from, to) {
        (T::Float32 | T::Float16, T::Float64) | (T::Float16, T::Float32) => true,
        (T::Int8 | T::Int16 | T::UInt8 | T::UInt16, T::Float32) => true,
        (T::Int8 | T::Int16 | T::Int32 | T::UInt8 | T::UInt16 | T::UInt32, T::Float64) => true,
        (T::Timestamp(_, _), T::Timestamp(_, _)) => true,
        (from, to) if from.is_integer() && to.is_integer() => true,
        (from, to) => (text(from) && text(to)) || (bytes(from) && bytes(to)),
    }
}

/// Whether a cast can lose digits without giving null.
fn narrows(from: &DataType, to: &DataType) -> bool {
    matches!((from, to), (DataType::Timestamp(from, _), DataType::Timestamp(to, _)) if from > to)
}

/// The first text of `column` whose digits `wanted` does not hold, and what it is.
fn text_that_changes(column: &ArrayRef, wanted: &DataType) -> Option<(usize, &'static str)> {
    let texts = column.as_string_opt::<i32>()?;
    let first = |changes: &dyn Fn(&str) -> bool| texts.iter().position(|text| text.is_some_and(changes));
    match wanted {
        DataType::Timestamp(unit, _) => Some((first(&|text| is_finer(text, *unit))?, "time")),
        DataType::Float64 => Some((first(&|text| is_rounded(text, f64::MANTISSA_DIGITS))?, "whole number")),
        DataType::Float32 => Some((first(&|text| is_rounded(text, f32::MANTISSA_DIGITS))?, "whole number")),
        _ => None,
    }
}

/// Whether the time that `text` tells has digits of the second that `unit` does not hold. Readers drop them.
pub(super) fn is_finer(text: &str, unit: TimeUnit) -> bool {
    let held = match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    };
    let digits = text.split_once('.').map_or("", |(_, digits)| digits);
    digits.bytes().take_while(u8::is_ascii_digit).skip(held).any(|digit| digit != b'0')
}

/// Whether `text` is a whole number, written without point and exponent, that a float of `bits` digits rounds.
fn is_rounded(text: &str, bits: u32) -> bool {
    let digits = text.trim().trim_start_matches(['+', '-']);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    match digits.parse::<u128>() {
        Ok(0) => false,
        Ok(number) => u128::BITS - number.leading_zeros() - number.trailing_zeros() > bits,
        Err(_) => true,
    }
}

/// One batch of the table's shape of all that was read, none of which is kept when one does not fit.
pub(super) fn one(parts: &[RecordBatch], schema: &SchemaRef) -> Result<RecordBatch> {
    let fail = |error| Error::resource_exhausted("its rows are too many for one batch").with_source(error);
    arrow_select::concat::concat_batches(schema, parts).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{
        DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray,
        TimestampMillisecondArray, TimestampNanosecondArray,
    };

    fn check(column: impl Array + 'static, wanted: &DataType, is_text: bool, expected: Option<&dyn Array>) {
        let made = exactly(&(Arc::new(column) as ArrayRef), wanted, is_text);
        match expected {
            Some(expected) => assert_eq!(made.unwrap().as_ref(), expected),
            None => assert!(made.is_err(), "{made:?}"),
        }
    }

    #[test]
    fn values_are_cast_only_where_none_of_them_changes() {
        use DataType as T;
        check(Int32Array::from(vec![7, -1]), &T::Int64, false, Some(&Int64Array::from(vec![7, -1])));
        check(Int64Array::from(vec![7, -1]), &T::Int32, false, Some(&Int32Array::from(vec![7, -1])));
        check(Int64Array::from(vec![1_i64 << 40]), &T::Int32, false, None);
        check(Int64Array::from(vec![1]), &T::Float64, false, None);
        check(Float32Array::from(vec![0.1]), &T::Float64, false, Some(&Float64Array::from(vec![f64::from(0.1_f32)])));
        check(Float64Array::from(vec![0.1]), &T::Float32, false, None);
        check(StringArray::from(vec!["7"]), &T::Int64, false, None);
        check(StringArray::from(vec!["7"]), &T::Int64, true, Some(&Int64Array::from(vec![7])));
        check(StringArray::from(vec!["seven"]), &T::Int64, true, None);
        check(StringArray::from(vec!["1.5"]), &T::Int64, true, None);
        let even = Float64Array::from(vec![9_007_199_254_740_994.0, 0.1, 1e300]);
        check(StringArray::from(vec!["9007199254740994", "0.1", "1e300"]), &T::Float64, true, Some(&even));
        check(StringArray::from(vec!["-9007199254740993"]), &T::Float64, true, None);
    }

    #[test]
    fn times_move_to_other_units_exactly_or_not_at_all() {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let expected = |micros: i64| TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC");
        check(TimestampMillisecondArray::from(vec![5]), &micros, false, Some(&expected(5_000)));
        check(TimestampMillisecondArray::from(vec![i64::MAX]), &micros, false, None);
        check(TimestampNanosecondArray::from(vec![-3_000]), &micros, false, Some(&expected(-3)));
        check(TimestampNanosecondArray::from(vec![3_001]), &micros, false, None);
        let text = "2025-01-01T01:00:00+01:00";
        check(StringArray::from(vec![text]), &micros, true, Some(&expected(1_735_689_600_000_000)));
        for text in ["2025-01-01 00:00:00+00", "2025-01-01 00:00:00.00000000Z"] {
            check(StringArray::from(vec![text]), &micros, true, Some(&expected(1_735_689_600_000_000)));
        }
        for text in ["2025-01-01T00:00:00.0000001Z", "infinity", "0044-03-15 00:00:00 BC"] {
            check(StringArray::from(vec![text]), &micros, true, None);
        }
        let dictionary = |nanos: i64| {
            let values = Arc::new(TimestampNanosecondArray::from(vec![nanos]));
            DictionaryArray::new(Int32Array::from(vec![0]), values)
        };
        check(dictionary(3_000), &micros, false, Some(&expected(3)));
        check(dictionary(3_001), &micros, false, None);
        check(Int64Array::from(vec![5]), &micros, false, None);
    }
}
