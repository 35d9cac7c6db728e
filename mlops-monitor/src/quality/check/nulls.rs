//! Presence: `not_null`, `is_null`, `completeness`.

use arrow_buffer::BooleanBuffer;

use super::{
    Check, Finding,
    aggregates::figure,
    column::{Column, Lane},
    exception::Checked,
    found::Found,
    frame::{FilterId, Frame},
    mask,
    rows::{Tolerance, note},
    scan::Scan,
};
use crate::{
    quality::{expectation::Limits, result::Counts, rule::Rule, settings::ValidationSettings},
    stats::{count_of, float},
};

/// `not_null` and `is_null`: every row counts, whatever `nulls` says.
#[derive(Debug)]
pub(super) struct Presence {
    column: String,
    filter: Option<FilterId>,
    tolerance: Tolerance,
    wanted: bool,
    nan_as_null: bool,
    counts: Counts,
    found: Found,
}

impl Presence {
    pub(super) fn not_null(
        column: &str,
        filter: Option<FilterId>,
        rule: &Rule,
        nan_as_null: bool,
        settings: &ValidationSettings,
    ) -> Self {
        let (tolerance, found) = (Tolerance::of(rule), Found::new(settings));
        Self {
            column: column.to_owned(),
            filter,
            tolerance,
            wanted: true,
            nan_as_null,
            counts: Counts::default(),
            found,
        }
    }

    pub(super) fn is_null(column: &str, filter: Option<FilterId>, rule: &Rule, settings: &ValidationSettings) -> Self {
        Self { wanted: false, ..Self::not_null(column, filter, rule, false, settings) }
    }
}

impl Check for Presence {
    fn observe(&mut self, frame: &Frame<'_>) -> Checked<()> {
        let column = frame.column(&self.column)?;
        let filter = frame.filter(self.filter)?;
        let missing = missing(&column, self.nan_as_null);
        let missing = mask::and(&missing, filter.as_deref());
        let elements = filter.as_ref().map_or(column.rows, |mask| mask.count_set_bits());
        let broken = match (self.wanted, &filter) {
            (true, _) => missing.clone(),
            (false, None) => !&missing,
            (false, Some(filter)) => filter.as_ref() & &!&missing,
        };
        self.counts.element_count += count_of(elements);
        self.counts.counted_count += count_of(elements);
        self.counts.missing_count += count_of(missing.count_set_bits());
        self.counts.unexpected_count += count_of(broken.count_set_bits());
        note(&mut self.found, &broken, frame.offset, |row| column.json(row));
        Ok(())
    }

    fn finish(&mut self, _: &[Scan], _: u64) -> Checked<Finding> {
        let found = std::mem::take(&mut self.found);
        Ok(Finding::of_rows(self.tolerance.holds(&self.counts), self.counts, found))
    }
}

fn missing(column: &Column, nan_as_null: bool) -> BooleanBuffer {
    let nulls = match &column.valid {
        Some(valid) => !valid.inner(),
        None => BooleanBuffer::new_unset(column.rows),
    };
    match &column.lane {
        Lane::Float(values) if nan_as_null => &nulls | &mask::of(values, |value| value.is_nan()),
        _ => nulls,
    }
}

/// Rows with a value / rows. Without rows there is no share, and the rule fails.
pub(super) fn completeness(scan: &Scan, limits: &Limits) -> Checked<Finding> {
    let rows = scan.rows()?;
    figure((rows > 0).then(|| float(scan.present()) / float(rows)), limits)
}
