//! Exact counts of distinct values, up to a bound.
//!
//! Invariant: memory is bounded by `distinct_max` entries and `distinct_bytes_max` bytes of text;
//! beyond them counting stops with an exception, never with a guess.

use std::hash::Hash;

use ahash::RandomState;
use arrow_row::{RowConverter, SortField};
use hashbrown::{HashTable, hash_table::Entry};
use serde_json::Value as Json;

use super::{
    column::{Column, Kind, Lane, Meaning, with_text},
    exception::{Checked, ExceptionKind, RuleException},
    json,
    literal::{self, canonical},
};
use crate::quality::{settings::ValidationSettings, value::SetValue};

/// How often a value occurred, and where first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tally {
    pub(super) count: u64,
    pub(super) first: u64,
}

/// Counts per distinct value of one column, or of tuples.
#[derive(Debug)]
pub(super) struct Counter {
    keys: Option<Keys>,
    kind: Option<(Kind, Option<Meaning>)>,
    total: u64,
    singles: u64,
    bytes_max: usize,
    distinct_max: usize,
    converter: Option<RowConverter>,
}

#[derive(Debug)]
enum Keys {
    Words(Table<u64>),
    Wide(Table<i128>),
    Bytes(Arena),
}

/// Called with the row that holds the first occurrence, when a value is seen the second time, and
/// with every row that repeats one.
pub(super) type OnRepeat<'a> = dyn FnMut(u64, usize) + 'a;

impl Counter {
    pub(super) fn new(settings: &ValidationSettings) -> Self {
        let (bytes_max, distinct_max) = (settings.distinct_bytes_max, settings.distinct_max);
        Self { keys: None, kind: None, total: 0, singles: 0, bytes_max, distinct_max, converter: None }
    }

    /// Counts the values of some rows; `on_repeat` is told the global row and the row in the batch
    /// that holds the same value.
    pub(super) fn observe(
        &mut self,
        column: &Column,
        rows: impl Iterator<Item = usize>,
        offset: u64,
        on_repeat: &mut OnRepeat<'_>,
    ) -> Checked<()> {
        self.keep_kind(column)?;
        match &column.lane {
            Lane::Int(values, _) => {
                let keys = rows.filter_map(|row| values.get(row).map(|value| (row, value.cast_unsigned())));
                self.words(keys, offset, on_repeat)
            }
            Lane::Float(values) => {
                let keys = rows.filter_map(|row| values.get(row).map(|value| (row, canonical(*value))));
                self.words(keys, offset, on_repeat)
            }
            Lane::Bool(values) => self.words(rows.map(|row| (row, u64::from(values.value(row)))), offset, on_repeat),
            Lane::Wide(values, _) => {
                let Keys::Wide(table) = self.keys.get_or_insert_with(|| Keys::Wide(Table::default())) else {
                    return Err(changed(column));
                };
                for row in rows {
                    let Some(value) = values.get(row) else { continue };
                    let tally = table.add(*value, offset + row as u64);
                    note(&mut self.singles, tally, offset, row, on_repeat);
                    self.total += 1;
                    bounded(table.len(), self.distinct_max)?;
                }
                Ok(())
            }
            Lane::Text(text) => with_text!(text, array => {
                self.bytes(rows.map(|row| (row, array.value(row).as_bytes())), offset, on_repeat)
            }),
            Lane::Opaque(array) => {
                let converter = match self.converter.take() {
                    Some(converter) => converter,
                    None => RowConverter::new(vec![SortField::new(column.data_type.clone())])
                        .map_err(|_| column.unfit("values that can be told apart"))?,
                };
                let keys = converter.convert_columns(std::slice::from_ref(array))?;
                let result = self.bytes(rows.map(|row| (row, keys.row(row).data())), offset, on_repeat);
                self.converter = Some(converter);
                result
            }
        }
    }

    /// Counts one tuple.
    pub(super) fn observe_key(
        &mut self,
        key: &[u8],
        row: usize,
        offset: u64,
        on_repeat: &mut OnRepeat<'_>,
    ) -> Checked<()> {
        self.bytes(std::iter::once((row, key)), offset, on_repeat)
    }

    fn keep_kind(&mut self, column: &Column) -> Checked<()> {
        let meaning = match column.lane {
            Lane::Int(_, meaning) | Lane::Wide(_, meaning) => Some(meaning),
            _ => None,
        };
        let kind = (column.kind(), meaning);
        if *self.kind.get_or_insert(kind) == kind { Ok(()) } else { Err(changed(column)) }
    }

    fn words(
        &mut self,
        keys: impl Iterator<Item = (usize, u64)>,
        offset: u64,
        on_repeat: &mut OnRepeat<'_>,
    ) -> Checked<()> {
        let Keys::Words(table) = self.keys.get_or_insert_with(|| Keys::Words(Table::default())) else {
            return Err(mixed());
        };
        for (row, key) in keys {
            let tally = table.add(key, offset + row as u64);
            note(&mut self.singles, tally, offset, row, on_repeat);
            self.total += 1;
            bounded(table.len(), self.distinct_max)?;
        }
        Ok(())
    }

    fn bytes<'k>(
        &mut self,
        keys: impl Iterator<Item = (usize, &'k [u8])>,
        offset: u64,
        on_repeat: &mut OnRepeat<'_>,
    ) -> Checked<()> {
        let Keys::Bytes(arena) = self.keys.get_or_insert_with(|| Keys::Bytes(Arena::default())) else {
            return Err(mixed());
        };
        for (row, key) in keys {
            let tally = arena.add(key, offset + row as u64);
            note(&mut self.singles, tally, offset, row, on_repeat);
            self.total += 1;
            bounded(arena.entries.len(), self.distinct_max)?;
            if arena.bytes.len() > self.bytes_max {
                let max = self.bytes_max;
                let message = format!("distinct values take more than {max} bytes; raise distinct_bytes_max");
                return Err(RuleException::new(ExceptionKind::TooManyDistinct, message));
            }
        }
        Ok(())
    }

    /// Values counted.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Values that occurred exactly once.
    pub(super) fn singles(&self) -> u64 {
        self.singles
    }

    pub(super) fn distinct(&self) -> u64 {
        let len = match &self.keys {
            None => 0,
            Some(Keys::Words(table)) => table.len(),
            Some(Keys::Wide(table)) => table.len(),
            Some(Keys::Bytes(arena)) => arena.entries.len(),
        };
        len as u64
    }

    /// Every count.
    pub(super) fn tallies(&self) -> Box<dyn Iterator<Item = Tally> + '_> {
        match &self.keys {
            None => Box::new(std::iter::empty()),
            Some(Keys::Words(table)) => Box::new(table.entries.iter().map(|entry| entry.tally)),
            Some(Keys::Wide(table)) => Box::new(table.entries.iter().map(|entry| entry.tally)),
            Some(Keys::Bytes(arena)) => Box::new(arena.entries.iter().map(|entry| entry.tally)),
        }
    }

    /// How often a literal occurred; `None` when it is of another kind than the values.
    pub(super) fn count_of_literal(&self, value: &SetValue) -> Option<u64> {
        let Some((kind, meaning)) = self.kind else { return Some(0) };
        let integer = |meaning| match (meaning, value) {
            (Meaning::Number { scale: 0 }, SetValue::Float(_)) => None,
            _ => literal::units(meaning, value).map(|unit| unit.exact.then_some(unit.floor)),
        };
        let word = |key: Option<u64>| match (&self.keys, key) {
            (Some(Keys::Words(table)), Some(key)) => table.count_of(key),
            _ => 0,
        };
        match (kind, meaning, value) {
            (Kind::Float, _, value) => value.as_f64().map(|value| word(Some(canonical(value)))),
            (Kind::Bool, _, SetValue::Bool(value)) => Some(word(Some(u64::from(*value)))),
            (Kind::Text, _, SetValue::Text(text)) => Some(self.count_of(text.as_bytes())),
            (_, Some(meaning), _) => integer(meaning).map(|unit| match (&self.keys, unit) {
                (Some(Keys::Wide(table)), Some(unit)) => table.count_of(unit),
                (_, unit) => word(unit.and_then(|unit| i64::try_from(unit).ok()).map(i64::cast_unsigned)),
            }),
            _ => None,
        }
    }

    /// The first distinct values as JSON, in the order they occurred.
    pub(super) fn examples(&self, max: usize) -> Vec<Json> {
        let (kind, meaning) = self.kind.unzip();
        let meaning = meaning.flatten().unwrap_or(Meaning::Number { scale: 0 });
        let word = |key: u64| match kind {
            Some(Kind::Float) => json::float(f64::from_bits(key)),
            Some(Kind::Bool) => Json::Bool(key == 1),
            _ => json::integer(i128::from(key.cast_signed()), meaning),
        };
        match &self.keys {
            Some(Keys::Words(table)) => first(table.entries.iter(), max, |key| word(*key)),
            Some(Keys::Wide(table)) => first(table.entries.iter(), max, |key| json::integer(*key, meaning)),
            Some(Keys::Bytes(arena)) if kind == Some(Kind::Text) => first(arena.entries.iter(), max, |span| {
                String::from_utf8_lossy(arena.bytes.get(span.start..span.end).unwrap_or_default()).into()
            }),
            _ => Vec::new(),
        }
    }

    /// The count of one tuple, zero when it did not occur.
    pub(super) fn count_of(&self, key: &[u8]) -> u64 {
        match &self.keys {
            Some(Keys::Bytes(arena)) => arena.find(key).map_or(0, |tally| tally.count),
            _ => 0,
        }
    }

    /// Every tuple with its count.
    pub(super) fn tuples(&self) -> Box<dyn Iterator<Item = (&[u8], u64)> + '_> {
        match &self.keys {
            Some(Keys::Bytes(arena)) => {
                Box::new(arena.entries.iter().map(|entry| (arena.key(entry), entry.tally.count)))
            }
            _ => Box::new(std::iter::empty()),
        }
    }
}

/// The entries that occurred first.
fn first<'e, K: 'e>(entries: impl Iterator<Item = &'e Keyed<K>>, max: usize, json: impl Fn(&K) -> Json) -> Vec<Json> {
    let mut order: Vec<&Keyed<K>> = entries.collect();
    order.sort_unstable_by_key(|entry| entry.tally.first);
    order.into_iter().take(max).map(|entry| json(&entry.key)).collect()
}

fn note(singles: &mut u64, tally: Tally, offset: u64, row: usize, on_repeat: &mut OnRepeat<'_>) {
    match tally.count {
        1 => *singles += 1,
        count => {
            if count == 2 {
                *singles -= 1;
                on_repeat(tally.first, row);
            }
            on_repeat(offset + row as u64, row);
        }
    }
}

fn bounded(distinct: usize, max: usize) -> Checked<()> {
    if distinct <= max {
        return Ok(());
    }
    let message = format!("more than {max} distinct values; raise distinct_max");
    Err(RuleException::new(ExceptionKind::TooManyDistinct, message))
}

fn changed(column: &Column) -> RuleException {
    let found = &column.data_type;
    RuleException::new(
        ExceptionKind::TypeChanged,
        format!("the column is {found}, and was of another type in an earlier batch"),
    )
}

fn mixed() -> RuleException {
    RuleException::new(ExceptionKind::TypeChanged, "the column was of another type in an earlier batch")
}

#[derive(Debug)]
struct Keyed<K> {
    key: K,
    tally: Tally,
}

#[derive(Debug)]
struct Table<K> {
    entries: HashTable<Keyed<K>>,
    state: RandomState,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { entries: HashTable::new(), state: RandomState::new() }
    }
}

impl<K: Copy + Eq + Hash> Table<K> {
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn count_of(&self, key: K) -> u64 {
        self.entries.find(self.state.hash_one(key), |entry| entry.key == key).map_or(0, |entry| entry.tally.count)
    }

    fn add(&mut self, key: K, row: u64) -> Tally {
        let state = &self.state;
        match self.entries.entry(state.hash_one(key), |entry| entry.key == key, |entry| state.hash_one(entry.key)) {
            Entry::Occupied(mut entry) => {
                let tally = &mut entry.get_mut().tally;
                tally.count += 1;
                *tally
            }
            Entry::Vacant(entry) => {
                let tally = Tally { count: 1, first: row };
                entry.insert(Keyed { key, tally });
                tally
            }
        }
    }
}

/// Keys of any length, one after the other in one buffer.
#[derive(Debug, Default)]
struct Arena {
    bytes: Vec<u8>,
    entries: HashTable<Keyed<Span>>,
    state: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    hash: u64,
    start: usize,
    end: usize,
}

impl Arena {
    fn key(&self, entry: &Keyed<Span>) -> &[u8] {
        self.bytes.get(entry.key.start..entry.key.end).unwrap_or_default()
    }

    fn find(&self, key: &[u8]) -> Option<Tally> {
        self.entries.find(self.state.hash_one(key), |entry| self.key(entry) == key).map(|entry| entry.tally)
    }

    fn add(&mut self, key: &[u8], row: u64) -> Tally {
        let hash = self.state.hash_one(key);
        let bytes = &self.bytes;
        let same =
            |entry: &Keyed<Span>| entry.key.hash == hash && bytes.get(entry.key.start..entry.key.end) == Some(key);
        match self.entries.entry(hash, same, |entry| entry.key.hash) {
            Entry::Occupied(mut entry) => {
                let tally = &mut entry.get_mut().tally;
                tally.count += 1;
                *tally
            }
            Entry::Vacant(entry) => {
                let tally = Tally { count: 1, first: row };
                let start = self.bytes.len();
                self.bytes.extend_from_slice(key);
                entry.insert(Keyed { key: Span { hash, start, end: self.bytes.len() }, tally });
                tally
            }
        }
    }
}
