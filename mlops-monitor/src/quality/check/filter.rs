//! Conditions evaluated to masks, in SQL's three-valued logic.

use arrow_buffer::BooleanBuffer;

use super::{exception::Checked, frame::Frame, literal};
use crate::quality::{
    condition::{Comparison, Condition},
    expectation::Limits,
    value::SetValue,
};

/// Rows where a condition is true and where it is false; unknown in neither.
struct Truth {
    yes: BooleanBuffer,
    no: BooleanBuffer,
}

/// The rows where a condition is true.
pub(super) fn rows(condition: &Condition, frame: &Frame<'_>) -> Checked<BooleanBuffer> {
    truth(condition, frame).map(|truth| truth.yes)
}

fn truth(condition: &Condition, frame: &Frame<'_>) -> Checked<Truth> {
    match condition {
        Condition::Compare { column, comparison, value } => compare(column, *comparison, value, frame),
        Condition::In { column, values } => member(column, values, frame),
        Condition::IsNull { column } => {
            let column = frame.column(column)?;
            let no = match &column.valid {
                Some(valid) => valid.inner().clone(),
                None => BooleanBuffer::new_set(column.rows),
            };
            Ok(Truth { yes: !&no, no })
        }
        Condition::And(parts) => {
            let start = Truth { yes: BooleanBuffer::new_set(frame.rows()), no: BooleanBuffer::new_unset(frame.rows()) };
            parts.iter().try_fold(start, |all, part| {
                let part = truth(part, frame)?;
                Ok(Truth { yes: &all.yes & &part.yes, no: &all.no | &part.no })
            })
        }
        Condition::Or(parts) => {
            let start = Truth { yes: BooleanBuffer::new_unset(frame.rows()), no: BooleanBuffer::new_set(frame.rows()) };
            parts.iter().try_fold(start, |any, part| {
                let part = truth(part, frame)?;
                Ok(Truth { yes: &any.yes | &part.yes, no: &any.no & &part.no })
            })
        }
        Condition::Not(inner) => truth(inner, frame).map(|truth| Truth { yes: truth.no, no: truth.yes }),
    }
}

fn member(name: &str, values: &[SetValue], frame: &Frame<'_>) -> Checked<Truth> {
    let column = frame.column(name)?;
    known(frame, name, || literal::Members::new(&column, values)?.mask(&column))
}

fn compare(name: &str, comparison: Comparison, value: &SetValue, frame: &Frame<'_>) -> Checked<Truth> {
    let column = frame.column(name)?;
    let limits = |min: bool, strict: bool| {
        let end = |wanted: bool| wanted.then(|| value.clone());
        Limits { column: name.to_owned(), min: end(min), max: end(!min), strict_min: strict, strict_max: strict }
    };
    let within = |min, strict| known(frame, name, || literal::within(&column, &limits(min, strict)));
    match comparison {
        Comparison::Equal => member(name, std::slice::from_ref(value), frame),
        Comparison::NotEqual => {
            member(name, std::slice::from_ref(value), frame).map(|truth| Truth { yes: truth.no, no: truth.yes })
        }
        Comparison::Less => within(false, true),
        Comparison::LessOrEqual => within(false, false),
        Comparison::Greater => within(true, true),
        Comparison::GreaterOrEqual => within(true, false),
    }
}

/// The test, true or false where the column has a value.
fn known(frame: &Frame<'_>, name: &str, test: impl FnOnce() -> Checked<BooleanBuffer>) -> Checked<Truth> {
    let column = frame.column(name)?;
    let nowhere = || BooleanBuffer::new_unset(column.rows);
    match &column.valid {
        None => test().map(|yes| Truth { no: !&yes, yes }),
        Some(valid) if valid.null_count() == column.rows => Ok(Truth { yes: nowhere(), no: nowhere() }),
        Some(valid) => test().map(|yes| Truth { yes: &yes & valid.inner(), no: &!&yes & valid.inner() }),
    }
}
