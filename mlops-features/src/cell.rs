//! One cell, borrowed from where it lies, and columns built from cells without an allocation for each.

use std::{borrow::Cow, sync::Arc};

use arrow_array::{
    Array, ArrayRef, ListArray, PrimitiveArray,
    builder::{BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder, LargeStringBuilder, StringBuilder},
    cast::AsArray,
    types::{
        ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, TimeUnit};
use mlops_core::{Error, Result};

use crate::value::Value;

/// A value of one row in one column, as [`Value`] but for who owns it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    List(Cow<'a, [Value]>),
}

impl<'a> From<&'a Value> for Cell<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Float(value) => Self::Float(*value),
            Value::Text(value) => Self::Text(value),
            Value::Bytes(value) => Self::Bytes(value),
            Value::List(value) => Self::List(Cow::Borrowed(value)),
        }
    }
}

impl From<Cell<'_>> for Value {
    fn from(cell: Cell<'_>) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Bool(value) => Self::Bool(value),
            Cell::Int(value) => Self::Int(value),
            Cell::Float(value) => Self::Float(value),
            Cell::Text(value) => Self::Text(value.into()),
            Cell::Bytes(value) => Self::Bytes(value.into()),
            Cell::List(value) => Self::List(value.into_owned()),
        }
    }
}

impl<'a> Cell<'a> {
    /// The cell of `column` at `row`, which is below its length.
    pub(crate) fn of(column: &'a dyn Array, row: usize) -> Result<Self> {
        use DataType as T;
        if column.is_null(row) {
            return Ok(Self::Null);
        }
        Ok(match column.data_type() {
            T::Boolean => Self::Bool(column.as_boolean().value(row)),
            T::Int8 => Self::Int(i64::from(column.as_primitive::<Int8Type>().value(row))),
            T::Int16 => Self::Int(i64::from(column.as_primitive::<Int16Type>().value(row))),
            T::Int32 => Self::Int(i64::from(column.as_primitive::<Int32Type>().value(row))),
            T::Date32 => Self::Int(i64::from(column.as_primitive::<Date32Type>().value(row))),
            T::Int64 => Self::Int(column.as_primitive::<Int64Type>().value(row)),
            T::Timestamp(unit, _) => Self::Int(match unit {
                TimeUnit::Second => column.as_primitive::<TimestampSecondType>().value(row),
                TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().value(row),
                TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().value(row),
                TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().value(row),
            }),
            T::Float32 => Self::Float(f64::from(column.as_primitive::<Float32Type>().value(row))),
            T::Float64 => Self::Float(column.as_primitive::<Float64Type>().value(row)),
            T::Utf8 => Self::Text(column.as_string::<i32>().value(row)),
            T::LargeUtf8 => Self::Text(column.as_string::<i64>().value(row)),
            T::Binary => Self::Bytes(column.as_binary::<i32>().value(row)),
            T::List(_) => {
                let items = column.as_list::<i32>().value(row);
                let item = |at| Cell::of(items.as_ref(), at).map(Value::from);
                Self::List((0..items.len()).map(item).collect::<Result<Vec<_>>>()?.into())
            }
            other => return Err(unsupported(other)),
        })
    }
}

fn unsupported(data_type: &DataType) -> Error {
    Error::unimplemented(format!("values of type {data_type} cannot be kept online"))
}

/// A column of one type in the making.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    data_type: DataType,
    cells: Cells,
}

/// The cells so far, in the widest type of their family.
#[derive(Debug)]
enum Cells {
    Bools(BooleanBuilder),
    Ints(Int64Builder),
    Floats(Float64Builder),
    Text(StringBuilder),
    LargeText(LargeStringBuilder),
    Bytes(BinaryBuilder),
    Lists(Vec<Option<Vec<Value>>>),
}

impl ColumnBuilder {
    /// An empty column with room for `rows`.
    pub(crate) fn new(data_type: &DataType, rows: usize) -> Result<Self> {
        use DataType as T;
        let cells = match data_type {
            T::Boolean => Cells::Bools(BooleanBuilder::with_capacity(rows)),
            T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Date32 | T::Timestamp(_, _) => {
                Cells::Ints(Int64Builder::with_capacity(rows))
            }
            T::Float32 | T::Float64 => Cells::Floats(Float64Builder::with_capacity(rows)),
            T::Utf8 => Cells::Text(StringBuilder::with_capacity(rows, 16 * rows)),
            T::LargeUtf8 => Cells::LargeText(LargeStringBuilder::with_capacity(rows, 16 * rows)),
            T::Binary => Cells::Bytes(BinaryBuilder::with_capacity(rows, 16 * rows)),
            T::List(_) => Cells::Lists(Vec::with_capacity(rows)),
            other => return Err(unsupported(other)),
        };
        Ok(Self { data_type: data_type.clone(), cells })
    }

    /// Appends one cell, which is null or of the column's family.
    ///
    /// # Errors
    /// `DataLoss` for a cell of another family.
    pub(crate) fn push(&mut self, cell: Cell<'_>) -> Result<()> {
        match (&mut self.cells, cell) {
            (Cells::Bools(cells), Cell::Bool(value)) => cells.append_value(value),
            (Cells::Bools(cells), Cell::Null) => cells.append_null(),
            (Cells::Ints(cells), Cell::Int(value)) => cells.append_value(value),
            (Cells::Ints(cells), Cell::Null) => cells.append_null(),
            (Cells::Floats(cells), Cell::Float(value)) => cells.append_value(value),
            (Cells::Floats(cells), Cell::Null) => cells.append_null(),
            (Cells::Text(cells), Cell::Text(value)) => cells.append_value(value),
            (Cells::Text(cells), Cell::Null) => cells.append_null(),
            (Cells::LargeText(cells), Cell::Text(value)) => cells.append_value(value),
            (Cells::LargeText(cells), Cell::Null) => cells.append_null(),
            (Cells::Bytes(cells), Cell::Bytes(value)) => cells.append_value(value),
            (Cells::Bytes(cells), Cell::Null) => cells.append_null(),
            (Cells::Lists(cells), Cell::List(value)) => cells.push(Some(value.into_owned())),
            (Cells::Lists(cells), Cell::Null) => cells.push(None),
            _ => return Err(mismatch(&self.data_type)),
        }
        Ok(())
    }

    /// The column.
    ///
    /// # Errors
    /// `DataLoss` for an integer that the type cannot hold.
    pub(crate) fn finish(self) -> Result<ArrayRef> {
        use DataType as T;
        let Self { data_type, cells } = self;
        Ok(match cells {
            Cells::Bools(mut cells) => Arc::new(cells.finish()),
            Cells::Text(mut cells) => Arc::new(cells.finish()),
            Cells::LargeText(mut cells) => Arc::new(cells.finish()),
            Cells::Bytes(mut cells) => Arc::new(cells.finish()),
            Cells::Floats(mut cells) => match data_type {
                #[allow(clippy::cast_possible_truncation, reason = "the value was widened from 32 bits")]
                T::Float32 => Arc::new(cells.finish().unary::<_, Float32Type>(|value| value as f32)),
                _ => Arc::new(cells.finish()),
            },
            Cells::Ints(mut cells) => integers(&cells.finish(), &data_type)?,
            Cells::Lists(cells) => lists(&cells, &data_type)?,
        })
    }
}

fn mismatch(data_type: &DataType) -> Error {
    Error::data_loss(format!("an online value is not of type {data_type}; materialize the view again"))
}

fn integers(cells: &PrimitiveArray<Int64Type>, data_type: &DataType) -> Result<ArrayRef> {
    use DataType as T;
    Ok(match data_type {
        T::Int8 => narrow::<Int8Type>(cells, data_type)?,
        T::Int16 => narrow::<Int16Type>(cells, data_type)?,
        T::Int32 => narrow::<Int32Type>(cells, data_type)?,
        T::Date32 => narrow::<Date32Type>(cells, data_type)?,
        T::Timestamp(TimeUnit::Second, _) => timestamps::<TimestampSecondType>(cells, data_type),
        T::Timestamp(TimeUnit::Millisecond, _) => timestamps::<TimestampMillisecondType>(cells, data_type),
        T::Timestamp(TimeUnit::Microsecond, _) => timestamps::<TimestampMicrosecondType>(cells, data_type),
        T::Timestamp(TimeUnit::Nanosecond, _) => timestamps::<TimestampNanosecondType>(cells, data_type),
        _ => Arc::new(cells.clone()),
    })
}

fn narrow<T>(cells: &PrimitiveArray<Int64Type>, data_type: &DataType) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i64>,
{
    let one = |value| T::Native::try_from(value).map_err(|_| mismatch(data_type));
    Ok(Arc::new(cells.try_unary::<_, T, Error>(one)?))
}

fn timestamps<T: ArrowPrimitiveType<Native = i64>>(
    cells: &PrimitiveArray<Int64Type>,
    data_type: &DataType,
) -> ArrayRef {
    Arc::new(cells.reinterpret_cast::<T>().with_data_type(data_type.clone()))
}

fn lists(cells: &[Option<Vec<Value>>], data_type: &DataType) -> Result<ArrayRef> {
    let DataType::List(field) = data_type else { return Err(mismatch(data_type)) };
    let lengths = cells.iter().map(|list| list.as_ref().map_or(0, Vec::len));
    let offsets = OffsetBuffer::from_lengths(lengths);
    let nulls: NullBuffer = cells.iter().map(Option::is_some).collect::<Vec<bool>>().into();
    let mut items = ColumnBuilder::new(field.data_type(), cells.len())?;
    cells.iter().flatten().flatten().try_for_each(|item| items.push(item.into()))?;
    Ok(Arc::new(ListArray::try_new(Arc::clone(field), offsets, items.finish()?, Some(nulls))?))
}
