//! What a column of reference data looked like, for suggesting rules.

use arrow_array::RecordBatch;

use super::{
    column::{Kind, Lane, Meaning, with_text},
    exception::Checked,
    frame::Frame,
    mask,
    scan::{Needs, Scan},
};
use crate::{
    extract::type_name,
    quality::{settings::ValidationSettings, value::SetValue},
};

/// One column of reference data.
#[derive(Debug)]
pub(in crate::quality) struct ColumnFacts {
    pub(in crate::quality) name: String,
    pub(in crate::quality) data_type: String,
    pub(in crate::quality) rows: u64,
    pub(in crate::quality) present: u64,
    /// Distinct values; `None` when there are too many to count.
    pub(in crate::quality) distinct: Option<u64>,
    /// The distinct values of text, booleans and integers, when there are few.
    pub(in crate::quality) levels: Vec<SetValue>,
    /// Least and greatest number; `None` for other types and when one is NaN.
    pub(in crate::quality) range: Option<(f64, f64)>,
    /// Whether the numbers are whole.
    pub(in crate::quality) whole: bool,
    /// Shortest and longest text in characters.
    pub(in crate::quality) lengths: Option<(u64, u64)>,
}

/// The facts of every column, in the order of the first batch.
///
/// # Errors
/// When a column cannot be read, or is missing in a later batch.
pub(in crate::quality) fn facts(
    batches: &[RecordBatch],
    levels_max: usize,
    settings: &ValidationSettings,
) -> Checked<Vec<ColumnFacts>> {
    let Some(first) = batches.first() else { return Ok(Vec::new()) };
    let fields = first.schema_ref().fields().iter();
    fields
        .map(|field| column_facts(batches, field.name(), type_name(field.data_type()), levels_max, settings))
        .collect()
}

fn column_facts(
    batches: &[RecordBatch],
    name: &str,
    data_type: String,
    levels_max: usize,
    settings: &ValidationSettings,
) -> Checked<ColumnFacts> {
    let mut scan = Scan::new(name, None, settings);
    scan.add_needs(Needs { counts: true, extrema: true, ..Needs::default() }, settings);
    let (mut lengths, mut kind, mut whole): (Option<(u64, u64)>, _, _) = (None, None, false);
    for batch in batches {
        let frame = Frame::new(batch, 0, settings, &[]);
        scan.observe(&frame);
        let column = frame.column(name)?;
        kind = Some(column.kind());
        whole = matches!(
            column.lane,
            Lane::Int(_, Meaning::Number { scale: 0 }) | Lane::Wide(_, Meaning::Number { scale: 0 })
        );
        if let Lane::Text(text) = &column.lane {
            let counted = column.counted(None);
            with_text!(text, array => for row in mask::rows(counted.as_ref(), column.rows) {
                let length = array.value(row).chars().count() as u64;
                lengths = Some(lengths.map_or((length, length), |(min, max)| (min.min(length), max.max(length))));
            });
        }
    }
    let rows = scan.rows()?;
    let counter = scan.counter().ok();
    let distinct = counter.map(super::distinct::Counter::distinct);
    let named = matches!(kind, Some(Kind::Text | Kind::Bool)) || whole;
    let few = distinct.is_some_and(|distinct| distinct <= levels_max as u64) && named;
    let levels = counter.filter(|_| few).map_or_else(Vec::new, |counter| counter.examples(levels_max));
    let levels: Option<Vec<SetValue>> = levels.into_iter().map(|level| serde_json::from_value(level).ok()).collect();
    let end = |column: &super::column::Column| column.doubles().ok().and_then(|values| values.first().copied());
    let range = scan.extrema().ok().flatten().and_then(|found| Some((end(&found.least)?, end(&found.greatest)?)));
    let range = range.filter(|(least, greatest)| !least.is_nan() && !greatest.is_nan());
    let (name, levels) = (name.to_owned(), levels.unwrap_or_default());
    Ok(ColumnFacts { name, data_type, rows, present: scan.present(), distinct, levels, range, whole, lengths })
}
