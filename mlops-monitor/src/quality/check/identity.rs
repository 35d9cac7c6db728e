//! Identity: values and tuples that occur once, and values that differ within a row.

use std::collections::HashSet;

use arrow_buffer::BooleanBuffer;

use super::{
    Check, Finding,
    aggregates::{count, figure},
    distinct::Counter,
    exception::{Checked, ExceptionKind, RuleException},
    found::Found,
    frame::{FilterId, Frame},
    mask, pairs,
    rows::{Tolerance, note},
    scan::Scan,
};
use crate::{
    quality::{
        expectation::{Expectation, IgnoreRowIf},
        result::Counts,
        settings::ValidationSettings,
    },
    stats::{count_of, float},
};

/// Ratios of distinct values. Without values there is none, and the rule fails.
pub(super) fn judge(scan: &Scan, expectation: &Expectation) -> Checked<Finding> {
    let counter = scan.counter()?;
    let (distinct, singles, total) = (counter.distinct(), counter.singles(), counter.total());
    let ratio = |part: u64, whole: u64| (whole > 0).then(|| float(part) / float(whole));
    match expectation {
        Expectation::Uniqueness(limits) => figure(ratio(singles, total), limits),
        Expectation::Distinctness(limits) => figure(ratio(distinct, total), limits),
        Expectation::UniqueValueRatio(limits) => figure(ratio(singles, distinct), limits),
        Expectation::DistinctCount(limits) => count(distinct, limits),
        _ => Err(RuleException::new(ExceptionKind::NoData, "nothing was gathered for this rule")),
    }
}

/// `unique`: the rows of the shared scan, counted like those of any rule about rows.
#[derive(Debug)]
pub(super) struct Unique {
    pub(super) scan: usize,
    pub(super) tolerance: Tolerance,
}

impl Check for Unique {
    fn observe(&mut self, _: &Frame<'_>) -> Checked<()> {
        Ok(())
    }

    fn finish(&mut self, scans: &[Scan], _: u64) -> Checked<Finding> {
        let Some(scan) = scans.get(self.scan) else { return Ok(Finding::default()) };
        let (rows, present) = (scan.rows()?, scan.present());
        let counter = scan.counter()?;
        let missing = rows - present;
        let repeated = counter.total() - counter.singles();
        let counts = self.tolerance.counts(rows, missing, repeated);
        Ok(Finding::of_rows(self.tolerance.holds(&counts), counts, scan.repeats().clone()))
    }
}

/// `compound_unique`.
#[derive(Debug)]
pub(super) struct CompoundUnique {
    columns: Vec<String>,
    ignore_row_if: IgnoreRowIf,
    filter: Option<FilterId>,
    mostly: f64,
    counts: Counts,
    counter: Counter,
    found: Found,
}

impl CompoundUnique {
    pub(super) fn new(
        columns: &[String],
        ignore_row_if: IgnoreRowIf,
        filter: Option<FilterId>,
        mostly: f64,
        settings: &ValidationSettings,
    ) -> Self {
        let (counter, found) = (Counter::new(settings), Found::new(settings));
        Self { columns: columns.to_vec(), ignore_row_if, filter, mostly, counts: Counts::default(), counter, found }
    }
}

impl Check for CompoundUnique {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let rows = pairs::Rows::of(frame, &self.columns, self.ignore_row_if, self.filter)?;
        rows.columns.iter().try_for_each(|column| column.keyable())?;
        rows.count(&mut self.counts);
        let (found, mut key) = (&mut self.found, Vec::new());
        for row in mask::rows(rows.counted.as_ref(), frame.rows()) {
            key.clear();
            rows.columns.iter().for_each(|column| column.write_key(row, &mut key));
            let mut on_repeat = |global: u64, at: usize| {
                if !found.is_beyond(global) {
                    found.add(global, || rows.json(at));
                }
            };
            self.counter.observe_key(&key, row, frame.offset, &mut on_repeat)?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Checked<Finding> {
        self.counts.unexpected_count = self.counter.total() - self.counter.singles();
        let holds = Tolerance::sure(self.mostly).holds(&self.counts);
        Ok(Finding::of_rows(holds, self.counts, std::mem::take(&mut self.found)))
    }
}

/// `unique_within_record`: nulls of a row that counts equal each other.
#[derive(Debug)]
pub(super) struct WithinRecord {
    columns: Vec<String>,
    ignore_row_if: IgnoreRowIf,
    filter: Option<FilterId>,
    mostly: f64,
    counts: Counts,
    found: Found,
}

impl WithinRecord {
    pub(super) fn new(
        columns: &[String],
        ignore_row_if: IgnoreRowIf,
        filter: Option<FilterId>,
        mostly: f64,
        settings: &ValidationSettings,
    ) -> Self {
        let found = Found::new(settings);
        Self { columns: columns.to_vec(), ignore_row_if, filter, mostly, counts: Counts::default(), found }
    }
}

impl Check for WithinRecord {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let rows = pairs::Rows::of(frame, &self.columns, self.ignore_row_if, self.filter)?;
        rows.columns.iter().try_for_each(|column| column.keyable())?;
        rows.count(&mut self.counts);
        let mut keys = vec![Vec::new(); rows.columns.len()];
        let differ = BooleanBuffer::collect_bool(frame.rows(), |row| {
            for (key, column) in keys.iter_mut().zip(&rows.columns) {
                key.clear();
                column.write_key(row, key);
            }
            let mut seen = HashSet::with_capacity(keys.len());
            keys.iter().all(|key| seen.insert(key.as_slice()))
        });
        let broken = rows.broken(&differ);
        self.counts.unexpected_count += count_of(broken.count_set_bits());
        note(&mut self.found, &broken, frame.offset, |row| rows.json(row));
        Ok(())
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Checked<Finding> {
        let holds = Tolerance::sure(self.mostly).holds(&self.counts);
        Ok(Finding::of_rows(holds, self.counts, std::mem::take(&mut self.found)))
    }
}
