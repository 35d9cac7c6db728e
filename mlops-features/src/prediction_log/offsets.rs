//! How much the offsets of an array count. They have 32 bits, so arrays that are each well can be too much together.

use arrow_array::{Array, RecordBatch, cast::AsArray};
use arrow_schema::DataType;

/// What the offsets in some rows count, column by column and inwards; rows of one schema have as many of these.
#[derive(Debug, Default)]
pub(super) struct Counted(Vec<usize>);

impl Counted {
    pub(super) fn of(rows: &RecordBatch) -> Self {
        let mut counted = Self::default();
        rows.columns().iter().for_each(|column| counted.add(column));
        counted
    }

    /// What rows of both count, or none where offsets cannot count so much.
    pub(super) fn and(&self, other: &Self) -> Option<Self> {
        let longest = self.0.len().max(other.0.len());
        let at = |counted: &Self, place: usize| counted.0.get(place).copied().unwrap_or(0);
        let sum = |place| at(self, place).checked_add(at(other, place)).filter(|sum| i32::try_from(*sum).is_ok());
        (0..longest).map(sum).collect::<Option<_>>().map(Self)
    }

    fn add(&mut self, array: &dyn Array) {
        match array.data_type() {
            DataType::Utf8 => self.push(array.as_string::<i32>().value_offsets()),
            DataType::Binary => self.push(array.as_binary::<i32>().value_offsets()),
            DataType::List(_) => {
                let lists = array.as_list::<i32>();
                self.push(lists.value_offsets());
                self.add(lists.values());
            }
            DataType::Map(..) => {
                let maps = array.as_map();
                self.push(maps.value_offsets());
                self.add(maps.entries());
            }
            DataType::FixedSizeList(..) => self.add(array.as_fixed_size_list().values()),
            DataType::Struct(_) => array.as_struct().columns().iter().for_each(|column| self.add(column)),
            _ => {}
        }
    }

    fn push(&mut self, offsets: &[i32]) {
        let ends = offsets.first().zip(offsets.last());
        self.0.push(ends.map_or(0, |(first, last)| usize::try_from(last.saturating_sub(*first)).unwrap_or(0)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, Int32Array, StringArray,
        builder::{ListBuilder, StringBuilder},
    };

    use super::*;

    #[test]
    fn texts_and_lists_are_counted_and_refused_where_they_are_too_much_together() {
        let mut lists = ListBuilder::new(StringBuilder::new());
        lists.values().append_value("four");
        lists.values().append_value("five5");
        lists.append(true);
        lists.append(false);
        let columns: [(&str, ArrayRef); 3] = [
            ("text", Arc::new(StringArray::from(vec!["abc", "de"]))),
            ("number", Arc::new(Int32Array::from(vec![1, 2]))),
            ("list", Arc::new(lists.finish())),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let counted = Counted::of(&rows);
        assert_eq!(counted.0, [5, 2, 9]);
        assert_eq!(Counted::of(&rows.slice(1, 1)).0.first(), Some(&2));
        assert_eq!(Counted::default().and(&counted).unwrap().0, [5, 2, 9]);
        let most = usize::try_from(i32::MAX).unwrap();
        assert_eq!(counted.and(&Counted(vec![0, most - 2, 0])).unwrap().0, [5, most, 9]);
        assert!(counted.and(&Counted(vec![0, most - 1, 0])).is_none());
    }
}
