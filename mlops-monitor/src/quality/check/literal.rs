//! Literals of rules in the units of a column: intervals and sets that kernels compare with.
//!
//! Invariant: a literal of another kind than the column is an exception, never a cast.

use ahash::{HashSet, RandomState};
use arrow_buffer::BooleanBuffer;
use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::{
    column::{Column, Lane, Meaning, with_text},
    exception::{Checked, RuleException},
    mask,
};
use crate::quality::{
    expectation::Limits,
    value::{Decimal, SetValue, Units},
};

/// Sets up to this size are searched one by one.
const LINEAR_MAX: usize = 8;

/// The rows whose value lies within the limits; meaningless where there is no value.
pub(super) fn within(column: &Column, limits: &Limits) -> Checked<BooleanBuffer> {
    match &column.lane {
        Lane::Int(values, meaning) => {
            let (low, high) = integer_interval(column, *meaning, limits)?;
            let clamp = |end: i128| end.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
            if low > i128::from(i64::MAX) || high < i128::from(i64::MIN) {
                return Ok(BooleanBuffer::new_unset(values.len()));
            }
            let narrow = |end: i128| i64::try_from(clamp(end)).unwrap_or(0);
            let (low, high) = (narrow(low), narrow(high));
            Ok(mask::of(values, |value| (low..=high).contains(value)))
        }
        Lane::Wide(values, meaning) => {
            let (low, high) = integer_interval(column, *meaning, limits)?;
            Ok(mask::of(values, |value| (low..=high).contains(value)))
        }
        Lane::Float(values) => {
            let end = |end: &Option<SetValue>, open: f64| match end {
                Some(value) => value.as_f64().ok_or_else(|| column.unfit(&wanted(value))),
                None => Ok(open),
            };
            let (low, high) = (end(&limits.min, f64::NEG_INFINITY)?, end(&limits.max, f64::INFINITY)?);
            Ok(match (limits.strict_min, limits.strict_max) {
                (false, false) => mask::of(values, |value| low <= *value && *value <= high),
                (true, false) => mask::of(values, |value| low < *value && *value <= high),
                (false, true) => mask::of(values, |value| low <= *value && *value < high),
                (true, true) => mask::of(values, |value| low < *value && *value < high),
            })
        }
        Lane::Text(text) => {
            let (low, high) = (text_end(column, limits.min.as_ref())?, text_end(column, limits.max.as_ref())?);
            let fits = |value: &str| {
                low.is_none_or(|low| if limits.strict_min { low < value } else { low <= value })
                    && high.is_none_or(|high| if limits.strict_max { value < high } else { value <= high })
            };
            Ok(with_text!(text, array => BooleanBuffer::collect_bool(column.rows, |row| fits(array.value(row)))))
        }
        Lane::Bool(_) | Lane::Opaque(_) => Err(column.unfit("values that have an order")),
    }
}

fn text_end<'a>(column: &Column, end: Option<&'a SetValue>) -> Checked<Option<&'a str>> {
    match end {
        None => Ok(None),
        Some(SetValue::Text(text)) => Ok(Some(text)),
        Some(other) => Err(column.unfit(&wanted(other))),
    }
}

fn wanted(value: &SetValue) -> String {
    let kind = match value {
        SetValue::Bool(_) => "a boolean",
        SetValue::Integer(_) | SetValue::Float(_) => "a number",
        SetValue::Text(_) => "text or a time",
    };
    format!("{kind} for its bounds")
}

/// The limits as an inclusive interval of whole units.
fn integer_interval(column: &Column, meaning: Meaning, limits: &Limits) -> Checked<(i128, i128)> {
    let units = |end: &SetValue| units(meaning, end).ok_or_else(|| column.unfit(&wanted(end)));
    let low = match &limits.min {
        None => i128::MIN,
        Some(end) => match units(end)? {
            Units { floor, exact: true } if !limits.strict_min => floor,
            Units { floor, .. } => floor.saturating_add(1),
        },
    };
    let high = match &limits.max {
        None => i128::MAX,
        Some(end) => match units(end)? {
            Units { floor, exact: true } if limits.strict_max => floor.saturating_sub(1),
            Units { floor, .. } => floor,
        },
    };
    Ok((low, high))
}

/// A literal in the units of a lane; `None` when it is of another kind.
pub(super) fn units(meaning: Meaning, value: &SetValue) -> Option<Units> {
    const NANOS: i128 = 1_000_000_000;
    match (meaning, value) {
        (Meaning::Number { scale: 0 }, SetValue::Text(_)) | (Meaning::Ticks { .. }, SetValue::Text(_)) => None,
        (Meaning::Number { scale }, value) => Some(Decimal::of(value)?.units(scale)),
        (Meaning::Ticks { .. }, value) => Some(Decimal::of(value)?.units(0)),
        (Meaning::Days, SetValue::Text(text)) => Some(divided(nanos(text)?, 86_400 * NANOS)),
        (Meaning::Instant { per_second, .. }, SetValue::Text(text)) => {
            Some(divided(nanos(text)?, NANOS.checked_div(per_second)?))
        }
        (Meaning::Days | Meaning::Instant { .. }, _) => None,
    }
}

fn divided(nanos: i128, unit: i128) -> Units {
    Units { floor: nanos.div_euclid(unit), exact: nanos.rem_euclid(unit) == 0 }
}

/// ISO 8601 text as nanoseconds since the epoch; without an offset it is taken for UTC.
fn nanos(text: &str) -> Option<i128> {
    let time = match text.parse::<NaiveDate>() {
        Ok(date) => date.and_hms_opt(0, 0, 0)?,
        Err(_) => match DateTime::parse_from_rfc3339(text) {
            Ok(time) => time.naive_utc(),
            Err(_) => ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
                .iter()
                .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?,
        },
    }
    .and_utc();
    Some(i128::from(time.timestamp()) * 1_000_000_000 + i128::from(time.timestamp_subsec_nanos()))
}

/// A set of literals in the units of a column.
#[derive(Debug)]
pub(super) enum Members {
    Int(Set<i64>),
    Wide(Set<i128>),
    Float(Set<u64>),
    Bool { yes: bool, no: bool },
    Text(TextSet),
}

/// A small list or a hash set.
#[derive(Debug)]
pub(super) enum Set<T> {
    Few(Vec<T>),
    Many(HashSet<T>),
}

/// Text, parted by length first.
#[derive(Debug)]
pub(super) enum TextSet {
    Few(Vec<Box<str>>),
    Many(HashSet<Box<str>>),
}

impl<T: Copy + Eq + std::hash::Hash> Set<T> {
    fn new(values: Vec<T>) -> Self {
        if values.len() <= LINEAR_MAX { Self::Few(values) } else { Self::Many(hashed(values)) }
    }

    fn mask<V>(&self, values: &[V], key: impl Fn(&V) -> T) -> BooleanBuffer {
        match self {
            // Without an early end, so that the compiler can do several at once.
            Self::Few(few) => mask::of(values, |value| {
                let key = key(value);
                few.iter().fold(false, |found, member| found | (*member == key))
            }),
            Self::Many(many) => mask::of(values, |value| many.contains(&key(value))),
        }
    }
}

fn hashed<T: Eq + std::hash::Hash>(values: Vec<T>) -> HashSet<T> {
    let mut set = HashSet::with_capacity_and_hasher(values.len(), RandomState::new());
    set.extend(values);
    set
}

impl TextSet {
    fn contains(&self, text: &str) -> bool {
        match self {
            Self::Few(few) => few.iter().any(|member| **member == *text),
            Self::Many(many) => many.contains(text),
        }
    }
}

/// One bit pattern per number: both zeros are one, every NaN is one.
pub(super) fn canonical(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    }
}

impl Members {
    /// # Errors
    /// When a literal is of another kind than the column.
    pub(super) fn new(column: &Column, values: &[SetValue]) -> Checked<Self> {
        let unfit = || column.unfit("a set of the column's type");
        match &column.lane {
            Lane::Int(_, meaning) => {
                let units = integers(*meaning, values).ok_or_else(unfit)?;
                Ok(Self::Int(Set::new(units.into_iter().filter_map(|unit| i64::try_from(unit).ok()).collect())))
            }
            Lane::Wide(_, meaning) => Ok(Self::Wide(Set::new(integers(*meaning, values).ok_or_else(unfit)?))),
            Lane::Float(_) => {
                let bits: Option<Vec<u64>> = values.iter().map(|value| value.as_f64().map(canonical)).collect();
                Ok(Self::Float(Set::new(bits.ok_or_else(unfit)?)))
            }
            Lane::Bool(_) => {
                let known: Option<Vec<bool>> = values
                    .iter()
                    .map(|value| if let SetValue::Bool(value) = value { Some(*value) } else { None })
                    .collect();
                let known = known.ok_or_else(unfit)?;
                Ok(Self::Bool { yes: known.contains(&true), no: known.contains(&false) })
            }
            Lane::Text(_) => {
                let texts: Option<Vec<Box<str>>> = values
                    .iter()
                    .map(|value| if let SetValue::Text(text) = value { Some(text.as_str().into()) } else { None })
                    .collect();
                let texts = texts.ok_or_else(unfit)?;
                let few = texts.len() <= LINEAR_MAX;
                Ok(Self::Text(if few { TextSet::Few(texts) } else { TextSet::Many(hashed(texts)) }))
            }
            Lane::Opaque(_) => Err(column.unfit("text, booleans, times or numbers")),
        }
    }

    /// The rows whose value is a member; meaningless where there is no value. NaN is no member.
    pub(super) fn mask(&self, column: &Column) -> Checked<BooleanBuffer> {
        match (self, &column.lane) {
            (Self::Int(set), Lane::Int(values, _)) => Ok(set.mask(values, |value| *value)),
            (Self::Wide(set), Lane::Wide(values, _)) => Ok(set.mask(values, |value| *value)),
            (Self::Float(set), Lane::Float(values)) => Ok(set.mask(values, |value| canonical(*value))),
            (Self::Bool { yes, no }, Lane::Bool(values)) => Ok(match (yes, no) {
                (true, true) => BooleanBuffer::new_set(column.rows),
                (true, false) => values.clone(),
                (false, true) => !values,
                (false, false) => BooleanBuffer::new_unset(column.rows),
            }),
            (Self::Text(set), Lane::Text(text)) => Ok(
                with_text!(text, array => BooleanBuffer::collect_bool(column.rows, |row| set.contains(array.value(row)))),
            ),
            _ => Err(column.unfit("the type of the first batch")),
        }
    }
}

/// Set members in whole units; `None` when one is of another kind. A whole number is no member of
/// another kind than an integer, so a float among integers is a mistake; decimals take all numbers,
/// and one that the scale cannot hold equals no value.
fn integers(meaning: Meaning, values: &[SetValue]) -> Option<Vec<i128>> {
    let whole = meaning == Meaning::Number { scale: 0 };
    let units = values.iter().map(|value| match value {
        SetValue::Float(_) if whole => None,
        value => units(meaning, value),
    });
    let units: Option<Vec<Units>> = units.collect();
    Some(units?.into_iter().filter(|unit| unit.exact).map(|unit| unit.floor).collect())
}

/// The exception of a set that no longer fits, for callers that keep one between batches.
pub(super) fn members<'a>(
    kept: &'a mut Option<(arrow_schema::DataType, Members)>,
    column: &Column,
    values: &[SetValue],
) -> Result<&'a Members, RuleException> {
    if kept.as_ref().is_none_or(|(data_type, _)| *data_type != column.data_type) {
        *kept = Some((column.data_type.clone(), Members::new(column, values)?));
    }
    match kept {
        Some((_, members)) => Ok(members),
        None => Err(column.unfit("a set")),
    }
}
