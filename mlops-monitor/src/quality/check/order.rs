//! Order: `between`, `increasing`, `decreasing`, `z_score_less`.

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};

use super::{
    Check, Finding,
    column::{Column, Kind, Lane, with_text},
    exception::{Checked, ExceptionKind, RuleException},
    found::Found,
    frame::{FilterId, Frame},
    json, literal, mask,
    rows::{Predicate, Tolerance},
    scan::{Moments, Scan},
};
use crate::{
    quality::{
        expectation::Limits,
        result::Counts,
        rule::{Nulls, Rule},
        settings::ValidationSettings,
    },
    stats::count_of,
};

impl Predicate for Limits {
    fn passes(&mut self, column: &Column, _: Option<&BooleanBuffer>) -> Checked<BooleanBuffer> {
        literal::within(column, self)
    }
}

/// `increasing` and `decreasing`, across the borders of batches. The first value passes; a value
/// is compared with the last one before it that was counted, whether that passed or not. NaN
/// passes neither as the value nor as the one before.
#[derive(Debug)]
pub(super) struct Monotonic {
    rising: bool,
    strictly: bool,
    last: Last,
}

#[derive(Debug, PartialEq)]
enum Last {
    None,
    Number(Kind, i128),
    Float(f64),
    Text(String),
}

impl Monotonic {
    pub(super) fn new(rising: bool, strictly: bool) -> Self {
        Self { rising, strictly, last: Last::None }
    }

    fn follows<T: PartialOrd>(&self, before: &T, value: &T) -> bool {
        match (self.rising, self.strictly) {
            (true, true) => before < value,
            (true, false) => before <= value,
            (false, true) => before > value,
            (false, false) => before >= value,
        }
    }

    /// The rows whose value follows the one before; and the last value.
    fn chain<T: PartialOrd>(
        &self,
        rows: usize,
        first: Option<T>,
        values: impl Iterator<Item = (usize, T)>,
    ) -> (BooleanBuffer, Option<T>) {
        let mut passes = BooleanBufferBuilder::new(rows);
        passes.append_n(rows, true);
        let mut last = first;
        for (row, value) in values {
            if last.as_ref().is_some_and(|last| !self.follows(last, &value)) {
                passes.set_bit(row, false);
            }
            last = Some(value);
        }
        (passes.finish(), last)
    }
}

impl Predicate for Monotonic {
    fn passes(&mut self, column: &Column, counted: Option<&BooleanBuffer>) -> Checked<BooleanBuffer> {
        let rows = || mask::rows(counted, column.rows);
        let changed =
            || RuleException::new(ExceptionKind::TypeChanged, "the column was of another type in an earlier batch");
        let last = std::mem::replace(&mut self.last, Last::None);
        match &column.lane {
            Lane::Int(_, _) | Lane::Wide(_, _) => {
                let first = match last {
                    Last::None => None,
                    Last::Number(kind, value) if kind == column.kind() => Some(value),
                    _ => return Err(changed()),
                };
                let value = |row: usize| match &column.lane {
                    Lane::Int(values, _) => values.get(row).map(|value| (row, i128::from(*value))),
                    Lane::Wide(values, _) => values.get(row).map(|value| (row, *value)),
                    _ => None,
                };
                let (passes, last) = self.chain(column.rows, first, rows().filter_map(value));
                self.last = last.map_or(Last::None, |last| Last::Number(column.kind(), last));
                Ok(passes)
            }
            Lane::Float(values) => {
                let first = match last {
                    Last::None => None,
                    Last::Float(value) => Some(value),
                    _ => return Err(changed()),
                };
                let numbers = rows().filter_map(|row| values.get(row).map(|value| (row, *value)));
                let (passes, last) = self.chain(column.rows, first, numbers);
                self.last = last.map_or(Last::None, Last::Float);
                Ok(passes)
            }
            Lane::Text(text) => with_text!(text, array => {
                let first = match &last {
                    Last::None => None,
                    Last::Text(value) => Some(value.as_str()),
                    _ => return Err(changed()),
                };
                let (passes, last) = self.chain(column.rows, first, rows().map(|row| (row, array.value(row))));
                let last = last.map_or(Last::None, |last| Last::Text(last.to_owned()));
                self.last = last;
                Ok(passes)
            }),
            Lane::Bool(_) | Lane::Opaque(_) => Err(column.unfit("values that have an order")),
        }
    }
}

/// `z_score_less`: keeps the values, because their mean is known only at the end.
#[derive(Debug)]
pub(super) struct ZScore {
    column: String,
    filter: Option<FilterId>,
    tolerance: Tolerance,
    threshold: f64,
    double_sided: bool,
    counts: Counts,
    values: Vec<f64>,
    rows: Vec<u64>,
    missing: Vec<u64>,
    found: Found,
}

impl ZScore {
    pub(super) fn new(
        column: &str,
        filter: Option<FilterId>,
        rule: &Rule,
        (threshold, double_sided): (f64, bool),
        settings: &ValidationSettings,
    ) -> Self {
        Self {
            column: column.to_owned(),
            filter,
            tolerance: Tolerance::of(rule),
            threshold,
            double_sided,
            counts: Counts::default(),
            values: Vec::new(),
            rows: Vec::new(),
            missing: Vec::new(),
            found: Found::new(settings),
        }
    }
}

impl Check for ZScore {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let column = frame.column(&self.column)?;
        let filter = frame.filter(self.filter)?;
        let (counted, _, present) = column.count(filter.as_deref(), &mut self.counts);
        if self.tolerance.nulls == Nulls::Fail {
            let rows = mask::rows(filter.as_deref(), column.rows);
            let missing = rows.filter(|row| column.valid.as_ref().is_some_and(|valid| valid.is_null(*row)));
            let kept = frame.settings.rows_max.saturating_sub(self.missing.len());
            self.missing.extend(missing.take(kept).map(|row| frame.offset + count_of(row)));
        }
        if present == 0 {
            return Ok(());
        }
        let values_max = frame.settings.values_max;
        if self.values.len().saturating_add(present) > values_max {
            let message = format!("more than {values_max} values; raise values_max");
            return Err(RuleException::new(ExceptionKind::TooManyValues, message));
        }
        self.values.extend_from_slice(&super::scan::doubles(&column, counted.as_ref())?);
        self.rows.extend(mask::rows(counted.as_ref(), column.rows).map(|row| frame.offset + count_of(row)));
        Ok(())
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Checked<Finding> {
        let moments = Moments::of(&self.values);
        let stdev = moments.stdev(1);
        let passes = |value: f64| {
            let deviation = if self.double_sided { (value - moments.mean).abs() } else { value - moments.mean };
            // Equal values have no deviation; a single value has no standard deviation.
            deviation == 0.0 || stdev.is_some_and(|stdev| deviation / stdev < self.threshold)
        };
        let mut found = std::mem::take(&mut self.found);
        for (value, row) in self.values.iter().zip(&self.rows).filter(|(value, _)| !passes(**value)) {
            self.counts.unexpected_count += 1;
            if !found.is_beyond(*row) {
                found.add(*row, || json::float(*value));
            }
        }
        self.missing.drain(..).for_each(|row| found.add(row, || serde_json::Value::Null));
        let Counts { element_count, missing_count, unexpected_count, .. } = self.counts;
        self.counts = self.tolerance.counts(element_count, missing_count, unexpected_count);
        Ok(Finding::of_rows(self.tolerance.holds(&self.counts), self.counts, found))
    }
}
