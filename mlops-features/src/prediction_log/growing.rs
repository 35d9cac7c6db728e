//! A column that grows by pieces of arrays: values are copied as they come, so that what they were copied from is free
//! at once. No array is made per piece, but of types without a builder here, such as structs.

use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, FixedSizeListArray, ListArray, PrimitiveArray, UInt64Array,
    builder::{BinaryBuilder, BooleanBuilder, GenericByteBuilder, NullBufferBuilder, PrimitiveBuilder, StringBuilder},
    cast::AsArray,
    downcast_primitive, new_empty_array, new_null_array,
    types::ByteArrayType,
};
use arrow_buffer::{OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, FieldRef};
use arrow_select::{concat::concat, take::take};
use mlops_core::{Error, Result};

/// A column that grows.
pub(super) trait Growing: Send {
    /// Whether so much more still fits what its offsets can count.
    fn has_room(&self, values: &dyn Array) -> bool;

    /// Bytes of the values that it has.
    fn bytes(&self) -> usize;

    /// Copies `values[from..from + len]`; a list takes lists of any size.
    ///
    /// # Errors
    /// `Internal` for values of another type than the column's.
    fn append(&mut self, values: &dyn Array, from: usize, len: usize) -> Result<()>;

    /// Adds `len` nulls.
    fn append_nulls(&mut self, len: usize);

    /// What grew; the column is empty afterwards.
    ///
    /// # Errors
    /// What keeps the pieces from being one array.
    fn finish(&mut self) -> Result<ArrayRef>;
}

/// An empty column of `data_type`.
pub(super) fn growing(data_type: &DataType) -> Box<dyn Growing> {
    macro_rules! primitive {
        ($t:ty, $data_type:expr) => {
            Box::new(PrimitiveBuilder::<$t>::new().with_data_type($data_type.clone()))
        };
    }
    downcast_primitive! {
        data_type => (primitive, data_type),
        DataType::Utf8 => Box::new(StringBuilder::new()),
        DataType::Binary => Box::new(BinaryBuilder::new()),
        DataType::Boolean => Box::new(BooleanBuilder::new()),
        DataType::List(element) => Box::new(Lists::new(Arc::clone(element))),
        other => Box::new(Pieces { data_type: other.clone(), pieces: Vec::new(), held: 0 })
    }
}

fn foreign(wanted: &DataType, found: &DataType) -> Error {
    Error::internal(format!("a column of {wanted} in the prediction log was given {found}"))
}

/// Whether offsets of 32 bits can count both.
fn counts(have: usize, more: usize) -> bool {
    have.checked_add(more).is_some_and(|sum| i32::try_from(sum).is_ok())
}

impl<T: ArrowPrimitiveType> Growing for PrimitiveBuilder<T> {
    fn has_room(&self, _: &dyn Array) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        size_of_val(self.values_slice())
    }

    fn append(&mut self, values: &dyn Array, from: usize, len: usize) -> Result<()> {
        let typed = values.as_any().downcast_ref::<PrimitiveArray<T>>();
        let typed = typed.ok_or_else(|| foreign(&T::DATA_TYPE, values.data_type()))?;
        if typed.null_count() == 0
            && let Some(plain) = typed.values().get(from..from.saturating_add(len))
        {
            self.append_slice(plain);
        } else {
            self.extend(typed.iter().skip(from).take(len));
        }
        Ok(())
    }

    fn append_nulls(&mut self, len: usize) {
        Self::append_nulls(self, len);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(Self::finish(self)))
    }
}

impl Growing for BooleanBuilder {
    fn has_room(&self, _: &dyn Array) -> bool {
        true
    }

    fn bytes(&self) -> usize {
        size_of_val(self.values_slice())
    }

    fn append(&mut self, values: &dyn Array, from: usize, len: usize) -> Result<()> {
        let typed = values.as_boolean_opt().ok_or_else(|| foreign(&DataType::Boolean, values.data_type()))?;
        self.extend(typed.iter().skip(from).take(len));
        Ok(())
    }

    fn append_nulls(&mut self, len: usize) {
        Self::append_nulls(self, len);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(Self::finish(self)))
    }
}

/// Texts and binary values.
impl<T: ByteArrayType<Offset = i32>> Growing for GenericByteBuilder<T> {
    fn has_room(&self, values: &dyn Array) -> bool {
        let more = values.as_bytes_opt::<T>().map_or(0, |values| values.value_data().len());
        counts(self.values_slice().len(), more)
    }

    fn bytes(&self) -> usize {
        self.values_slice().len().saturating_add(size_of_val(self.offsets_slice()))
    }

    fn append(&mut self, values: &dyn Array, from: usize, len: usize) -> Result<()> {
        let typed = values.as_bytes_opt::<T>().ok_or_else(|| foreign(&T::DATA_TYPE, values.data_type()))?;
        typed.iter().skip(from).take(len).for_each(|value| self.append_option(value));
        Ok(())
    }

    fn append_nulls(&mut self, len: usize) {
        Self::append_nulls(self, len);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        Ok(Arc::new(Self::finish(self)))
    }
}

/// Lists, which come as such or with a fixed size.
struct Lists {
    element: FieldRef,
    /// Ends of the lists, after a first 0.
    offsets: Vec<i32>,
    valid: NullBufferBuilder,
    values: Box<dyn Growing>,
}

impl Lists {
    fn new(element: FieldRef) -> Self {
        let values = growing(element.data_type());
        Self { element, offsets: vec![0], valid: NullBufferBuilder::new(0), values }
    }

    fn end(&self) -> usize {
        self.offsets.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0))
    }

    /// Adds a list of `len` values that were added before.
    fn close(&mut self, len: usize) {
        self.offsets.push(i32::try_from(self.end().saturating_add(len)).unwrap_or(i32::MAX));
        self.valid.append_non_null();
    }

    fn append_sized(&mut self, lists: &FixedSizeListArray, from: usize, len: usize) -> Result<()> {
        let size = usize::try_from(lists.value_length()).unwrap_or(0);
        if lists.null_count() == 0 {
            self.values.append(lists.values(), from.saturating_mul(size), len.saturating_mul(size))?;
            (0..len).for_each(|_| self.close(size));
            return Ok(());
        }
        for row in from..from.saturating_add(len) {
            if lists.is_null(row) {
                self.append_nulls(1);
            } else {
                self.values.append(lists.values(), row.saturating_mul(size), size)?;
                self.close(size);
            }
        }
        Ok(())
    }

    fn append_lists(&mut self, lists: &ListArray, from: usize, len: usize) -> Result<()> {
        for (row, ends) in lists.value_offsets().windows(2).enumerate().skip(from).take(len) {
            match ends {
                _ if lists.is_null(row) => self.append_nulls(1),
                [start, end] => {
                    let start = usize::try_from(*start).unwrap_or(0);
                    let size = usize::try_from(*end).unwrap_or(0).saturating_sub(start);
                    self.values.append(lists.values(), start, size)?;
                    self.close(size);
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Growing for Lists {
    fn has_room(&self, values: &dyn Array) -> bool {
        let inner = match (values.as_list_opt::<i32>(), values.as_fixed_size_list_opt()) {
            (Some(lists), _) => lists.values(),
            (_, Some(lists)) => lists.values(),
            _ => return true,
        };
        counts(self.end(), inner.len()) && self.values.has_room(inner)
    }

    fn bytes(&self) -> usize {
        size_of_val(self.offsets.as_slice()).saturating_add(self.values.bytes())
    }

    fn append(&mut self, values: &dyn Array, from: usize, len: usize) -> Result<()> {
        match (values.as_list_opt::<i32>(), values.as_fixed_size_list_opt()) {
            (Some(lists), _) => self.append_lists(lists, from, len),
            (_, Some(lists)) => self.append_sized(lists, from, len),
            _ => Err(foreign(&DataType::List(Arc::clone(&self.element)), values.data_type())),
        }
    }

    fn append_nulls(&mut self, len: usize) {
        let end = self.offsets.last().copied().unwrap_or(0);
        self.offsets.extend(std::iter::repeat_n(end, len));
        self.valid.append_n_nulls(len);
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        let offsets = std::mem::replace(&mut self.offsets, vec![0]);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let lists = ListArray::try_new(Arc::clone(&self.element), offsets, self.values.finish()?, self.valid.finish());
        Ok(Arc::new(lists?))
    }
}

/// A column of a type that is kept in pieces until the end.
struct Pieces {
    data_type: DataType,
    pieces: Vec<ArrayRef>,
    /// Bytes of the pieces.
    held: usize,
}

impl Pieces {
    fn push(&mut self, piece: ArrayRef) {
        self.held = self.held.saturating_add(piece.get_buffer_memory_size());
        self.pieces.push(piece);
    }
}

impl Growing for Pieces {
    /// Pieces are not cut, so the first takes whatever comes.
    fn has_room(&self, values: &dyn Array) -> bool {
        self.pieces.is_empty() || counts(self.held, values.get_buffer_memory_size())
    }

    fn bytes(&self) -> usize {
        self.held
    }

    fn append(&mut self, values: &dyn Array, from: usize, len: usize) -> Result<()> {
        if values.data_type() != &self.data_type {
            return Err(foreign(&self.data_type, values.data_type()));
        }
        // A slice would keep all of what it is a part of.
        let places = UInt64Array::from_iter_values((from as u64..).take(len));
        self.push(take(values, &places, None)?);
        Ok(())
    }

    fn append_nulls(&mut self, len: usize) {
        self.push(new_null_array(&self.data_type, len));
    }

    fn finish(&mut self) -> Result<ArrayRef> {
        self.held = 0;
        let pieces = std::mem::take(&mut self.pieces);
        if pieces.is_empty() {
            return Ok(new_empty_array(&self.data_type));
        }
        Ok(concat(&pieces.iter().map(AsRef::as_ref).collect::<Vec<_>>())?)
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{
        BinaryArray, BooleanArray, Float32Array, Int32Array, StringArray, StructArray, TimestampMicrosecondArray,
        builder::{FixedSizeListBuilder, ListBuilder},
    };
    use arrow_cast::cast;
    use arrow_schema::Field;
    use proptest::prelude::*;

    use super::*;

    /// An array of one of eight types; the second number of each pair says what is null.
    fn array(kind: usize, values: &[(i32, u8)]) -> ArrayRef {
        let numbers = || values.iter().map(|&(value, null)| (null > 0).then_some(value));
        let texts = || numbers().map(|value| value.map(|value| "x".repeat(value.unsigned_abs() as usize % 5)));
        match kind {
            0 => Arc::new(numbers().collect::<Int32Array>()),
            1 => Arc::new(texts().collect::<StringArray>()),
            2 => Arc::new(numbers().map(|value| value.map(|value| value > 0)).collect::<BooleanArray>()),
            3 => Arc::new(texts().map(|text| text.map(String::into_bytes)).collect::<BinaryArray>()),
            4 => {
                let times = numbers().map(|value| value.map(i64::from)).collect::<TimestampMicrosecondArray>();
                Arc::new(times.with_timezone("UTC"))
            }
            5 => {
                let mut lists = FixedSizeListBuilder::new(Float32Array::builder(0), 3);
                for (value, number) in numbers().zip(0_u8..) {
                    let element = |place: u8| (number % 4 != place).then_some(f32::from(place));
                    (0..3).for_each(|place| lists.values().append_option(element(place)));
                    lists.append(value.is_some());
                }
                Arc::new(lists.finish())
            }
            6 => {
                let texts: ArrayRef =
                    Arc::new(texts().map(|text| text.or(Some(String::new()))).collect::<StringArray>());
                let fields = vec![Field::new("text", DataType::Utf8, true)].into();
                let valid = numbers().map(|value| value.is_some()).collect::<Vec<_>>().into();
                Arc::new(StructArray::try_new(fields, vec![texts], Some(valid)).unwrap())
            }
            _ => {
                let mut lists = ListBuilder::new(StringBuilder::new());
                for value in numbers() {
                    let size = value.map_or(2, |value| value.unsigned_abs() % 3);
                    (0..size).for_each(|place| lists.values().append_value(place.to_string()));
                    lists.append(value.is_some());
                }
                Arc::new(lists.finish())
            }
        }
    }

    fn kept(data_type: &DataType) -> DataType {
        match data_type {
            DataType::FixedSizeList(element, _) => DataType::List(Arc::clone(element)),
            other => other.clone(),
        }
    }

    proptest! {
        /// Slices of arrays, whatever is null in them, are what they are put together; twice, for a column is used again.
        #[test]
        fn what_grew_is_what_was_put_together(
            kind in 0_usize..8,
            pieces in prop::collection::vec((prop::collection::vec((any::<i32>(), 0_u8..4), 0..8), 0_usize..8, 0_usize..3), 1..6),
        ) {
            let data_type = kept(array(kind, &[]).data_type());
            let mut column = growing(&data_type);
            for _ in 0..2 {
                let mut parts = Vec::new();
                for (values, from, nulls) in &pieces {
                    let whole = array(kind, values);
                    let from = *from.min(&whole.len());
                    let len = whole.len() - from;
                    prop_assert!(column.has_room(&whole));
                    column.append(&whole.slice(0, from), 0, from).unwrap();
                    column.append(&whole, from, len).unwrap();
                    column.append_nulls(*nulls);
                    parts.push(cast(&whole, &data_type).unwrap());
                    parts.push(new_null_array(&data_type, *nulls));
                }
                let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
                let (grew, together) = (column.finish().unwrap(), concat(&parts).unwrap());
                prop_assert_eq!(grew.data_type(), &data_type);
                prop_assert_eq!(&grew, &together);
            }
        }
    }

    #[test]
    fn values_of_another_type_are_refused() {
        for kind in 0..8 {
            let mut column = growing(&kept(array(kind, &[]).data_type()));
            let other = array((kind + 1) % 5, &[(1, 1)]);
            assert_eq!(column.append(&other, 0, 1).unwrap_err().kind(), mlops_core::ErrorKind::Internal, "{kind}");
        }
    }

    #[test]
    fn what_was_copied_is_free_at_once() {
        for kind in 0..8 {
            let whole = array(kind, &[(7, 1), (2, 1), (3, 1)]);
            let mut column = growing(&kept(whole.data_type()));
            column.append(&whole, 1, 1).unwrap();
            assert!(column.bytes() > 0, "{kind}");
            let data = whole.to_data();
            drop(whole);
            let parts = || data.child_data().iter().chain([&data]).flat_map(|data| data.buffers());
            assert!(parts().next().is_some() && parts().all(|buffer| buffer.strong_count() == 1), "{kind}");
        }
    }
}
