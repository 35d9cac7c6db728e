//! A column of text or booleans: how often each level occurs.
//!
//! Invariant: exact while there are at most `levels_max` levels; after that frequent levels keep bounds and distinct
//! ones an estimate. A value is hashed once to be counted, a level once more when it enters; a dictionary's value once.

use arrow_array::{Array, ArrayRef, cast::AsArray};
use mlops_core::Result;

use super::{
    codec::{Reader, Writer, damaged},
    distinct::Distinct,
    frequent::Frequent,
};
use crate::{
    extract::{self, Level, row_levels},
    sample::bounded_level,
    stats::count_of,
};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Levels {
    pub(super) frequent: Frequent<String>,
    /// There once levels were let go.
    distinct: Option<Distinct>,
}

impl Levels {
    pub(super) fn new(levels_max: usize) -> Self {
        Self { frequent: Frequent::new(levels_max), distinct: None }
    }

    /// Counts the values of an array; nulls are left out.
    pub(super) fn observe(&mut self, column: &ArrayRef) -> Result<()> {
        if let Some(dictionary) = column.as_any_dictionary_opt() {
            if dictionary.values().len() > column.len() {
                let Some(plain) = extract::plain(column) else { return Ok(()) };
                return self.add_all(&plain, std::iter::repeat(1));
            }
            let mut counts = vec![0_u64; dictionary.values().len()];
            let keys = dictionary.keys();
            for (row, key) in dictionary.normalized_keys().into_iter().enumerate() {
                if let Some(count) = counts.get_mut(key).filter(|_| keys.is_valid(row)) {
                    *count += 1;
                }
            }
            return self.add_all(dictionary.values(), counts.into_iter());
        }
        if let Some(values) = column.as_boolean_opt() {
            let (yes, known) = (count_of(values.true_count()), count_of(values.len() - values.null_count()));
            self.add("true", yes)?;
            return self.add("false", known - yes);
        }
        self.add_all(column, std::iter::repeat(1))
    }

    fn add_all(&mut self, values: &ArrayRef, counts: impl Iterator<Item = u64>) -> Result<()> {
        let Some(levels) = row_levels(values) else { return Ok(()) };
        for (level, count) in levels.zip(counts) {
            match level {
                Some(Level::Text(text)) => self.add(text, count)?,
                Some(other) => self.add(&other.to_string(), count)?,
                None => {}
            }
        }
        Ok(())
    }

    fn add(&mut self, level: &str, count: u64) -> Result<()> {
        let level = bounded_level(level);
        if count == 0 || !self.frequent.add(level.as_ref(), count) {
            return Ok(());
        }
        if let Some(distinct) = &mut self.distinct {
            distinct.add_text(&level);
        }
        if self.frequent.is_over() { self.prune() } else { Ok(()) }
    }

    fn prune(&mut self) -> Result<()> {
        let was_exact = self.frequent.is_exact();
        let distinct = was_exact.then(|| self.distinct()).transpose()?;
        self.frequent.prune();
        if was_exact && !self.frequent.is_exact() {
            self.distinct = distinct;
        }
        Ok(())
    }

    /// The sketch of the set of levels, also while it is known exactly.
    pub(super) fn distinct(&self) -> Result<Distinct> {
        if let Some(distinct) = &self.distinct {
            return Ok(distinct.clone());
        }
        let mut distinct = Distinct::new()?;
        self.frequent.items().iter().for_each(|(level, _)| distinct.add_text(level));
        Ok(distinct)
    }

    /// Brings the state into the one form that is stored and merged.
    pub(super) fn seal(&mut self) -> Result<()> {
        self.prune()?;
        if let Some(distinct) = &mut self.distinct {
            *distinct = distinct.canonical()?;
        }
        Ok(())
    }

    /// Adds another; both are sealed.
    pub(super) fn merge(&mut self, other: &Self) -> Result<()> {
        let exact = self.frequent.is_exact() && other.frequent.is_exact();
        let mut distinct = self.distinct()?;
        distinct.merge(&other.distinct()?)?;
        self.frequent.merge(&other.frequent);
        self.distinct = if exact && self.frequent.is_exact() { None } else { Some(distinct.canonical()?) };
        Ok(())
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.counted(&self.frequent.to_bytes());
        if let Some(distinct) = &self.distinct {
            to.counted(&distinct.to_bytes());
        }
    }

    pub(super) fn read(from: &mut Reader<'_>, levels_max: usize, values: u64) -> Result<Self> {
        let frequent = Frequent::from_bytes(from.counted()?, levels_max)?;
        if frequent.total() != values {
            return Err(damaged("levels do not add up to the rows"));
        }
        let distinct = if frequent.is_exact() { None } else { Some(Distinct::from_bytes(from.counted()?)?) };
        Ok(Self { frequent, distinct })
    }
}
