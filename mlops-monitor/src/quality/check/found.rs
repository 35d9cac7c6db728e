//! The first rows that break a rule, and what stands in them.
//!
//! Invariant: bounded by the settings, and always the first rows of the data, in whatever order
//! they become known.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use crate::quality::settings::ValidationSettings;

/// Most values shown of one rule.
pub(in crate::quality) const EXAMPLES_MAX: usize = 20;

#[derive(Debug, Clone, Default)]
pub(in crate::quality) struct Found {
    pub(in crate::quality) rows: BTreeSet<u64>,
    pub(in crate::quality) examples: BTreeMap<u64, Json>,
    rows_max: usize,
    examples_max: usize,
}

impl Found {
    pub(super) fn new(settings: &ValidationSettings) -> Self {
        let examples_max = if settings.include_values { EXAMPLES_MAX } else { 0 };
        Self { rows_max: settings.rows_max, examples_max, ..Self::default() }
    }

    /// Whether this and all later rows are beyond what is kept.
    pub(super) fn is_beyond(&self, row: u64) -> bool {
        let full = |len: usize, max: usize, last: Option<&u64>| len >= max && last.is_none_or(|last| row > *last);
        full(self.rows.len(), self.rows_max, self.rows.last())
            && full(self.examples.len(), self.examples_max, self.examples.last_key_value().map(|(last, _)| last))
    }

    pub(super) fn add(&mut self, row: u64, value: impl FnOnce() -> Json) {
        if self.rows_max > 0 {
            self.rows.insert(row);
        }
        if self.rows.len() > self.rows_max {
            self.rows.pop_last();
        }
        let wanted = self.examples.len() < self.examples_max
            || self.examples.last_key_value().is_some_and(|(last, _)| row < *last);
        if wanted && self.examples_max > 0 {
            self.examples.insert(row, value());
        }
        if self.examples.len() > self.examples_max {
            self.examples.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rows_win_in_any_order() {
        let settings = ValidationSettings { rows_max: 3, include_values: true, ..ValidationSettings::default() };
        let mut found = Found::new(&settings);
        for row in (0..100).rev() {
            found.add(row, || Json::from(row));
        }
        assert_eq!(found.rows.iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(found.examples.len(), EXAMPLES_MAX);
        assert!(found.is_beyond(20) && !found.is_beyond(1));
    }
}
