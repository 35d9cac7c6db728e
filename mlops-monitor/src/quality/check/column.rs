//! A column of one batch in one of a few lanes, whatever its Arrow type: what every kernel reads.
//!
//! Invariant: a lane holds the exact values. Integers, dates, times and narrow decimals are 64-bit
//! integers, wide decimals and unsigned 64-bit integers are 128-bit ones, floats are doubles;
//! nothing is rounded. Slots without a value hold something, and `valid` says so.

use std::cell::OnceCell;

use arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, LargeStringArray, StringArray, StringViewArray,
    cast::AsArray,
    types::{
        Date32Type, Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DurationMicrosecondType,
        DurationMillisecondType, DurationNanosecondType, DurationSecondType, Float16Type, Float32Type, Float64Type,
        Int8Type, Int16Type, Int32Type, Int64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
        Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use arrow_buffer::{BooleanBuffer, NullBuffer, ScalarBuffer, i256};
use arrow_schema::{DataType as ArrowType, TimeUnit};

use super::{
    exception::{Checked, ExceptionKind, RuleException},
    mask,
};
use crate::{extract, quality::result::Counts, stats::count_of};

/// What the integers of a lane mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A number in units of `10^-scale`; a whole number for scale 0.
    Number { scale: i32 },
    /// Days since the epoch.
    Days,
    /// Ticks since the epoch, so many per second; local time when not `utc`.
    Instant { per_second: i128, utc: bool },
    /// Ticks since midnight, or a length of time; compared with nothing but itself.
    Ticks { per_second: i128 },
}

/// Text in one of Arrow's three layouts.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Small(StringArray),
    Large(LargeStringArray),
    View(StringViewArray),
}

/// Runs one kernel on any layout of text.
macro_rules! with_text {
    ($text:expr, $array:ident => $body:expr) => {
        match $text {
            $crate::quality::check::column::Text::Small($array) => $body,
            $crate::quality::check::column::Text::Large($array) => $body,
            $crate::quality::check::column::Text::View($array) => $body,
        }
    };
}
pub(super) use with_text;

#[derive(Debug)]
pub(super) enum Lane {
    Int(ScalarBuffer<i64>, Meaning),
    Wide(Vec<i128>, Meaning),
    Float(ScalarBuffer<f64>),
    Bool(BooleanBuffer),
    Text(Text),
    /// Nested values, bytes, intervals: known by identity and presence only.
    Opaque(ArrayRef),
}

/// A column of one batch.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) lane: Lane,
    pub(super) valid: Option<NullBuffer>,
    pub(super) rows: usize,
    /// The Arrow type, for messages.
    pub(super) data_type: ArrowType,
    doubles: OnceCell<Option<ScalarBuffer<f64>>>,
}

impl Column {
    pub(super) fn read(array: &ArrayRef, nan_as_null: bool) -> Checked<Self> {
        let plain = extract::plain(array).ok_or_else(|| {
            let found = array.data_type();
            RuleException::new(ExceptionKind::Unreadable, format!("dictionary of type {found} has broken keys"))
        })?;
        let lane = lane(&plain);
        let nulls = plain.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let valid = match &lane {
            Lane::Float(values) if nan_as_null => without_nan(values, nulls.as_ref()),
            _ => nulls,
        };
        let data_type = plain.data_type().clone();
        Ok(Self { lane, valid, rows: plain.len(), data_type, doubles: OnceCell::new() })
    }

    /// One value, to be compared with limits or shown.
    pub(super) fn single(lane: Lane, data_type: ArrowType) -> Self {
        Self { lane, valid: None, rows: 1, data_type, doubles: OnceCell::new() }
    }

    /// Rows with a value that a filter keeps; `None` when that is every row.
    pub(super) fn counted(&self, filter: Option<&BooleanBuffer>) -> Option<BooleanBuffer> {
        mask::counted(self.valid.as_ref(), filter)
    }

    /// Adds the rows of this batch that a filter keeps, and those without a value, to the counts. Gives the rows with a
    /// value as [`Column::counted`], and how many rows and values there are.
    pub(super) fn count(
        &self,
        filter: Option<&BooleanBuffer>,
        counts: &mut Counts,
    ) -> (Option<BooleanBuffer>, usize, usize) {
        let counted = self.counted(filter);
        let elements = filter.map_or(self.rows, BooleanBuffer::count_set_bits);
        let present = counted.as_ref().map_or(self.rows, BooleanBuffer::count_set_bits);
        counts.element_count += count_of(elements);
        counts.missing_count += count_of(elements - present);
        (counted, elements, present)
    }

    /// The lane's kind, which must not change between batches.
    pub(super) fn kind(&self) -> Kind {
        match &self.lane {
            Lane::Int(_, meaning) | Lane::Wide(_, meaning) => match meaning {
                Meaning::Number { .. } => Kind::Number,
                Meaning::Days => Kind::Days,
                Meaning::Instant { utc, .. } => Kind::Instant { utc: *utc },
                Meaning::Ticks { .. } => Kind::Ticks,
            },
            Lane::Float(_) => Kind::Float,
            Lane::Bool(_) => Kind::Bool,
            Lane::Text(_) => Kind::Text,
            Lane::Opaque(_) => Kind::Opaque,
        }
    }

    /// The values as doubles, when they are numbers; rounded beyond 2^53.
    #[allow(clippy::cast_precision_loss, reason = "statistics of numbers are in doubles")]
    pub(super) fn doubles(&self) -> Checked<&[f64]> {
        let unit = |scale: &i32| 10_f64.powi(*scale);
        let doubles = self.doubles.get_or_init(|| match &self.lane {
            Lane::Float(values) => Some(values.clone()),
            Lane::Int(values, Meaning::Number { scale: 0 }) => Some(values.iter().map(|value| *value as f64).collect()),
            Lane::Int(values, Meaning::Number { scale }) => {
                Some(values.iter().map(|value| *value as f64 / unit(scale)).collect())
            }
            Lane::Wide(values, Meaning::Number { scale }) => {
                Some(values.iter().map(|value| *value as f64 / unit(scale)).collect())
            }
            _ => None,
        });
        match doubles {
            Some(doubles) => Ok(doubles),
            // A column of nothing but nulls has no values to be of the wrong type.
            None if self.data_type == ArrowType::Null => Ok(&[]),
            None => Err(self.unfit("a number")),
        }
    }

    pub(super) fn text(&self) -> Checked<&Text> {
        match &self.lane {
            Lane::Text(text) => Ok(text),
            _ => Err(self.unfit("text")),
        }
    }

    pub(super) fn unfit(&self, wanted: &str) -> RuleException {
        RuleException::unsupported(wanted, &self.data_type)
    }
}

/// What can be compared with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    Days,
    Instant { utc: bool },
    Ticks,
    Float,
    Bool,
    Text,
    Opaque,
}

fn without_nan(values: &[f64], nulls: Option<&NullBuffer>) -> Option<NullBuffer> {
    let numbers = mask::of(values, |value| !value.is_nan());
    let numbers = mask::and(&numbers, nulls.map(NullBuffer::inner));
    Some(NullBuffer::new(numbers)).filter(|nulls| nulls.null_count() > 0)
}

fn ints<T: ArrowPrimitiveType>(array: &ArrayRef, meaning: Meaning) -> Lane
where
    i64: From<T::Native>,
{
    Lane::Int(array.as_primitive::<T>().values().iter().map(|value| i64::from(*value)).collect(), meaning)
}

fn longs<T: ArrowPrimitiveType<Native = i64>>(array: &ArrayRef, meaning: Meaning) -> Lane {
    Lane::Int(array.as_primitive::<T>().values().clone(), meaning)
}

fn lane(array: &ArrayRef) -> Lane {
    let whole = Meaning::Number { scale: 0 };
    let number = |scale: i8| Meaning::Number { scale: i32::from(scale) };
    let ticks = |unit: &TimeUnit| Meaning::Ticks { per_second: per_second(*unit) };
    match array.data_type() {
        ArrowType::Int8 => ints::<Int8Type>(array, whole),
        ArrowType::Int16 => ints::<Int16Type>(array, whole),
        ArrowType::Int32 => ints::<Int32Type>(array, whole),
        ArrowType::Int64 => longs::<Int64Type>(array, whole),
        ArrowType::UInt8 => ints::<UInt8Type>(array, whole),
        ArrowType::UInt16 => ints::<UInt16Type>(array, whole),
        ArrowType::UInt32 => ints::<UInt32Type>(array, whole),
        ArrowType::UInt64 => Lane::Wide(
            array.as_primitive::<UInt64Type>().values().iter().map(|value| i128::from(*value)).collect(),
            whole,
        ),
        ArrowType::Float16 => {
            Lane::Float(array.as_primitive::<Float16Type>().values().iter().map(|value| value.to_f64()).collect())
        }
        ArrowType::Float32 => {
            Lane::Float(array.as_primitive::<Float32Type>().values().iter().map(|value| f64::from(*value)).collect())
        }
        ArrowType::Float64 => Lane::Float(array.as_primitive::<Float64Type>().values().clone()),
        ArrowType::Decimal32(_, scale) => ints::<Decimal32Type>(array, number(*scale)),
        ArrowType::Decimal64(_, scale) => longs::<Decimal64Type>(array, number(*scale)),
        ArrowType::Decimal128(_, scale) => {
            Lane::Wide(array.as_primitive::<Decimal128Type>().values().to_vec(), number(*scale))
        }
        ArrowType::Decimal256(_, scale) => wide_decimals(array, number(*scale)),
        ArrowType::Boolean => Lane::Bool(array.as_boolean().values().clone()),
        ArrowType::Utf8 => Lane::Text(Text::Small(array.as_string::<i32>().clone())),
        ArrowType::LargeUtf8 => Lane::Text(Text::Large(array.as_string::<i64>().clone())),
        ArrowType::Utf8View => Lane::Text(Text::View(array.as_string_view().clone())),
        ArrowType::Date32 => ints::<Date32Type>(array, Meaning::Days),
        ArrowType::Date64 => longs::<Date64Type>(array, Meaning::Instant { per_second: 1_000, utc: false }),
        ArrowType::Timestamp(unit, zone) => {
            let meaning = Meaning::Instant { per_second: per_second(*unit), utc: zone.is_some() };
            match unit {
                TimeUnit::Second => longs::<TimestampSecondType>(array, meaning),
                TimeUnit::Millisecond => longs::<TimestampMillisecondType>(array, meaning),
                TimeUnit::Microsecond => longs::<TimestampMicrosecondType>(array, meaning),
                TimeUnit::Nanosecond => longs::<TimestampNanosecondType>(array, meaning),
            }
        }
        ArrowType::Time32(unit @ TimeUnit::Second) => ints::<Time32SecondType>(array, ticks(unit)),
        ArrowType::Time32(unit @ TimeUnit::Millisecond) => ints::<Time32MillisecondType>(array, ticks(unit)),
        ArrowType::Time64(unit @ TimeUnit::Microsecond) => longs::<Time64MicrosecondType>(array, ticks(unit)),
        ArrowType::Time64(unit @ TimeUnit::Nanosecond) => longs::<Time64NanosecondType>(array, ticks(unit)),
        ArrowType::Duration(unit) => match unit {
            TimeUnit::Second => longs::<DurationSecondType>(array, ticks(unit)),
            TimeUnit::Millisecond => longs::<DurationMillisecondType>(array, ticks(unit)),
            TimeUnit::Microsecond => longs::<DurationMicrosecondType>(array, ticks(unit)),
            TimeUnit::Nanosecond => longs::<DurationNanosecondType>(array, ticks(unit)),
        },
        _ => Lane::Opaque(ArrayRef::clone(array)),
    }
}

fn per_second(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Decimals of 256 bits, when all present values fit 128.
fn wide_decimals(array: &ArrayRef, meaning: Meaning) -> Lane {
    let decimals = array.as_primitive::<Decimal256Type>();
    let narrow = |(row, value): (usize, &i256)| if decimals.is_null(row) { Some(0) } else { value.to_i128() };
    match decimals.values().iter().enumerate().map(narrow).collect() {
        Some(values) => Lane::Wide(values, meaning),
        None => Lane::Opaque(ArrayRef::clone(array)),
    }
}
