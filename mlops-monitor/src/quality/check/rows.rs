//! Rules about single rows: one predicate, counted under `where`, `nulls` and `mostly`.
//!
//! Invariant: `element_count` is the rows that the filter keeps, `missing_count` those of them
//! without a value, and each of them is counted on one side of `mostly` or skipped, as `nulls` says.

use std::fmt;

use arrow_buffer::BooleanBuffer;
use serde_json::Value as Json;

use super::{
    Check, Finding,
    column::Column,
    exception::{Checked, RuleException},
    found::Found,
    frame::{FilterId, Frame},
    scan::Scan,
};
use crate::{
    quality::{
        result::Counts,
        rule::{Nulls, Rule},
        settings::ValidationSettings,
    },
    stats::{count_of, float},
};

/// A test of single values.
pub(super) trait Predicate: fmt::Debug + Send {
    /// The rows that pass. Rows outside `counted` (all when absent) have no value or do not
    /// belong: what is said of them does not matter.
    fn passes(&mut self, column: &Column, counted: Option<&BooleanBuffer>) -> Checked<BooleanBuffer>;
}

/// How rows are counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    pub(super) mostly: f64,
    pub(super) nulls: Nulls,
}

impl Tolerance {
    pub(super) fn of(rule: &Rule) -> Self {
        Self { mostly: rule.mostly, nulls: rule.nulls }
    }

    /// Of rules that leave rows out themselves.
    pub(super) fn sure(mostly: f64) -> Self {
        Self { mostly, nulls: Nulls::Skip }
    }

    /// The counts of a rule, from those of rows with and without a value.
    pub(super) fn counts(self, elements: u64, missing: u64, broken: u64) -> Counts {
        Counts {
            element_count: elements,
            missing_count: missing,
            counted_count: elements - if self.nulls == Nulls::Skip { missing } else { 0 },
            unexpected_count: broken + if self.nulls == Nulls::Fail { missing } else { 0 },
        }
    }

    /// Whether enough rows keep the rule. Division of counts is correctly rounded, so 9 of 10 is
    /// exactly the double 0.9.
    pub(super) fn holds(self, counts: &Counts) -> bool {
        let counted = counts.counted_count;
        counted == 0 || float(counted.saturating_sub(counts.unexpected_count)) / float(counted) >= self.mostly
    }
}

#[derive(Debug)]
pub(super) struct RowCheck {
    column: String,
    filter: Option<FilterId>,
    tolerance: Tolerance,
    predicate: Box<dyn Predicate>,
    counts: Counts,
    found: Found,
}

impl RowCheck {
    pub(super) fn new(
        column: &str,
        filter: Option<FilterId>,
        rule: &Rule,
        predicate: Box<dyn Predicate>,
        settings: &ValidationSettings,
    ) -> Self {
        let tolerance = Tolerance::of(rule);
        let (column, found) = (column.to_owned(), Found::new(settings));
        Self { column, filter, tolerance, predicate, counts: Counts::default(), found }
    }
}

impl Check for RowCheck {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let column = frame.column(&self.column)?;
        let filter = frame.filter(self.filter)?;
        let (counted, elements, present) = column.count(filter.as_deref(), &mut self.counts);
        self.counts.counted_count += count_of(if self.tolerance.nulls == Nulls::Skip { present } else { elements });
        // Without values there is nothing to be of the wrong type.
        let broken = match present {
            0 => BooleanBuffer::new_unset(column.rows),
            _ => {
                let passes = self.predicate.passes(&column, counted.as_ref())?;
                counted.as_ref().map_or_else(|| !&passes, |counted| counted & &!&passes)
            }
        };
        let broken = match (self.tolerance.nulls, &column.valid) {
            (Nulls::Fail, Some(valid)) => {
                let missing = !valid.inner();
                let missing = filter.as_deref().map_or_else(|| missing.clone(), |filter| &missing & filter);
                &broken | &missing
            }
            _ => broken,
        };
        self.counts.unexpected_count += count_of(broken.count_set_bits());
        note(&mut self.found, &broken, frame.offset, |row| column.json(row));
        Ok(())
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Result<Finding, RuleException> {
        let found = std::mem::take(&mut self.found);
        Ok(Finding::of_rows(self.tolerance.holds(&self.counts), self.counts, found))
    }
}

/// Keeps the first of the rows that break a rule.
pub(super) fn note(found: &mut Found, broken: &BooleanBuffer, offset: u64, json: impl Fn(usize) -> Json) {
    for row in broken.set_indices() {
        let global = offset + count_of(row);
        if found.is_beyond(global) {
            break;
        }
        found.add(global, || json(row));
    }
}
