//! The most frequent items of a stream, each with a lower and an upper count: Misra and Gries' summary, merged as by
//! Agarwal et al. (PODS 2012).
//!
//! Invariant: the true count of an item lies between its count here and that plus `offset`; an item that is not here
//! occurred at most `offset` times, and `offset` is at most total / (capacity + 1). While it is zero all is exact.
//! The layout is that of Apache DataSketches' frequent items, whose bounds mean the same.

use std::{borrow::Borrow, hash::Hash};

use ahash::RandomState;
use hashbrown::{HashMap, hash_map::EntryRef};
use mlops_core::Result;

use super::codec::{Reader, Writer, damaged};
use crate::stats::{count_of, total_of};

const PREAMBLE_LONGS: u8 = 4;
const SERIAL_VERSION: u8 = 1;
const FAMILY: u8 = 10;
const EMPTY: u8 = 5;

/// What can be counted and stored.
pub(super) trait Item: Clone + Ord + Hash {
    /// Bytes that each takes at least.
    const BYTES_MIN: usize;
    fn write(&self, to: &mut Writer);
    fn read(from: &mut Reader<'_>) -> Result<Self>;
}

impl Item for String {
    const BYTES_MIN: usize = 4;

    fn write(&self, to: &mut Writer) {
        to.counted(self.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.text().map(str::to_owned)
    }
}

impl Item for i64 {
    const BYTES_MIN: usize = 8;

    fn write(&self, to: &mut Writer) {
        to.bytes(&self.to_le_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self> {
        from.u64().map(u64::cast_signed)
    }
}

/// Counts of at most `capacity` items once pruned, twice as many in between.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Frequent<T: Item> {
    counts: HashMap<T, u64, RandomState>,
    capacity: usize,
    offset: u64,
    total: u64,
}

impl<T: Item> Frequent<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { counts: HashMap::default(), capacity, offset: 0, total: 0 }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn is_exact(&self) -> bool {
        self.offset == 0
    }

    /// The items in order, with their lower counts.
    pub(super) fn items(&self) -> Vec<(&T, u64)> {
        let mut items: Vec<(&T, u64)> = self.counts.iter().map(|(item, count)| (item, *count)).collect();
        items.sort_unstable_by(|a, b| a.0.cmp(b.0));
        items
    }

    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Counts an item; whether it is new.
    pub(super) fn add<Q: Hash + Eq + ToOwned<Owned = T> + ?Sized>(&mut self, item: &Q, count: u64) -> bool
    where
        T: Borrow<Q>,
    {
        self.total += count;
        match self.counts.entry_ref(item) {
            EntryRef::Occupied(mut known) => {
                *known.get_mut() += count;
                false
            }
            EntryRef::Vacant(place) => {
                place.insert(count);
                true
            }
        }
    }

    /// Whether it is time to prune.
    pub(super) fn is_over(&self) -> bool {
        self.counts.len() > self.capacity * 2
    }

    /// Keeps at most `capacity` items: the count of the first one too many is taken from all.
    pub(super) fn prune(&mut self) {
        if self.counts.len() <= self.capacity {
            return;
        }
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let (_, &mut excess, _) = counts.select_nth_unstable_by(self.capacity, |a, b| b.cmp(a));
        self.offset += excess;
        // Few are left of items that come once: taking all out and some back in is faster than letting go one by one.
        let left = |(item, count): (T, u64)| (count > excess).then(|| (item, count - excess));
        let kept: Vec<(T, u64)> = self.counts.drain().filter_map(left).collect();
        self.counts.extend(kept);
    }

    /// Adds what another of the same capacity has seen.
    pub(super) fn merge(&mut self, other: &Self) {
        for (item, count) in &other.counts {
            *self.counts.entry(item.clone()).or_default() += count;
        }
        self.offset += other.offset;
        self.total += other.total;
        self.prune();
    }

    /// DataSketches' layout; to be called when pruned.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let items = self.items();
        let lg_now = lg_size(items.len());
        let lg_max = lg_size(self.capacity).max(lg_now);
        let mut to = Writer::default();
        if self.total == 0 {
            to.bytes(&[1, SERIAL_VERSION, FAMILY, lg_max, 3, EMPTY, 0, 0]);
            return to.into_bytes();
        }
        to.bytes(&[PREAMBLE_LONGS, SERIAL_VERSION, FAMILY, lg_max, lg_now, 0, 0, 0]);
        to.length(items.len());
        to.u32(0);
        to.u64(self.total);
        to.u64(self.offset);
        items.iter().for_each(|(_, count)| to.u64(*count));
        items.iter().for_each(|(item, _)| item.write(&mut to));
        to.into_bytes()
    }

    /// Reads what [`Frequent::to_bytes`] wrote.
    pub(super) fn from_bytes(bytes: &[u8], capacity: usize) -> Result<Self> {
        let wrong = || damaged("not a sketch of frequent items");
        let mut from = Reader::new(bytes);
        let head = from.take(8)?;
        if head.get(1..3) != Some(&[SERIAL_VERSION, FAMILY]) {
            return Err(wrong());
        }
        let mut read = Self::new(capacity);
        if head.first() == Some(&1) {
            from.end()?;
            return Ok(read);
        }
        if head.first() != Some(&PREAMBLE_LONGS) || head.get(5) != Some(&0) {
            return Err(wrong());
        }
        let active = from.count(8 + T::BYTES_MIN, capacity)?;
        from.u32()?;
        (read.total, read.offset) = (from.u64()?, from.u64()?);
        let counts: Vec<u64> = (0..active).map(|_| from.u64()).collect::<Result<_>>()?;
        for &count in &counts {
            read.counts.insert(T::read(&mut from)?, count);
        }
        from.end()?;
        // What was taken from one item was taken from as many others as fit.
        let claimed = u128::from(read.offset) * (u128::from(count_of(capacity)) + 1);
        let sum = total_of(&counts);
        let adds_up =
            if read.offset == 0 { sum == read.total } else { claimed + u128::from(sum) <= u128::from(read.total) };
        if read.counts.len() != active || counts.contains(&0) || !adds_up || read.total == 0 {
            return Err(damaged("frequent items that no values have"));
        }
        Ok(read)
    }
}

/// The table that holds so many items at three quarters of its slots, as a power of two.
fn lg_size(items: usize) -> u8 {
    (3..30).find(|lg| (1_usize << lg) * 3 / 4 >= items).unwrap_or(30)
}

#[cfg(test)]
mod tests {
    use datasketches::frequencies::{ErrorType, FrequentItemsSketch};
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[i64], capacity: usize) -> Frequent<i64> {
        let mut frequent = Frequent::new(capacity);
        for value in values {
            frequent.add(value, 1);
            if frequent.is_over() {
                frequent.prune();
            }
        }
        frequent.prune();
        frequent
    }

    proptest! {
        #[test]
        fn bounds_hold_whatever_is_merged(
            parts in proptest::collection::vec(proptest::collection::vec(0_i64..40, 0..120), 1..6), capacity in 1_usize..20
        ) {
            let mut merged = Frequent::new(capacity);
            parts.iter().for_each(|part| merged.merge(&of(part, capacity)));
            let all = parts.concat();
            prop_assert_eq!(merged.total(), count_of(all.len()));
            prop_assert!(merged.len() <= capacity);
            prop_assert!(merged.offset() * (count_of(capacity) + 1) <= merged.total());
            for item in 0..40 {
                let truth = count_of(all.iter().filter(|value| **value == item).count());
                let low = merged.counts.get(&item).copied().unwrap_or(0);
                prop_assert!(low <= truth && truth <= low + merged.offset());
            }
            let again = Frequent::<i64>::from_bytes(&merged.to_bytes(), capacity).unwrap();
            prop_assert_eq!(again, merged);
        }
    }

    #[test]
    fn the_apache_crate_reads_the_same_bounds() {
        let mut frequent = Frequent::<String>::new(100);
        for i in 0..5000_u64 {
            let item = format!("v{}", i * i % 997 % (1 + i % 300));
            frequent.add(item.as_str(), 1);
        }
        frequent.prune();
        let theirs = FrequentItemsSketch::<String>::deserialize(&frequent.to_bytes()).unwrap();
        assert_eq!((theirs.total_weight(), theirs.maximum_error()), (5000, frequent.offset()));
        for row in theirs.frequent_items_with_threshold(ErrorType::NoFalseNegatives, 0) {
            assert_eq!(Some(&row.lower_bound()), frequent.counts.get(row.item()));
        }
    }
}
