//! JSON values as cells of a declared type, and columns as JSON values.
//!
//! Nothing is guessed: a text is no number, and an integer that the type cannot hold is refused. Feast's
//! `UNIX_TIMESTAMP` is an integer of seconds both ways; texts are RFC 3339, UTC where they have no zone.

use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, TimeUnit};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mlops_core::{Error, Result, Timestamp};
use serde_json::Value as Json;

use crate::{
    cell::{Cell, ColumnBuilder},
    value::Value,
};

/// Largest magnitude up to which every integer is a double: 2^53.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Column `name` of `data_type` from `values`.
///
/// # Errors
/// `InvalidArgument` naming the column and the first row whose value is not of the type.
pub(crate) fn column(name: &str, values: &[Json], data_type: &DataType) -> Result<ArrayRef> {
    let mut column = ColumnBuilder::new(data_type, values.len())?;
    for (row, json) in values.iter().enumerate() {
        let value = value(json, data_type).ok_or_else(|| {
            Error::invalid_argument(format!(
                "column \"{name}\" must be {data_type}; its row {row} has {}",
                kind_of(json)
            ))
        })?;
        column.push((&value).into())?;
    }
    column.finish()
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "a null",
        Json::Bool(_) => "a boolean",
        Json::Number(number) if number.is_f64() => "a fraction",
        Json::Number(_) => "an integer out of range",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

/// `json` as a value of `data_type`; none when it is not one.
fn value(json: &Json, data_type: &DataType) -> Option<Value> {
    use DataType as T;
    match (data_type, json) {
        (_, Json::Null) => Some(Value::Null),
        (T::Boolean, Json::Bool(value)) => Some(Value::Bool(*value)),
        (T::Int8 | T::Int16 | T::Int32 | T::Int64, _) => {
            integer(json).filter(|int| fits(*int, data_type)).map(Value::Int)
        }
        (T::Float32 | T::Float64, Json::Number(number)) => number.as_f64().map(Value::Float),
        (T::Utf8 | T::LargeUtf8, Json::String(text)) => Some(Value::Text(text.as_str().into())),
        (T::Binary, Json::String(text)) => STANDARD.decode(text).ok().map(|bytes| Value::Bytes(bytes.into())),
        (T::Timestamp(unit, _), _) => time(json, *unit).map(Value::Int),
        (T::Date32, Json::String(text)) => {
            let time: Timestamp = text.parse().ok()?;
            Some(Value::Int(time.as_micros().div_euclid(86_400_000_000)))
        }
        (T::List(field), Json::Array(items)) => {
            items.iter().map(|item| value(item, field.data_type())).collect::<Option<_>>().map(Value::List)
        }
        _ => None,
    }
}

/// An integer, or a fraction-free double, which is how pandas sends integers beside a null.
fn integer(json: &Json) -> Option<i64> {
    let Json::Number(number) = json else { return None };
    #[allow(clippy::cast_possible_truncation, reason = "the double is an integer of at most 53 bits")]
    let exact = |double: f64| (double.fract() == 0.0 && double.abs() <= EXACT_MAX).then_some(double as i64);
    number.as_i64().or_else(|| number.as_f64().filter(|_| number.is_f64()).and_then(exact))
}

fn fits(int: i64, data_type: &DataType) -> bool {
    match data_type {
        DataType::Int8 => i8::try_from(int).is_ok(),
        DataType::Int16 => i16::try_from(int).is_ok(),
        DataType::Int32 => i32::try_from(int).is_ok(),
        _ => true,
    }
}

/// A time in ticks of `unit`, rounded towards the past where the unit is coarser than the text.
fn time(json: &Json, unit: TimeUnit) -> Option<i64> {
    let per_second = ticks_per_second(unit);
    if let Json::String(text) = json {
        let micros = text.parse::<Timestamp>().ok()?.as_micros();
        return match unit {
            TimeUnit::Nanosecond => micros.checked_mul(1_000),
            _ => Some(micros.div_euclid(1_000_000 / per_second)),
        };
    }
    integer(json)?.checked_mul(per_second)
}

fn ticks_per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Appends `column` as a JSON array. NaN and the infinities, which JSON does not have, are null.
pub(super) fn write_column(column: &dyn Array, out: &mut Vec<u8>) -> Result<()> {
    out.push(b'[');
    for row in 0..column.len() {
        if row > 0 {
            out.push(b',');
        }
        write_cell(&Cell::of(column, row)?, column, out)?;
    }
    out.push(b']');
    Ok(())
}

fn write_cell(cell: &Cell<'_>, column: &dyn Array, out: &mut Vec<u8>) -> Result<()> {
    match (cell, column.data_type()) {
        (Cell::Null, _) => out.extend(b"null"),
        (Cell::Bool(value), _) => out.extend(if *value { b"true".as_slice() } else { b"false" }),
        (Cell::Int(ticks), DataType::Timestamp(unit, _)) => {
            json(&ticks.div_euclid(ticks_per_second(*unit)), out)?;
        }
        (Cell::Int(days), DataType::Date32) => {
            let time = Timestamp::from_micros(days.saturating_mul(86_400_000_000)).to_string();
            json(&time.split('T').next(), out)?;
        }
        (Cell::Int(value), _) => json(value, out)?,
        (Cell::Float(value), _) if !value.is_finite() => out.extend(b"null"),
        // The shortest text of a single is not that of the double it widens to.
        #[allow(clippy::cast_possible_truncation, reason = "the cell was widened from 32 bits")]
        (Cell::Float(value), DataType::Float32) => json(&(*value as f32), out)?,
        (Cell::Float(value), _) => json(value, out)?,
        (Cell::Text(text), _) => json(text, out)?,
        (Cell::Bytes(bytes), _) => json(&STANDARD.encode(bytes), out)?,
        (Cell::List(items), DataType::List(field)) => {
            let mut inner = ColumnBuilder::new(field.data_type(), items.len())?;
            items.iter().try_for_each(|item| inner.push(item.into()))?;
            write_column(inner.finish()?.as_ref(), out)?;
        }
        (Cell::List(_), other) => return Err(Error::internal(format!("a list in a column of {other}"))),
    }
    Ok(())
}

fn json(value: &impl serde::Serialize, out: &mut Vec<u8>) -> Result<()> {
    let fail = |error| Error::internal("a value cannot be written as json").with_source(error);
    serde_json::to_writer(&mut *out, value).map_err(fail)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::Field;
    use serde_json::json;

    use super::*;

    #[allow(clippy::needless_pass_by_value, reason = "callers write the values in place")]
    fn there_and_back(values: Json, data_type: DataType) -> Json {
        let values = values.as_array().unwrap().clone();
        let column = column("c", &values, &data_type).unwrap();
        assert_eq!(column.data_type(), &data_type);
        let mut out = Vec::new();
        write_column(column.as_ref(), &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    fn micros() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    }

    #[test]
    fn values_come_back_exactly() {
        let same = |values: Json, data_type| assert_eq!(there_and_back(values.clone(), data_type), values);
        same(json!([9_007_199_254_740_993_i64, null, i64::MIN]), DataType::Int64);
        same(json!([0.1, null, -0.0]), DataType::Float64);
        same(json!([0.1, 16_777_216.0]), DataType::Float32);
        same(json!(["é\"\n", "", null]), DataType::Utf8);
        same(json!(["AP8=", null]), DataType::Binary);
        same(json!([true, null]), DataType::Boolean);
        same(json!(["1969-12-31", "2025-06-01"]), DataType::Date32);
        let list = DataType::List(Arc::new(Field::new("item", DataType::Float32, true)));
        same(json!([[0.1, null], [], null]), list);
        let times = json!(["2025-06-01T12:00:00.250000", "1969-12-31T23:59:59.5Z", 5, null]);
        assert_eq!(there_and_back(times, micros()), json!([1_748_779_200, -1, 5, null]));
        assert_eq!(there_and_back(json!([7.0]), DataType::Int64), json!([7]));
    }

    #[test]
    fn what_is_not_of_the_type_is_refused_without_telling_the_value() {
        let check = |value: Json, data_type: DataType, says: &str| {
            let error = column("c", &[json!(null), value], &data_type).unwrap_err();
            assert!(error.message().contains(says), "{error}");
            assert!(error.message().contains("column \"c\"") && error.message().contains("row 1"), "{error}");
        };
        check(json!("7"), DataType::Int64, "a text");
        check(json!(true), DataType::Int64, "a boolean");
        check(json!(7.5), DataType::Int64, "a fraction");
        check(json!(2_147_483_648_i64), DataType::Int32, "out of range");
        check(json!(u64::MAX), DataType::Int64, "out of range");
        check(json!(1e300), DataType::Int64, "a fraction");
        check(json!(7), DataType::Utf8, "an integer");
        check(json!("tomorrow"), micros(), "a text");
        check(json!(i64::MAX), micros(), "out of range");
        check(json!({}), DataType::Float64, "an object");
    }
}
