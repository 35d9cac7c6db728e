//! Rules about several columns of a row: comparisons, admissible pairs, sums.
//!
//! Invariant: `ignore_row_if` alone says which rows are left out; they are the `missing_count`.

use std::{cmp::Ordering, collections::HashSet, fmt, rc::Rc};

use arrow_buffer::BooleanBuffer;
use serde_json::Value as Json;

use super::{
    Check, Finding,
    column::{Column, Kind, Lane, Meaning, with_text},
    exception::Checked,
    found::Found,
    frame::{FilterId, Frame},
    literal::Members,
    mask,
    rows::{Tolerance, note},
    scan::Scan,
};
use crate::{
    quality::{
        expectation::{Expectation, IgnoreRowIf, ValuePair},
        result::Counts,
        settings::ValidationSettings,
        value::SetValue,
    },
    stats::count_of,
};

/// The columns of a rule in one batch, and its rows that count.
#[derive(Debug)]
pub(super) struct Rows {
    pub(super) columns: Vec<Rc<Column>>,
    names: Vec<String>,
    filter: Option<Rc<BooleanBuffer>>,
    /// Rows that count; all when absent.
    pub(super) counted: Option<BooleanBuffer>,
    rows: usize,
}

impl Rows {
    pub(super) fn of(
        frame: &Frame<'_>,
        names: &[String],
        ignore_row_if: IgnoreRowIf,
        filter: Option<FilterId>,
    ) -> Checked<Self> {
        let columns = names.iter().map(|name| frame.column(name)).collect::<Checked<Vec<_>>>()?;
        let filter = frame.filter(filter)?;
        let valid = columns.iter().map(|column| column.valid.as_ref().map(|valid| valid.inner().clone()));
        let some_missing = |masks: Vec<BooleanBuffer>| masks.into_iter().reduce(|a, b| &a & &b);
        let all_missing = |masks: Vec<BooleanBuffer>| masks.into_iter().reduce(|a, b| &a | &b);
        let kept = match ignore_row_if {
            IgnoreRowIf::Never => None,
            IgnoreRowIf::AnyMissing => some_missing(valid.flatten().collect()),
            // A column without nulls keeps every row.
            IgnoreRowIf::AllMissing => valid.collect::<Option<Vec<_>>>().and_then(all_missing),
        };
        let counted = match (kept, &filter) {
            (Some(kept), filter) => Some(mask::and(&kept, filter.as_deref())),
            (None, Some(filter)) => Some(filter.as_ref().clone()),
            (None, None) => None,
        };
        Ok(Self { columns, names: names.to_vec(), filter, counted, rows: frame.rows() })
    }

    pub(super) fn count(&self, counts: &mut Counts) {
        let of = |mask: Option<&BooleanBuffer>| count_of(mask.map_or(self.rows, BooleanBuffer::count_set_bits));
        let (elements, counted) = (of(self.filter.as_deref()), of(self.counted.as_ref()));
        counts.element_count += elements;
        counts.counted_count += counted;
        counts.missing_count += elements - counted;
    }

    /// The rows that count and do not pass.
    pub(super) fn broken(&self, passes: &BooleanBuffer) -> BooleanBuffer {
        mask::and(&!passes, self.counted.as_ref())
    }

    /// The row's values in order.
    fn pair_json(&self, row: usize) -> Json {
        self.columns.iter().map(|column| column.json(row)).collect()
    }

    /// The row's values by column.
    pub(super) fn json(&self, row: usize) -> Json {
        self.names.iter().cloned().zip(self.columns.iter().map(|column| column.json(row))).collect()
    }
}

/// A rule about the values of several columns in each row.
#[derive(Debug)]
pub(super) struct RecordCheck {
    columns: Vec<String>,
    ignore_row_if: IgnoreRowIf,
    filter: Option<FilterId>,
    mostly: f64,
    test: Test,
    counts: Counts,
    found: Found,
}

enum Test {
    Greater { or_equal: bool },
    Equal,
    OneOf(Vec<ValuePair>),
    Sum { total: SetValue, tolerance: f64 },
}

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Test")
    }
}

impl RecordCheck {
    /// The check of a rule about the rows of several columns; `None` for other rules.
    pub(super) fn of(
        expectation: &Expectation,
        filter: Option<FilterId>,
        mostly: f64,
        settings: &ValidationSettings,
    ) -> Option<Self> {
        let pair = |a: &String, b: &String| vec![a.clone(), b.clone()];
        let (columns, ignore_row_if, test) = match expectation {
            Expectation::PairGreater { a, b, or_equal, ignore_row_if } => {
                (pair(a, b), *ignore_row_if, Test::Greater { or_equal: *or_equal })
            }
            Expectation::PairEqual { a, b, ignore_row_if } => (pair(a, b), *ignore_row_if, Test::Equal),
            Expectation::PairInSet { a, b, pairs, ignore_row_if } => {
                (pair(a, b), *ignore_row_if, Test::OneOf(pairs.clone()))
            }
            Expectation::SumEquals { columns, total, tolerance, ignore_row_if } => {
                let total = SetValue::Float(*total);
                (columns.clone(), *ignore_row_if, Test::Sum { total, tolerance: *tolerance })
            }
            _ => return None,
        };
        let (counts, found) = (Counts::default(), Found::new(settings));
        Some(Self { columns, ignore_row_if, filter, mostly, test, counts, found })
    }
}

impl Check for RecordCheck {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let rows = Rows::of(frame, &self.columns, self.ignore_row_if, self.filter)?;
        rows.count(&mut self.counts);
        let passes = match (&self.test, rows.columns.as_slice()) {
            (Test::Greater { or_equal }, [a, b]) => {
                compare(a, b, |order| order == Ordering::Greater || (*or_equal && order == Ordering::Equal))?
            }
            (Test::Equal, [a, b]) => compare(a, b, Ordering::is_eq)?,
            (Test::OneOf(pairs), [a, b]) => one_of(a, b, pairs)?,
            (Test::Sum { total, tolerance }, columns) => sums(columns, total, *tolerance)?,
            _ => BooleanBuffer::new_unset(frame.rows()),
        };
        let broken = rows.broken(&passes);
        self.counts.unexpected_count += count_of(broken.count_set_bits());
        let sum = matches!(self.test, Test::Sum { .. });
        note(&mut self.found, &broken, frame.offset, |row| if sum { rows.json(row) } else { rows.pair_json(row) });
        Ok(())
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Checked<Finding> {
        let holds = Tolerance::sure(self.mostly).holds(&self.counts);
        Ok(Finding::of_rows(holds, self.counts, std::mem::take(&mut self.found)))
    }
}

/// Rows with both values, in the wanted order. Floats and integers are compared as doubles; NaN
/// has no order.
fn compare(a: &Column, b: &Column, wanted: impl Fn(Ordering) -> bool) -> Checked<BooleanBuffer> {
    let both = match (a.counted(None), b.counted(None)) {
        (Some(a), b) => Some(mask::and(&a, b.as_ref())),
        (None, b) => b,
    };
    if both.as_ref().is_some_and(|both| !both.has_true()) {
        return Ok(BooleanBuffer::new_unset(a.rows));
    }
    let unfit = || b.unfit(&format!("two columns that can be compared, one is {} and the other", a.data_type));
    let passes = match (&a.lane, &b.lane) {
        (Lane::Int(x, m), Lane::Int(y, n)) if m == n => mask::of_pairs(x, y, |x, y| wanted(x.cmp(y))),
        (Lane::Wide(x, m), Lane::Wide(y, n)) if m == n => mask::of_pairs(x, y, |x, y| wanted(x.cmp(y))),
        (Lane::Bool(x), Lane::Bool(y)) => {
            BooleanBuffer::collect_bool(a.rows, |row| wanted(x.value(row).cmp(&y.value(row))))
        }
        (Lane::Text(x), Lane::Text(y)) => with_text!(x, x => with_text!(y, y => {
            BooleanBuffer::collect_bool(a.rows, |row| wanted(x.value(row).cmp(y.value(row))))
        })),
        _ if a.kind() == b.kind() && !matches!(a.kind(), Kind::Float | Kind::Opaque) => {
            let (x, y) = (ticks(a).ok_or_else(unfit)?, ticks(b).ok_or_else(unfit)?);
            mask::of_pairs(&x, &y, |x, y| wanted(x.cmp(y)))
        }
        _ if is_number(a) && is_number(b) => {
            mask::of_pairs(a.doubles()?, b.doubles()?, |x, y| x.partial_cmp(y).is_some_and(&wanted))
        }
        _ => return Err(unfit()),
    };
    Ok(mask::and(&passes, both.as_ref()))
}

fn is_number(column: &Column) -> bool {
    matches!(column.kind(), Kind::Number | Kind::Float)
}

/// Integers in the finest unit of their kind, so that scales and units can be compared exactly;
/// `None` when they do not fit 128 bits of it.
fn ticks(column: &Column) -> Option<Vec<i128>> {
    /// Digits after the point of the common unit of numbers.
    const SCALE: i32 = 18;
    let factor = match &column.lane {
        Lane::Int(_, meaning) | Lane::Wide(_, meaning) => match meaning {
            Meaning::Number { scale } => {
                let digits = u32::try_from(SCALE - scale).ok()?;
                10_i128.checked_pow(digits)?
            }
            Meaning::Days => 1,
            Meaning::Instant { per_second, .. } | Meaning::Ticks { per_second } => 1_000_000_000 / per_second,
        },
        _ => return None,
    };
    match &column.lane {
        Lane::Int(values, _) => values.iter().map(|value| i128::from(*value).checked_mul(factor)).collect(),
        Lane::Wide(values, _) => values.iter().map(|value| value.checked_mul(factor)).collect(),
        _ => None,
    }
}

fn one_of(a: &Column, b: &Column, pairs: &[ValuePair]) -> Checked<BooleanBuffer> {
    let side = |column: &Column, value: &Option<SetValue>| -> Checked<BooleanBuffer> {
        let valid = column.valid.as_ref().map(|valid| valid.inner());
        match (value, valid) {
            (None, None) => Ok(BooleanBuffer::new_unset(column.rows)),
            (None, Some(valid)) => Ok(!valid),
            (Some(_), Some(valid)) if !valid.has_true() => Ok(BooleanBuffer::new_unset(column.rows)),
            (Some(value), valid) => {
                Ok(mask::and(&Members::new(column, std::slice::from_ref(value))?.mask(column)?, valid))
            }
        }
    };
    let mut passes = BooleanBuffer::new_unset(a.rows);
    let mut seen = HashSet::new();
    for (first, second) in pairs {
        // A pair that is listed twice costs one evaluation.
        if seen.insert(format!("{first:?} {second:?}")) {
            passes = &passes | &(&side(a, first)? & &side(b, second)?);
        }
    }
    Ok(passes)
}

/// Rows whose values add up: exactly for integers, within the tolerance otherwise.
fn sums(columns: &[Rc<Column>], total: &SetValue, tolerance: f64) -> Checked<BooleanBuffer> {
    let rows = columns.first().map_or(0, |column| column.rows);
    let mut sums = vec![0.0; rows];
    let mut known: Option<BooleanBuffer> = None;
    for column in columns {
        if let Some(valid) = &column.valid {
            known = Some(mask::and(valid.inner(), known.as_ref()));
        }
        sums.iter_mut().zip(column.doubles()?).for_each(|(sum, value)| *sum += value);
    }
    let total = total.as_f64().unwrap_or(f64::NAN);
    Ok(mask::and(&mask::of(&sums, |sum| (sum - total).abs() <= tolerance), known.as_ref()))
}
