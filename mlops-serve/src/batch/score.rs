//! Predicts one batch of a part, rows that the model cannot take included.
//!
//! Invariant: the answer has one row per row, in order. A refused batch is halved until the rows at fault stand alone,
//! which gives the same results because a model's row does not depend on the rows beside it.

use std::{path::Path, sync::Arc};

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, cast::AsArray as _};
use arrow_buffer::BooleanBuffer;
use arrow_schema::Schema;
use arrow_select::{concat::concat_batches, filter::filter_record_batch, take::take};
use mlops_core::{Error, ErrorKind, Model, Result, Signature};

use super::{
    fault::{ROW, about},
    settings::BadRows,
    shape::{Shape, inputs},
};
use crate::executor::guarded;

/// How rows of one part are predicted.
#[derive(Debug)]
pub(super) struct Scorer<'a> {
    pub(super) model: &'a dyn Model,
    pub(super) shape: &'a Shape,
    pub(super) keys: &'a [String],
    pub(super) bad_rows: BadRows,
    pub(super) path: &'a Path,
}

/// Rows as the output has them.
#[derive(Debug)]
pub(super) struct Scored {
    pub(super) rows: RecordBatch,
    pub(super) bad_rows: u64,
}

/// What became of the rows that were tried.
#[derive(Debug, Default)]
struct Outcome {
    /// Answers, in order.
    answers: Vec<RecordBatch>,
    /// For each row whether it was answered.
    answered: Vec<bool>,
}

impl Scorer<'_> {
    /// Predicts `rows`, the first of which is row `first` of the file.
    ///
    /// # Errors
    /// `InvalidArgument` naming a bad row, where such are not allowed; `Internal` when the model panicked or broke its
    /// contract; what else the model returned.
    pub(super) fn score(&self, rows: &RecordBatch, first: u64) -> Result<Scored> {
        let signature = self.model.signature();
        let places: Vec<u64> = (first..).take(rows.num_rows()).collect();
        let mut outcome = Outcome::default();
        match whole_rows(signature, rows)? {
            None => self.attempt(rows, &places, &mut outcome)?,
            Some(mask) if self.bad_rows == BadRows::Fail => return Err(self.lacking(signature, rows, &mask, first)),
            Some(mask) => {
                let whole: Vec<u64> =
                    places.iter().zip(mask.values()).filter(|(_, whole)| *whole).map(|(place, _)| *place).collect();
                self.attempt(&filter_record_batch(rows, &mask)?, &whole, &mut outcome)?;
                let mut tried = std::mem::take(&mut outcome.answered).into_iter();
                let answered = mask.values().iter().map(|whole| whole && tried.next().unwrap_or(false));
                outcome.answered = answered.collect();
            }
        }
        self.assemble(rows, outcome)
    }

    /// Tries rows together, and where the model refuses them as invalid, by halves. `places` are their numbers in the file.
    fn attempt(&self, rows: &RecordBatch, places: &[u64], outcome: &mut Outcome) -> Result<()> {
        let count = rows.num_rows();
        if count == 0 {
            return Ok(());
        }
        match guarded(|| inputs(self.model.signature(), rows).and_then(|inputs| self.model.predict(&inputs))) {
            Ok(answer) => {
                outcome.answers.push(self.checked(&answer, count)?);
                outcome.answered.resize(outcome.answered.len() + count, true);
                Ok(())
            }
            Err(error) if error.kind() != ErrorKind::InvalidArgument => Err(self.failed(error, places)),
            Err(_) if count > 1 => {
                let half = count / 2;
                let (left, right) = places.split_at(half.min(places.len()));
                self.attempt(&rows.slice(0, half), left, outcome)?;
                self.attempt(&rows.slice(half, count - half), right, outcome)
            }
            Err(error) if self.bad_rows == BadRows::Fail => Err(self.failed(error, places)),
            Err(_) => {
                outcome.answered.push(false);
                Ok(())
            }
        }
    }

    /// The answer's columns in the order and types of the signature.
    fn checked(&self, answer: &RecordBatch, count: usize) -> Result<RecordBatch> {
        let signature = self.model.signature();
        let broken = |text: String| Error::internal(format!("the model broke its contract: {text}"));
        if answer.num_rows() != count {
            return Err(broken(format!("it answered {} rows to {count}", answer.num_rows())));
        }
        let column = |spec: &mlops_core::TensorSpec| {
            let found = answer.column_by_name(&spec.name).cloned();
            found.ok_or_else(|| broken(format!("output {:?} is missing", spec.name)))
        };
        let columns = signature.outputs().iter().map(column).collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(signature.output_schema(), columns).map_err(|error| broken(error.to_string()))
    }

    /// Keys beside answers, with nulls where there is none.
    fn assemble(&self, rows: &RecordBatch, outcome: Outcome) -> Result<Scored> {
        let Outcome { answers, answered } = outcome;
        let keys = self.keys.iter().filter_map(|key| rows.column_by_name(key).cloned());
        let schema: Arc<Schema> = self.model.signature().output_schema();
        let answers = concat_batches(&schema, &answers)?;
        let bad_rows = answered.iter().filter(|answered| !**answered).count();
        let columns: Vec<ArrayRef> = if bad_rows == 0 {
            keys.chain(answers.columns().iter().cloned()).collect()
        } else {
            let mut next = 0..;
            let places: UInt32Array = answered.iter().map(|answered| answered.then(|| next.next()).flatten()).collect();
            let spread = answers.columns().iter().map(|column| take(column, &places, None));
            keys.map(Ok).chain(spread).collect::<std::result::Result<_, _>>()?
        };
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.shape.output), columns, &options)?;
        Ok(Scored { rows, bad_rows: bad_rows as u64 })
    }

    /// The error of a row that lacks a value.
    fn lacking(&self, signature: &Signature, rows: &RecordBatch, whole: &BooleanArray, first: u64) -> Error {
        let row = whole.values().iter().position(|whole| !whole).unwrap_or(0);
        let required = signature.inputs().iter().filter(|spec| !spec.nullable);
        let lacks = |name: &str| rows.column_by_name(name).is_some_and(|column| !present(column).value(row));
        let column = required.map(|spec| spec.name.as_str()).find(|name| lacks(name)).unwrap_or_default();
        let row = first + row as u64;
        let text = format!("row {row}: input column {column:?} is null; the model allows none");
        about(ErrorKind::InvalidArgument, self.path, text).with(ROW, row).with("column", column)
    }

    /// An error of the model with the rows that it was about.
    fn failed(&self, error: Error, places: &[u64]) -> Error {
        let (first, last) = (places.first().copied().unwrap_or(0), places.last().copied().unwrap_or(0));
        let rows = if first == last { format!("row {first}") } else { format!("rows {first} to {last}") };
        let told = about(error.kind(), self.path, format!("{rows}: {}", error.message()));
        told.with(ROW, first).with_source(error)
    }
}

/// Which rows have every value that the model needs; none when all have.
fn whole_rows(signature: &Signature, rows: &RecordBatch) -> Result<Option<BooleanArray>> {
    let mut whole: Option<BooleanBuffer> = None;
    for spec in signature.inputs().iter().filter(|spec| !spec.nullable) {
        let Some(column) = rows.column_by_name(&spec.name) else {
            return Err(Error::internal(format!("input column {:?} was not read", spec.name)));
        };
        let present = present(column);
        if present.count_set_bits() < present.len() {
            whole = Some(whole.map_or(present.clone(), |whole| &whole & &present));
        }
    }
    Ok(whole.map(|whole| BooleanArray::new(whole, None)))
}

/// For each row whether it has a value, in lists of fixed length every value.
fn present(column: &ArrayRef) -> BooleanBuffer {
    let all = || BooleanBuffer::new_set(column.len());
    let own = column.logical_nulls().map_or_else(all, |nulls| nulls.into_inner());
    let Some(list) = column.as_fixed_size_list_opt() else { return own };
    let inner = present(list.values());
    if inner.count_set_bits() == inner.len() {
        return own;
    }
    let width = usize::try_from(list.value_length()).unwrap_or(0);
    let full = |row: usize| inner.slice(row * width, width).count_set_bits() == width;
    (0..column.len()).map(|row| own.value(row) && full(row)).collect()
}
