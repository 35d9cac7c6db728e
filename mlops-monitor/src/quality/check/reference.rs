//! Rules about another table: referential integrity and dataset match.

use std::collections::HashMap;

use arrow_array::RecordBatch;
use arrow_buffer::BooleanBuffer;
use serde_json::json;

use super::{
    Check, Finding,
    column::{Column, Kind},
    distinct::Counter,
    exception::{Checked, ExceptionKind, RuleException},
    found::Found,
    frame::{FilterId, Frame},
    mask,
    pairs::Rows,
    rows::{Tolerance, note},
    scan::Scan,
};
use crate::{
    quality::{expectation::IgnoreRowIf, result::Counts, settings::ValidationSettings},
    stats::{count_of, float},
};

/// Other tables that rules name.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use mlops_monitor::quality::{Rule, Suite, Tables, ValidationSettings};
///
/// let ids = |ids: Vec<i64>| RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(ids)) as ArrayRef)]);
/// let suite = Suite::builder("orders").with_rule(Rule::references("id", "customers", "id")).build()?;
/// let tables = Tables::default().with("customers", vec![ids(vec![1, 2, 3])?]);
/// let mut run = suite.start(&ValidationSettings::default(), &tables);
/// run.observe(&ids(vec![3, 4])?);
/// assert_eq!(run.finish().results[0].unexpected_rows, [1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Tables(HashMap<String, Vec<RecordBatch>>);

impl Tables {
    /// Adds a table under the name that rules know it by.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, batches: Vec<RecordBatch>) -> Self {
        self.0.insert(name.into(), batches);
        self
    }

    fn get(&self, name: &str) -> Checked<&[RecordBatch]> {
        self.0.get(name).map(Vec::as_slice).ok_or_else(|| {
            RuleException::new(ExceptionKind::MissingTable, format!("the run was not given table {name:?}"))
        })
    }

    /// The rows of a table.
    pub(super) fn rows(&self, name: &str) -> Checked<u64> {
        Ok(self.get(name)?.iter().map(|batch| count_of(batch.num_rows())).sum())
    }
}

/// The tuples of some columns of a table.
#[derive(Debug)]
struct Tuples {
    counter: Counter,
    kinds: Option<Vec<Kind>>,
}

impl Tuples {
    fn of(batches: &[RecordBatch], names: &[String], nulls: bool, settings: &ValidationSettings) -> Checked<Self> {
        let mut tuples = Self { counter: Counter::new(settings), kinds: None };
        for batch in batches {
            let frame = Frame::new(batch, 0, settings, &[]);
            let ignore = if nulls { IgnoreRowIf::Never } else { IgnoreRowIf::AnyMissing };
            let rows = Rows::of(&frame, names, ignore, None)?;
            tuples.add(&rows, frame.rows())?;
        }
        Ok(tuples)
    }

    fn add(&mut self, rows: &Rows, count: usize) -> Checked<()> {
        self.keep_kinds(&rows.columns.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        let mut key = Vec::new();
        for row in mask::rows(rows.counted.as_ref(), count) {
            key.clear();
            rows.columns.iter().for_each(|column| column.write_key(row, &mut key));
            self.counter.observe_key(&key, row, 0, &mut |_, _| {})?;
        }
        Ok(())
    }

    /// # Errors
    /// When columns cannot be compared with those of the table.
    fn keep_kinds(&mut self, columns: &[&Column]) -> Checked<()> {
        columns.iter().try_for_each(|column| column.keyable())?;
        let kinds: Vec<Kind> = columns.iter().map(|column| column.kind()).collect();
        let known = self.kinds.get_or_insert_with(|| kinds.clone());
        let differ = known.iter().zip(&kinds).zip(columns).find(|((known, kind), _)| known != kind);
        match differ {
            // A column of nothing but nulls equals no value of any kind.
            Some(((known, _), column)) if *known != Kind::Opaque && column.kind() != Kind::Opaque => {
                Err(column.unfit(&format!("the kind of the other table's column ({known:?})")))
            }
            _ => Ok(()),
        }
    }
}

/// `references`: an anti-join with the other table.
#[derive(Debug)]
pub(super) struct References {
    columns: Vec<String>,
    tuples: Checked<Tuples>,
    filter: Option<FilterId>,
    mostly: f64,
    counts: Counts,
    found: Found,
}

impl References {
    pub(super) fn new(
        (columns, table, table_columns): (&[String], &str, &[String]),
        filter: Option<FilterId>,
        mostly: f64,
        tables: &Tables,
        settings: &ValidationSettings,
    ) -> Self {
        let there = if table_columns.is_empty() { columns } else { table_columns };
        let tuples = tables.get(table).and_then(|batches| Tuples::of(batches, there, false, settings));
        let (counts, found) = (Counts::default(), Found::new(settings));
        Self { columns: columns.to_vec(), tuples, filter, mostly, counts, found }
    }
}

impl Check for References {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let rows = Rows::of(frame, &self.columns, IgnoreRowIf::AnyMissing, self.filter)?;
        let tuples = self.tuples.as_mut().map_err(|fault| fault.clone())?;
        tuples.keep_kinds(&rows.columns.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        rows.count(&mut self.counts);
        let mut key = Vec::new();
        let passes = BooleanBuffer::collect_bool(frame.rows(), |row| {
            key.clear();
            rows.columns.iter().for_each(|column| column.write_key(row, &mut key));
            tuples.counter.count_of(&key) > 0
        });
        let broken = rows.broken(&passes);
        self.counts.unexpected_count += count_of(broken.count_set_bits());
        note(&mut self.found, &broken, frame.offset, |row| rows.json(row));
        Ok(())
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Checked<Finding> {
        self.tuples.as_ref().map_err(Clone::clone)?;
        let holds = Tolerance::sure(self.mostly).holds(&self.counts);
        Ok(Finding::of_rows(holds, self.counts, std::mem::take(&mut self.found)))
    }
}

/// `dataset_match`: both tables as multisets of tuples.
#[derive(Debug)]
pub(super) struct DatasetMatch {
    names: Vec<String>,
    there: Checked<(Tuples, u64)>,
    here: Counter,
    filter: Option<FilterId>,
    min: f64,
}

impl DatasetMatch {
    pub(super) fn new(
        (keys, columns, table): (&[String], &[String], &str),
        min: f64,
        filter: Option<FilterId>,
        tables: &Tables,
        settings: &ValidationSettings,
    ) -> Self {
        let names = [keys, columns].concat();
        let there = tables
            .get(table)
            .and_then(|batches| Tuples::of(batches, &names, true, settings))
            .and_then(|tuples| Ok((tuples, tables.rows(table)?)));
        Self { names, there, here: Counter::new(settings), filter, min }
    }
}

impl Check for DatasetMatch {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let rows = Rows::of(frame, &self.names, IgnoreRowIf::Never, self.filter)?;
        let (there, _) = self.there.as_mut().map_err(|fault| fault.clone())?;
        there.keep_kinds(&rows.columns.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
        let mut key = Vec::new();
        for row in mask::rows(rows.counted.as_ref(), frame.rows()) {
            key.clear();
            rows.columns.iter().for_each(|column| column.write_key(row, &mut key));
            self.here.observe_key(&key, row, frame.offset, &mut |_, _| {})?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Checked<Finding> {
        let (there, there_rows) = self.there.as_ref().map_err(Clone::clone)?;
        let here_rows = self.here.total();
        let matched: u64 = self.here.tuples().map(|(key, count)| count.min(there.counter.count_of(key))).sum();
        let larger = here_rows.max(*there_rows);
        // Two empty tables are the same.
        let share = if larger == 0 { 1.0 } else { float(matched) / float(larger) };
        let (only_here, only_there) = (here_rows - matched, there_rows - matched);
        let observed = json!({ "share": share, "matched": matched, "only_here": only_here, "only_there": only_there });
        Ok(Finding::of_figure(share >= self.min, observed))
    }
}
