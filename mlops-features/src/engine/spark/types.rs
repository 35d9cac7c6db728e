//! Which Arrow types a server keeps to the bit, and in which form it is given them.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, TimeUnit};
use mlops_core::{Error, Result};

/// The type in which a server is given a feature of type `data_type`; none when it has no type that keeps every value.
pub(super) fn carried(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    let list = |field: &Arc<Field>| {
        let inner = carried(field.data_type())?;
        Some(T::List(Arc::new(Field::new_list_field(inner, true))))
    };
    match data_type {
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Date32 => {
            Some(data_type.clone())
        }
        T::Decimal128(_, _) => Some(data_type.clone()),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => Some(T::Utf8),
        T::Binary | T::LargeBinary | T::BinaryView => Some(T::Binary),
        // A server's times are microseconds since the epoch. A column without zone is UTC everywhere in this crate.
        T::Timestamp(TimeUnit::Microsecond | TimeUnit::Millisecond | TimeUnit::Second, _) => {
            Some(T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
        }
        T::List(field) | T::LargeList(field) | T::FixedSizeList(field, _) => list(field),
        _ => None,
    }
}

/// Whether servers compare keys of this type as the kernels do: by all their bits.
pub(super) fn is_key(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(
        data_type,
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Date32 | T::Utf8 | T::LargeUtf8 | T::Binary
    )
}

/// Refuses a feature that a server would change.
pub(super) fn check_feature(name: &str, data_type: &DataType) -> Result<DataType> {
    carried(data_type).ok_or_else(|| {
        Error::invalid_argument(format!(
            "column \"{name}\" is {data_type}, which a Spark server does not keep to the bit; cast it or join it locally"
        ))
    })
}

/// Refuses a key that a server would compare otherwise.
pub(super) fn check_key(name: &str, data_type: &DataType) -> Result<()> {
    if is_key(data_type) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "join key \"{name}\" is {data_type}, which a Spark server does not compare by its bits; cast it or join it locally"
    )))
}

/// Refuses nanoseconds, which a server's times do not have.
pub(super) fn check_time(name: &str, data_type: &DataType) -> Result<()> {
    if matches!(data_type, DataType::Timestamp(TimeUnit::Nanosecond, _)) {
        return Err(Error::invalid_argument(format!(
            "column \"{name}\" has nanoseconds, which a Spark server does not keep; cast it or join it locally"
        )));
    }
    Ok(())
}

/// `column` as `data_type`, or an error where a value does not fit. Instants stay, whatever the zones: a column without
/// one is UTC.
pub(super) fn exactly(column: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    use DataType as T;
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    let strict = |column: &ArrayRef, data_type: &T| cast_with_options(column, data_type, &STRICT);
    if let (T::Timestamp(from, _), T::Timestamp(to, _)) = (column.data_type(), data_type) {
        // By way of integers, because a cast between zones would move the instants of a column without one.
        let zoneless = strict(&strict(column, &T::Int64)?, &T::Timestamp(*from, None))?;
        let scaled = strict(&zoneless, &T::Timestamp(*to, None))?;
        return Ok(strict(&strict(&scaled, &T::Int64)?, data_type)?);
    }
    Ok(strict(column, data_type)?)
}

const STRICT: CastOptions<'static> =
    CastOptions { safe: false, format_options: arrow_cast::display::FormatOptions::new() };

#[cfg(test)]
mod tests {
    use arrow_array::{Array as _, TimestampMicrosecondArray, TimestampMillisecondArray};

    use super::*;

    #[test]
    fn instants_survive_units_and_zones() {
        let naive: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![Some(-3), None]));
        let sent = exactly(&naive, &carried(naive.data_type()).unwrap()).unwrap();
        let expected = TimestampMicrosecondArray::from(vec![Some(-3_000), None]).with_timezone("UTC");
        assert_eq!(sent.as_ref(), &expected as &dyn arrow_array::Array);
        assert_eq!(&exactly(&sent, naive.data_type()).unwrap(), &naive);
        let zoned = exactly(&sent, &DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into()))).unwrap();
        assert_eq!(&exactly(&zoned, sent.data_type()).unwrap(), &sent);
    }

    #[test]
    fn types_that_would_change_are_refused() {
        for data_type in [DataType::UInt64, DataType::Float16, DataType::Timestamp(TimeUnit::Nanosecond, None)] {
            assert!(check_feature("v", &data_type).unwrap_err().message().contains("\"v\""));
        }
        assert!(check_key("k", &DataType::Float64).unwrap_err().message().contains("\"k\" is Float64"));
        check_key("k", &DataType::Utf8).unwrap();
    }
}
