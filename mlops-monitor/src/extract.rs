//! From an Arrow column to a sample: the only place that knows Arrow's types.
//!
//! Invariant: never fails and never panics; a type without a comparison becomes an opaque sample,
//! of which the share of nulls is still known.

use std::collections::HashMap;

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{
        Date32Type, Date64Type, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
        Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
        UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
};
use arrow_schema::{DataType as ArrowType, TimeUnit};
use arrow_select::{concat::concat, take::take};
use mlops_core::DataType;

use crate::sample::{CategoricalSample, ColumnKind, ColumnSample, NumericSample};

/// The stable name of a column's type: core's where it has one (so that the large and view
/// layouts of text count as equal), Arrow's otherwise.
pub(crate) fn type_name(data_type: &ArrowType) -> String {
    match data_type {
        ArrowType::Dictionary(_, values) => type_name(values),
        other => DataType::from_arrow(other).map_or_else(|_| other.to_string(), |known| known.to_string()),
    }
}

/// Whether columns of this type hold whole numbers.
pub(crate) fn is_integer(data_type: &ArrowType) -> bool {
    match data_type {
        ArrowType::Dictionary(_, values) => is_integer(values),
        other => other.is_integer(),
    }
}

/// How columns of this type are compared when nothing is known about their values.
pub(crate) fn natural_kind(data_type: &ArrowType) -> ColumnKind {
    match data_type {
        ArrowType::Dictionary(_, values) => natural_kind(values),
        ArrowType::Decimal128(_, _) => ColumnKind::Numeric,
        ArrowType::Boolean | ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => ColumnKind::Categorical,
        other if other.is_integer() || other.is_floating() => ColumnKind::Numeric,
        _ => ColumnKind::Opaque,
    }
}

/// One column out of several batches, in order; `None` when a batch lacks it or types differ.
pub(crate) fn joined_column(batches: &[RecordBatch], name: &str) -> Option<ArrayRef> {
    let columns: Option<Vec<&ArrayRef>> = batches.iter().map(|batch| batch.column_by_name(name)).collect();
    let columns: Vec<&dyn Array> = columns?.into_iter().map(AsRef::as_ref).collect();
    concat(&columns).ok()
}

/// The sample of a column, compared as `kind`; opaque when its type does not allow that.
pub(crate) fn sample(column: &ArrayRef, kind: ColumnKind) -> ColumnSample {
    let Some(column) = plain(column) else { return opaque(column) };
    let nulls = column.logical_null_count() as u64;
    let sample = match kind {
        ColumnKind::Numeric => numbers(&column)
            .map(|values| ColumnSample::numeric(NumericSample::new(values.into_iter().flatten().collect()))),
        ColumnKind::Categorical => levels(&column).map(|counts| {
            let named = counts.into_iter().map(|(level, count)| (level.to_string(), count));
            ColumnSample::categorical(CategoricalSample::new(named))
        }),
        ColumnKind::Opaque => None,
    };
    sample.map_or_else(|| opaque(&column), |sample| sample.with_nulls(nulls))
}

fn opaque(column: &ArrayRef) -> ColumnSample {
    let nulls = column.logical_null_count();
    ColumnSample::opaque((column.len() - nulls) as u64).with_nulls(nulls as u64)
}

/// The column with dictionary values written out.
pub(crate) fn plain(column: &ArrayRef) -> Option<ArrayRef> {
    match column.as_any_dictionary_opt() {
        Some(dictionary) => take(dictionary.values(), dictionary.keys(), None).ok(),
        None => Some(ArrayRef::clone(column)),
    }
}

/// The values as doubles, row by row; `None` for a type that is not a number.
pub(crate) fn numbers(column: &ArrayRef) -> Option<Vec<Option<f64>>> {
    macro_rules! read {
        ($type:ty, $convert:expr) => {
            column.as_primitive::<$type>().iter().map(|value| value.map($convert)).collect()
        };
    }
    #[allow(clippy::cast_precision_loss, reason = "integers beyond 2^53 are rounded to the nearest double")]
    Some(match column.data_type() {
        ArrowType::Int8 => read!(Int8Type, f64::from),
        ArrowType::Int16 => read!(Int16Type, f64::from),
        ArrowType::Int32 => read!(Int32Type, f64::from),
        ArrowType::Int64 => read!(Int64Type, |value| value as f64),
        ArrowType::UInt8 => read!(UInt8Type, f64::from),
        ArrowType::UInt16 => read!(UInt16Type, f64::from),
        ArrowType::UInt32 => read!(UInt32Type, f64::from),
        ArrowType::UInt64 => read!(UInt64Type, |value| value as f64),
        ArrowType::Float16 => read!(Float16Type, |value| value.to_f64()),
        ArrowType::Float32 => read!(Float32Type, f64::from),
        ArrowType::Float64 => column.as_primitive::<Float64Type>().iter().collect(),
        ArrowType::Decimal128(_, scale) => {
            let unit = 10_f64.powi(i32::from(*scale));
            read!(Decimal128Type, |value| value as f64 / unit)
        }
        _ => return None,
    })
}

/// The values as microseconds since 1970 in UTC, row by row; `None` for a type that is not a point in time.
pub(crate) fn instants(column: &ArrayRef) -> Option<Vec<Option<i64>>> {
    macro_rules! read {
        ($type:ty, $convert:expr) => {
            column.as_primitive::<$type>().iter().map(|value| value.map($convert)).collect()
        };
    }
    Some(match column.data_type() {
        ArrowType::Timestamp(TimeUnit::Second, _) => read!(TimestampSecondType, |v| v.saturating_mul(1_000_000)),
        ArrowType::Timestamp(TimeUnit::Millisecond, _) => read!(TimestampMillisecondType, |v| v.saturating_mul(1_000)),
        ArrowType::Timestamp(TimeUnit::Microsecond, _) => read!(TimestampMicrosecondType, |v| v),
        ArrowType::Timestamp(TimeUnit::Nanosecond, _) => read!(TimestampNanosecondType, |v| v.div_euclid(1_000)),
        ArrowType::Date32 => read!(Date32Type, |v| i64::from(v).saturating_mul(86_400_000_000)),
        ArrowType::Date64 => read!(Date64Type, |v| v.saturating_mul(1_000)),
        _ => return None,
    })
}

/// A level before it has a name: text is borrowed, so counting allocates nothing per row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Level<'a> {
    Text(&'a str),
    Bool(bool),
    Integer(i128),
}

impl std::fmt::Display for Level<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
        }
    }
}

/// The values as levels, row by row; `None` for a type without levels.
pub(crate) fn row_levels(column: &ArrayRef) -> Option<Box<dyn Iterator<Item = Option<Level<'_>>> + '_>> {
    macro_rules! integers {
        ($type:ty) => {
            Box::new(column.as_primitive::<$type>().iter().map(|v| v.map(|v| Level::Integer(i128::from(v)))))
        };
    }
    Some(match column.data_type() {
        ArrowType::Utf8 => Box::new(column.as_string::<i32>().iter().map(|v| v.map(Level::Text))),
        ArrowType::LargeUtf8 => Box::new(column.as_string::<i64>().iter().map(|v| v.map(Level::Text))),
        ArrowType::Utf8View => Box::new(column.as_string_view().iter().map(|v| v.map(Level::Text))),
        ArrowType::Boolean => Box::new(column.as_boolean().iter().map(|v| v.map(Level::Bool))),
        ArrowType::Int8 => integers!(Int8Type),
        ArrowType::Int16 => integers!(Int16Type),
        ArrowType::Int32 => integers!(Int32Type),
        ArrowType::Int64 => integers!(Int64Type),
        ArrowType::UInt8 => integers!(UInt8Type),
        ArrowType::UInt16 => integers!(UInt16Type),
        ArrowType::UInt32 => integers!(UInt32Type),
        ArrowType::UInt64 => integers!(UInt64Type),
        _ => return None,
    })
}

fn levels(column: &ArrayRef) -> Option<HashMap<Level<'_>, u64>> {
    let mut counts = HashMap::new();
    for level in row_levels(column)?.flatten() {
        *counts.entry(level).or_default() += 1;
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int32Array, NullArray};

    use super::*;
    use crate::sample::Values;

    #[test]
    fn dictionaries_read_like_their_values() {
        let words: DictionaryArray<Int32Type> = [Some("a"), None, Some("b"), Some("a")].into_iter().collect();
        let column: ArrayRef = Arc::new(words);
        assert_eq!(natural_kind(column.data_type()), ColumnKind::Categorical);
        let sample = sample(&column, ColumnKind::Categorical);
        let Values::Categorical(values) = sample.values() else { panic!("{sample:?}") };
        assert_eq!(values.levels().collect::<Vec<_>>(), [("a", 2), ("b", 1)]);
        assert_eq!((sample.rows(), sample.nulls()), (4, 1));
    }

    #[test]
    fn numbers_keep_their_scale_and_their_gaps() {
        let decimals: ArrayRef =
            Arc::new(Decimal128Array::from(vec![Some(150), None]).with_precision_and_scale(5, 2).unwrap());
        assert_eq!(numbers(&decimals).unwrap(), [Some(1.5), None]);
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(1.0)]));
        let sample = sample(&floats, ColumnKind::Numeric);
        assert_eq!((sample.len(), sample.rows(), sample.nulls(), sample.missing()), (1, 3, 1, 2));
    }

    #[test]
    fn unfit_kinds_become_opaque() {
        for column in [Arc::new(NullArray::new(3)) as ArrayRef, Arc::new(BooleanArray::from(vec![true; 3]))] {
            assert_eq!(sample(&column, ColumnKind::Numeric).kind(), ColumnKind::Opaque);
        }
        let integers: ArrayRef = Arc::new(Int32Array::from(vec![1, 1, 2]));
        assert_eq!(sample(&integers, ColumnKind::Categorical).len(), 3);
    }
}
