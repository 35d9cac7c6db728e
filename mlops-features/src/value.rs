//! One cell of a column, and its bytes: what the online store keeps and windows compute on.
//!
//! The layout is this crate's own and versioned by the record that holds it (little endian):
//! `0` null; `1` false; `2` true; `3` + i64; `4` + f64 bits; `5` + u32 length + UTF-8; `6` + u32 length + bytes;
//! `7` + u32 count + that many cells. Every encoding is self-delimiting, so a sequence of cells is injective.

use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use mlops_core::{Error, Result};

use crate::cell::{Cell, ColumnBuilder};

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
    Cell::of(column, row).map(Value::from)
}

/// A column of `data_type` from cells that came from such a column.
pub(crate) fn array(values: &[&Value], data_type: &DataType) -> Result<ArrayRef> {
    let mut column = ColumnBuilder::new(data_type, values.len())?;
    values.iter().try_for_each(|value| column.push((*value).into()))?;
    column.finish()
}

/// Appends the bytes of `value`.
pub(crate) fn encode(value: &Value, out: &mut Vec<u8>) {
    encode_cell(&value.into(), out);
}

/// Appends the bytes of `cell`.
pub(crate) fn encode_cell(cell: &Cell<'_>, out: &mut Vec<u8>) {
    let length = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    match cell {
        Cell::Null => out.push(0),
        Cell::Bool(value) => out.push(1 + u8::from(*value)),
        Cell::Int(value) => {
            out.push(3);
            out.extend(value.to_le_bytes());
        }
        Cell::Float(value) => {
            out.push(4);
            out.extend(value.to_bits().to_le_bytes());
        }
        Cell::Text(text) => {
            out.push(5);
            out.extend(length(text.len()));
            out.extend(text.as_bytes());
        }
        Cell::Bytes(bytes) => {
            out.push(6);
            out.extend(length(bytes.len()));
            out.extend(bytes.iter());
        }
        Cell::List(items) => {
            out.push(7);
            out.extend(length(items.len()));
            items.iter().for_each(|item| encode(item, out));
        }
    }
}

/// Reads bytes from the front, never past the end.
#[derive(Debug)]
pub(crate) struct Decoder<'a>(pub(crate) &'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
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

    #[cfg(test)]
    pub(crate) fn value(&mut self) -> Result<Value> {
        self.cell().map(Value::from)
    }

    pub(crate) fn values(&mut self, count: usize) -> Result<Vec<Value>> {
        (0..count).map(|_| self.cell().map(Value::from)).collect()
    }

    /// The next cell, its text and bytes where they lie.
    pub(crate) fn cell(&mut self) -> Result<Cell<'a>> {
        self.nested(0)
    }

    fn nested(&mut self, depth: usize) -> Result<Cell<'a>> {
        Ok(match self.u8()? {
            0 => Cell::Null,
            tag @ (1 | 2) => Cell::Bool(tag == 2),
            3 => Cell::Int(self.i64()?),
            4 => Cell::Float(f64::from_bits(self.u64()?)),
            5 => {
                let length = self.u32()? as usize;
                let text = std::str::from_utf8(self.take(length)?);
                Cell::Text(text.map_err(|_| Error::data_loss("an online text is not utf-8"))?)
            }
            6 => {
                let length = self.u32()? as usize;
                Cell::Bytes(self.take(length)?)
            }
            7 if depth < DEPTH_MAX => {
                let count = self.u32()?;
                let items = (0..count).map(|_| self.nested(depth + 1).map(Value::from));
                Cell::List(items.collect::<Result<Vec<_>>>()?.into())
            }
            tag => return Err(Error::data_loss(format!("an online record has the unknown tag {tag}"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BinaryArray, BooleanArray, ListArray, PrimitiveArray, StringArray,
        types::{Float32Type, Float64Type, Int8Type, Int64Type, TimestampMicrosecondType},
    };
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
