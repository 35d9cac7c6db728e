//! One rule on one column: which rows keep it, which break it, which have no value.
//!
//! Invariant: one pass over the column per rule, and never a conversion that could make two
//! different values equal (integers beyond 2^53 in ranges excepted, which are rounded).

use std::collections::{HashMap, HashSet};

use arrow_array::{Array, ArrayRef};
use arrow_row::{RowConverter, SortField};
use mlops_core::{Error, Result};

use super::rule::{Expectation, SetValue};
use crate::extract::{self, Level};

/// For each row: whether it keeps the rule, `None` without a value.
pub(crate) type Outcomes = Vec<Option<bool>>;

/// Evaluates a rule about rows. Rules about the whole batch have no outcomes.
///
/// # Errors
/// `InvalidArgument` when the rule does not fit the column's type.
pub(crate) fn outcomes(expectation: &Expectation, column: &ArrayRef) -> Result<Outcomes> {
    let Some(column) = extract::plain(column) else {
        return Err(Error::invalid_argument(format!("dictionary of type {} has broken keys", column.data_type())));
    };
    match expectation {
        Expectation::NotNull { nan_as_null, .. } => Ok(present(&column, *nan_as_null)),
        Expectation::InRange { min, max, .. } => {
            let (min, max) = (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY));
            let values = extract::numbers(&column).ok_or_else(|| unfit(&column, "a number"))?;
            Ok(values.into_iter().map(|value| value.map(|value| min <= value && value <= max)).collect())
        }
        Expectation::InSet { values, .. } => members(&column, values),
        Expectation::Unique { .. } => singles(&column),
        Expectation::ColumnPresent { .. } | Expectation::ColumnType { .. } | Expectation::RowCountBetween { .. } => {
            Ok(Vec::new())
        }
    }
}

fn unfit(column: &ArrayRef, wanted: &str) -> Error {
    Error::invalid_argument(format!("the rule needs {wanted}, the column is {}", column.data_type()))
}

fn present(column: &ArrayRef, nan_as_null: bool) -> Outcomes {
    let nulls = column.logical_nulls();
    let numbers = if nan_as_null && column.data_type().is_floating() { extract::numbers(column) } else { None };
    let is_nan = |row: usize| {
        let value = numbers.as_ref().and_then(|numbers| numbers.get(row).copied().flatten());
        value.is_some_and(f64::is_nan)
    };
    let is_null = |row: usize| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
    (0..column.len()).map(|row| Some(!is_null(row) && !is_nan(row))).collect()
}

fn members(column: &ArrayRef, values: &[SetValue]) -> Result<Outcomes> {
    if column.data_type().is_floating() {
        #[allow(clippy::cast_precision_loss, reason = "an integer that is no double equals no double in the column")]
        let allowed: Option<Vec<f64>> = values
            .iter()
            .map(|value| match value {
                SetValue::Float(value) => Some(*value),
                SetValue::Integer(value) => Some(*value as f64),
                SetValue::Bool(_) | SetValue::Text(_) => None,
            })
            .collect();
        let (Some(allowed), Some(numbers)) = (allowed, extract::numbers(column)) else {
            return Err(unfit(column, "a set of the column's type"));
        };
        return Ok(numbers.into_iter().map(|value| value.map(|value| allowed.contains(&value))).collect());
    }
    let Some(levels) = extract::row_levels(column) else { return Err(unfit(column, "text, booleans or numbers")) };
    let allowed: HashSet<Level<'_>> = values.iter().filter_map(level_of).collect();
    if allowed.len() < values.len() && values.iter().any(|value| level_of(value).is_none()) {
        return Err(unfit(column, "a set of the column's type"));
    }
    let mut wrong_type = false;
    let outcomes = levels
        .map(|level| {
            level.map(|level| {
                wrong_type |=
                    allowed.iter().any(|known| std::mem::discriminant(known) != std::mem::discriminant(&level));
                allowed.contains(&level)
            })
        })
        .collect();
    if wrong_type { Err(unfit(column, "a set of the column's type")) } else { Ok(outcomes) }
}

fn level_of(value: &SetValue) -> Option<Level<'_>> {
    match value {
        SetValue::Bool(value) => Some(Level::Bool(*value)),
        SetValue::Integer(value) => Some(Level::Integer(i128::from(*value))),
        SetValue::Text(text) => Some(Level::Text(text)),
        SetValue::Float(_) => None,
    }
}

fn singles(column: &ArrayRef) -> Result<Outcomes> {
    let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())]);
    let rows = converter.and_then(|converter| converter.convert_columns(std::slice::from_ref(column)))?;
    let nulls = column.logical_nulls();
    let has_value = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let mut counts: HashMap<&[u8], u32> = HashMap::with_capacity(column.len());
    for (row, key) in rows.iter().enumerate() {
        if has_value(row) {
            let count = counts.entry(key.data()).or_default();
            *count = count.saturating_add(1);
        }
    }
    Ok(rows.iter().enumerate().map(|(row, key)| has_value(row).then(|| counts.get(key.data()) == Some(&1))).collect())
}
