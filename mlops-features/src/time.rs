//! Timestamp columns as plain integers in one unit, so that times of different units compare exactly.
//!
//! Widening multiplies and never divides: no event moves in time to meet a row.

use arrow_array::{
    Array, ArrayRef, RecordBatch,
    cast::AsArray,
    types::{TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType},
};
use arrow_schema::{DataType, TimeUnit};
use mlops_core::{Error, Result};

/// Ticks in which two columns are compared: microseconds, or nanoseconds when either side has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ticks {
    Micros,
    Nanos,
}

impl Ticks {
    /// The coarsest ticks that hold every value of columns with these types exactly.
    pub(crate) fn for_types<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Self {
        let nanos = types.into_iter().any(|t| matches!(t, DataType::Timestamp(TimeUnit::Nanosecond, _)));
        if nanos { Self::Nanos } else { Self::Micros }
    }

    /// How many ticks a microsecond has.
    pub(crate) fn per_micro(self) -> i64 {
        match self {
            Self::Micros => 1,
            Self::Nanos => 1_000,
        }
    }

    /// How many ticks one `unit` has.
    pub(crate) fn factor(self, unit: TimeUnit) -> i64 {
        let micros = match unit {
            TimeUnit::Second => 1_000_000,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond | TimeUnit::Nanosecond => 1,
        };
        if unit == TimeUnit::Nanosecond { 1 } else { micros * self.per_micro() }
    }
}

/// The values of a timestamp column in `ticks`; null where the column is null. A column without zone is UTC.
pub(crate) fn ticks(name: &str, column: &dyn Array, ticks: Ticks) -> Result<Vec<Option<i64>>> {
    let DataType::Timestamp(unit, _) = column.data_type() else {
        return Err(Error::invalid_argument(format!(
            "column \"{name}\" must be a timestamp; it is {}",
            column.data_type()
        )));
    };
    let values: Vec<Option<i64>> = match unit {
        TimeUnit::Second => column.as_primitive::<TimestampSecondType>().iter().collect(),
        TimeUnit::Millisecond => column.as_primitive::<TimestampMillisecondType>().iter().collect(),
        TimeUnit::Microsecond => column.as_primitive::<TimestampMicrosecondType>().iter().collect(),
        TimeUnit::Nanosecond => column.as_primitive::<TimestampNanosecondType>().iter().collect(),
    };
    match ticks.factor(*unit) {
        1 => Ok(values),
        factor => values
            .into_iter()
            .map(|value| match value {
                Some(value) => value.checked_mul(factor).map(Some).ok_or_else(|| {
                    Error::invalid_argument(format!(
                        "a time in column \"{name}\" is outside the years that 64 bits of the finer unit can hold"
                    ))
                }),
                None => Ok(None),
            })
            .collect(),
    }
}

/// The values of column `name` of `batch` in microseconds, rounded towards the past when it has nanoseconds.
pub(crate) fn micros(batch: &RecordBatch, name: &str) -> Result<Vec<Option<i64>>> {
    let column = column(batch, name)?;
    let unit = Ticks::for_types([column.data_type()]);
    let mut values = ticks(name, column.as_ref(), unit)?;
    if unit == Ticks::Nanos {
        for value in values.iter_mut().flatten() {
            *value = value.div_euclid(1_000);
        }
    }
    Ok(values)
}

/// Column `name` of `batch`, or an error that lists what is there.
pub(crate) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef> {
    batch.column_by_name(name).ok_or_else(|| {
        let names: Vec<_> = batch.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
        Error::invalid_argument(format!("column \"{name}\" is missing; the batch has {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::{TimestampMillisecondArray, TimestampNanosecondArray};

    use super::*;

    #[test]
    fn units_widen_exactly_and_overflow_is_an_error() {
        let millis = TimestampMillisecondArray::from(vec![Some(-3), None]);
        assert_eq!(ticks("t", &millis, Ticks::Micros).unwrap(), [Some(-3_000), None]);
        assert_eq!(ticks("t", &millis, Ticks::Nanos).unwrap(), [Some(-3_000_000), None]);
        let far = TimestampMillisecondArray::from(vec![i64::MAX]);
        assert!(ticks("t", &far, Ticks::Nanos).unwrap_err().message().contains("\"t\""));
        let nanos = TimestampNanosecondArray::from(vec![1]);
        assert_eq!(Ticks::for_types([millis.data_type(), nanos.data_type()]), Ticks::Nanos);
    }
}
