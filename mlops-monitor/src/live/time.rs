//! The time of each row, from a column of Arrow timestamps.

use arrow_array::{
    Array, ArrayRef,
    cast::AsArray,
    types::{
        ArrowTimestampType, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
};
use arrow_schema::{DataType, TimeUnit};
use mlops_core::Timestamp;

/// Times row by row; `None` for a row without one, or for all when the column holds no timestamps.
pub(super) fn times(column: &ArrayRef) -> Vec<Option<Timestamp>> {
    match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => read::<TimestampSecondType>(column, |v| v.checked_mul(1_000_000)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            read::<TimestampMillisecondType>(column, |v| v.checked_mul(1_000))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => read::<TimestampMicrosecondType>(column, Some),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            read::<TimestampNanosecondType>(column, |v| Some(v.div_euclid(1_000)))
        }
        _ => vec![None; column.len()],
    }
}

fn read<T: ArrowTimestampType>(column: &ArrayRef, micros: impl Fn(i64) -> Option<i64>) -> Vec<Option<Timestamp>> {
    let values = column.as_primitive::<T>().iter();
    values.map(|value| value.and_then(&micros).map(Timestamp::from_micros)).collect()
}
