//! One cell of a column, and its bytes: what the online store keeps and windows compute on.
//!
//! The layout is this crate's own and versioned by the record that holds it (little endian):
//! `0` null; `1` false; `2` true; `3` + i64; `4` + f64 bits; `5` + u32 length + UTF-8; `6` + u32 length + bytes;
//! `7` + u32 count + that many cells. Every encoding is self-delimiting, so a sequence of cells is injective.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BooleanArray, LargeStringArray, ListArray, PrimitiveArray, StringArray,
    cast::AsArray,
    types::{
        ArrowPrimitiveType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, TimeUnit};
use mlops_core::{Error, Result};

/// Deepest nesting of lists that is read back.
const DEPTH_MAX: usize = 8;

/// A value of one row in one column, in the widest type of its family.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    List(Vec<Value>),
}

/// Whether cells of this type can be kept online.
pub(crate) fn is_supported(data_type: &DataType) -> bool {
    use DataType as T;
    match data_type {
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 => true,
        T::Utf8 | T::LargeUtf8 | T::Binary | T::Timestamp(_, _) | T::Date32 => true,
        T::List(field) => is_supported(field.data_type()),
        _ => false,
    }
}

/// The cell of `column` at `row`, which is below its length.
pub(crate) fn cell(column: &dyn Array, row: usize) -> Result<Value> {
    use DataType as T;
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match column.data_type() {
        T::Boolean => Value::Bool(column.as_boolean().value(row)),
        T::Int8 => Value::Int(i64::from(column.as_primitive::<Int8Type>().value(row))),
        T::Int16 => Value::Int(i64::from(column.as_primitive::<Int16Type>().value(row))),
        T::Int32 => Value::Int(i64::from(column.as_primitive::<Int32Type>().value(row))),
        T::Date32 => Value::Int(i64::from(column.as_primitive::<Date32Type>().value(row))),
        T::Int64 => Value::Int(column.as_primitive::<Int64Type>().value(row)),
        T::Timestamp(TimeUnit::Second, _) => Value::Int(column.as_primitive::<TimestampSecondType>().value(row)),
        T::Timestamp(TimeUnit::Millisecond, _) => {
            Value::Int(column.as_primitive::<TimestampMillisecondType>().value(row))
        }
        T::Timestamp(TimeUnit::Microsecond, _) => {
            Value::Int(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        T::Timestamp(TimeUnit::Nanosecond, _) => {
            Value::Int(column.as_primitive::<TimestampNanosecondType>().value(row))
        }
        T::Float32 => Value::Float(f64::from(column.as_primitive::<Float32Type>().value(row))),
        T::Float64 => Value::Float(column.as_primitive::<Float64Type>().value(row)),
        T::Utf8 => Value::Text(column.as_string::<i32>().value(row).into()),
        T::LargeUtf8 => Value::Text(column.as_string::<i64>().value(row).into()),
        T::Binary => Value::Bytes(column.as_binary::<i32>().value(row).into()),
        T::List(_) => {
            let items = column.as_list::<i32>().value(row);
            Value::List((0..items.len()).map(|item| cell(items.as_ref(), item)).collect::<Result<_>>()?)
        }
        other => return Err(Error::unimplemented(format!("values of type {other} cannot be kept online"))),
    })
}

/// A column of `data_type` from cells that came from such a column.
pub(crate) fn array(values: &[&Value], data_type: &DataType) -> Result<ArrayRef> {
    use DataType as T;
    Ok(match data_type {
        T::Boolean => Arc::new(
            optional(values, data_type, |v| if let Value::Bool(b) = v { Some(*b) } else { None })?
                .into_iter()
                .collect::<BooleanArray>(),
        ),
        T::Int8 => integers::<Int8Type>(values, data_type)?,
        T::Int16 => integers::<Int16Type>(values, data_type)?,
        T::Int32 => integers::<Int32Type>(values, data_type)?,
        T::Date32 => integers::<Date32Type>(values, data_type)?,
        T::Int64 => integers::<Int64Type>(values, data_type)?,
        T::Timestamp(TimeUnit::Second, _) => integers::<TimestampSecondType>(values, data_type)?,
        T::Timestamp(TimeUnit::Millisecond, _) => integers::<TimestampMillisecondType>(values, data_type)?,
        T::Timestamp(TimeUnit::Microsecond, _) => integers::<TimestampMicrosecondType>(values, data_type)?,
        T::Timestamp(TimeUnit::Nanosecond, _) => integers::<TimestampNanosecondType>(values, data_type)?,
        #[allow(clippy::cast_possible_truncation, reason = "the value was widened from 32 bits")]
        T::Float32 => Arc::new(
            optional(values, data_type, |v| float(v).map(|v| v as f32))?
                .into_iter()
                .collect::<PrimitiveArray<Float32Type>>(),
        ),
        T::Float64 => {
            Arc::new(optional(values, data_type, float)?.into_iter().collect::<PrimitiveArray<Float64Type>>())
        }
        T::Utf8 => Arc::new(optional(values, data_type, text)?.into_iter().collect::<StringArray>()),
        T::LargeUtf8 => Arc::new(optional(values, data_type, text)?.into_iter().collect::<LargeStringArray>()),
        T::Binary => {
            let bytes = |v: &'_ Value| if let Value::Bytes(b) = v { Some(b.to_vec()) } else { None };
            Arc::new(optional(values, data_type, bytes)?.into_iter().collect::<BinaryArray>())
        }
        T::List(field) => {
            let lists = values.iter().map(|value| if let Value::List(items) = value { items.as_slice() } else { &[] });
            let items: Vec<&Value> = lists.clone().flatten().collect();
            let offsets = OffsetBuffer::from_lengths(lists.map(<[Value]>::len));
            let nulls = NullBuffer::from_iter(values.iter().map(|value| **value != Value::Null));
            let items = array(&items, field.data_type())?;
            Arc::new(ListArray::try_new(Arc::clone(field), offsets, items, Some(nulls))?)
        }
        other => return Err(Error::unimplemented(format!("values of type {other} cannot be kept online"))),
    })
}

fn float(value: &Value) -> Option<f64> {
    if let Value::Float(value) = value { Some(*value) } else { None }
}

fn text(value: &Value) -> Option<String> {
    if let Value::Text(text) = value { Some(text.to_string()) } else { None }
}

fn mismatch(data_type: &DataType) -> Error {
    Error::data_loss(format!("an online value is not of type {data_type}; materialize the view again"))
}

fn optional<T>(values: &[&Value], data_type: &DataType, get: impl Fn(&Value) -> Option<T>) -> Result<Vec<Option<T>>> {
    let one = |value: &&Value| match value {
        Value::Null => Ok(None),
        value => get(value).map(Some).ok_or_else(|| mismatch(data_type)),
    };
    values.iter().map(one).collect()
}

fn integers<T>(values: &[&Value], data_type: &DataType) -> Result<ArrayRef>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i64>,
{
    let narrow = |value: &Value| if let Value::Int(int) = value { T::Native::try_from(*int).ok() } else { None };
    let values: PrimitiveArray<T> = optional(values, data_type, narrow)?.into_iter().collect();
    Ok(Arc::new(values.with_data_type(data_type.clone())))
}

/// Appends the bytes of `value`.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    match value {
        Value::Null => out.push(0),
        Value::Bool(value) => out.push(1 + u8::from(*value)),
        Value::Int(value) => {
            out.push(3);
            out.extend(value.to_le_bytes());
        }
        Value::Float(value) => {
            out.push(4);
            out.extend(value.to_bits().to_le_bytes());
        }
        Value::Text(text) => {
            out.push(5);
            out.extend(length(text.len()));
            out.extend(text.as_bytes());
        }
        Value::Bytes(bytes) => {
            out.push(6);
            out.extend(length(bytes.len()));
            out.extend(bytes.iter());
        }
        Value::List(items) => {
            out.push(7);
            out.extend(length(items.len()));
            items.iter().for_each(|item| encode(item, out));
        }
    }
}

/// Reads bytes from the front, never past the end.
pub(crate) struct Decoder<'a>(pub(crate) &'a [u8]);

impl Decoder<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let cut = || Error::data_loss("an online record is cut short; materialize the view again");
        let (head, tail) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn value(&mut self) -> Result<Value> {
        self.nested(0)
    }

    pub(crate) fn values(&mut self, count: usize) -> Result<Vec<Value>> {
        (0..count).map(|_| self.value()).collect()
    }

    fn nested(&mut self, depth: usize) -> Result<Value> {
        Ok(match self.u8()? {
            0 => Value::Null,
            tag @ (1 | 2) => Value::Bool(tag == 2),
            3 => Value::Int(self.i64()?),
            4 => Value::Float(f64::from_bits(self.u64()?)),
            5 => {
                let length = self.u32()? as usize;
                let text = std::str::from_utf8(self.take(length)?);
                Value::Text(text.map_err(|_| Error::data_loss("an online text is not utf-8"))?.into())
            }
            6 => {
                let length = self.u32()? as usize;
                Value::Bytes(self.take(length)?.into())
            }
            7 if depth < DEPTH_MAX => {
                let count = self.u32()?;
                Value::List((0..count).map(|_| self.nested(depth + 1)).collect::<Result<_>>()?)
            }
            tag => return Err(Error::data_loss(format!("an online record has the unknown tag {tag}"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Float32Type;
    use proptest::prelude::*;

    use super::*;

    fn round_trip(column: &ArrayRef) {
        let values: Vec<Value> = (0..column.len()).map(|row| cell(column.as_ref(), row).unwrap()).collect();
        let mut bytes = Vec::new();
        values.iter().for_each(|value| encode(value, &mut bytes));
        let back = Decoder(&bytes).values(column.len()).unwrap();
        let back: Vec<&Value> = back.iter().collect();
        assert_eq!(&array(&back, column.data_type()).unwrap(), column);
    }

    #[test]
    fn columns_come_back_as_they_were() {
        round_trip(&(Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])) as ArrayRef));
        round_trip(
            &(Arc::new(PrimitiveArray::<Int64Type>::from(vec![Some(i64::MIN), None, Some(i64::MAX)])) as ArrayRef),
        );
        round_trip(&(Arc::new(PrimitiveArray::<Int8Type>::from(vec![Some(-128), None])) as ArrayRef));
        round_trip(
            &(Arc::new(PrimitiveArray::<Float64Type>::from(vec![Some(f64::INFINITY), None, Some(-0.0)])) as ArrayRef),
        );
        round_trip(&(Arc::new(StringArray::from(vec![Some("é"), Some(""), None])) as ArrayRef));
        round_trip(&(Arc::new(BinaryArray::from(vec![Some(b"\0x".as_slice()), None])) as ArrayRef));
        round_trip(
            &(Arc::new(PrimitiveArray::<TimestampMicrosecondType>::from(vec![Some(-1), None]).with_timezone("UTC"))
                as ArrayRef),
        );
        let lists = [Some(vec![Some(1.5), None]), None, Some(vec![])];
        round_trip(&(Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists)) as ArrayRef));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read_but_never_trusted(bytes: Vec<u8>) {
            if let Ok(value) = Decoder(&bytes).value() {
                let mut again = Vec::new();
                encode(&value, &mut again);
                prop_assert_eq!(&again, &bytes[..again.len()]);
            }
        }
    }
}
