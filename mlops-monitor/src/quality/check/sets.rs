//! Membership: `in_set`, `not_in_set`, and rules about the set of distinct values.

use arrow_buffer::BooleanBuffer;
use arrow_schema::DataType as ArrowType;
use serde_json::{Value as Json, json};

use super::{
    EXAMPLES_MAX, Finding,
    column::Column,
    exception::{Checked, ExceptionKind, RuleException},
    literal::{self, Members},
    rows::Predicate,
    scan::Scan,
};
use crate::{
    quality::{expectation::Expectation, value::SetValue},
    stats::count_of,
};

/// `in_set` and `not_in_set`.
#[derive(Debug)]
pub(super) struct Membership {
    values: Vec<SetValue>,
    wanted: bool,
    members: Option<(ArrowType, Members)>,
}

impl Membership {
    pub(super) fn new(values: &[SetValue], wanted: bool) -> Self {
        Self { values: values.to_vec(), wanted, members: None }
    }
}

impl Predicate for Membership {
    fn passes(&mut self, column: &Column, _: Option<&BooleanBuffer>) -> Checked<BooleanBuffer> {
        let inside = literal::members(&mut self.members, column, &self.values)?.mask(column)?;
        Ok(if self.wanted { inside } else { !&inside })
    }
}

/// Rules about the set of distinct values.
pub(super) fn judge(scan: &Scan, expectation: &Expectation) -> Checked<Option<Finding>> {
    let (Expectation::DistinctEqualSet { values, .. }
    | Expectation::DistinctContainSet { values, .. }
    | Expectation::DistinctInSet { values, .. }
    | Expectation::MostCommonInSet { values, .. }) = expectation
    else {
        return Ok(None);
    };
    let counter = scan.counter()?;
    let counts = values
        .iter()
        .enumerate()
        // A value that is listed twice is one value.
        .filter(|(index, value)| !values.iter().take(*index).any(|before| same(before, value)))
        .map(|(_, value)| counter.count_of_literal(value).ok_or_else(wrong_set))
        .collect::<Checked<Vec<u64>>>()?;
    let occurring = count_of(counts.iter().filter(|count| **count > 0).count());
    let missing = count_of(counts.len()) - occurring;
    let outside = counter.distinct() - occurring;
    let success = match expectation {
        Expectation::DistinctEqualSet { .. } => missing == 0 && outside == 0,
        Expectation::DistinctContainSet { .. } => missing == 0,
        Expectation::MostCommonInSet { ties_okay, .. } => return Ok(Some(most_common(scan, &counts, *ties_okay)?)),
        _ => outside == 0,
    };
    let detail = format!("{missing} values of the set do not occur, {outside} distinct values are outside it");
    Ok(Some(Finding::of_values(success, counter.examples(EXAMPLES_MAX).into()).with_detail(detail)))
}

fn same(a: &SetValue, b: &SetValue) -> bool {
    a == b || a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| a == b)
}

fn wrong_set() -> RuleException {
    RuleException::new(ExceptionKind::UnsupportedType, "the rule needs a set of the column's type")
}

/// Modes are values with the greatest count. Without values there is none, and the rule fails.
fn most_common(scan: &Scan, counts: &[u64], ties_okay: bool) -> Checked<Finding> {
    let counter = scan.counter()?;
    let most = counter.tallies().map(|tally| tally.count).max().unwrap_or(0);
    let modes = count_of(counter.tallies().filter(|tally| tally.count == most).count());
    let inside = if most == 0 { 0 } else { count_of(counts.iter().filter(|count| **count == most).count()) };
    let success = inside > 0 && (ties_okay || modes == 1);
    let observed: Json = json!({ "modes": modes, "modes_in_set": inside, "count": most });
    Ok(Finding::of_figure(success, observed))
}
