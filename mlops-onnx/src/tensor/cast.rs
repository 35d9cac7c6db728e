//! Conversion between element types, text included.
//!
//! Numbers convert as the processor does, saturating where it saturates; floats become text with eight significant
//! digits, the way the reference runtime writes them.

use mlops_core::{DataType, Error, Result};

use super::{Data, Text, each_data};

/// Numbers and truth values, through the widest type of their kind.
trait Number: Copy {
    fn to_f64(self) -> f64;
    fn to_i64(self) -> i64;
    fn is_integer() -> bool;
}

macro_rules! numbers {
    ($($type:ty, $integer:expr, $float:expr, $int:expr);* $(;)?) => {
        $(impl Number for $type {
            fn to_f64(self) -> f64 { ($float)(self) }
            fn to_i64(self) -> i64 { ($int)(self) }
            fn is_integer() -> bool { $integer }
        })*
    };
}

numbers! {
    bool, true, |v| f64::from(u8::from(v)), i64::from;
    i8, true, f64::from, i64::from;
    i16, true, f64::from, i64::from;
    i32, true, f64::from, i64::from;
    i64, true, |v| v as f64, |v| v;
    u8, true, f64::from, i64::from;
    u16, true, f64::from, i64::from;
    u32, true, f64::from, i64::from;
    u64, true, |v| v as f64, |v| v as i64;
    f32, false, f64::from, |v| v as i64;
    f64, false, |v| v, |v| v as i64;
}

fn numbers_to<T: Number>(values: &[T], to: DataType) -> Result<Data> {
    macro_rules! integers {
        ($type:ty) => {
            values.iter().map(|&v| v.to_i64() as $type).collect::<Vec<$type>>().into()
        };
    }
    Ok(match to {
        DataType::Bool => values.iter().map(|&v| v.to_f64() != 0.0).collect::<Vec<_>>().into(),
        DataType::Int8 => integers!(i8),
        DataType::Int16 => integers!(i16),
        DataType::Int32 => integers!(i32),
        DataType::Int64 => integers!(i64),
        DataType::UInt8 => integers!(u8),
        DataType::UInt16 => integers!(u16),
        DataType::UInt32 => integers!(u32),
        DataType::UInt64 => integers!(u64),
        DataType::Float32 if T::is_integer() => values.iter().map(|&v| v.to_i64() as f32).collect::<Vec<_>>().into(),
        DataType::Float32 => values.iter().map(|&v| v.to_f64() as f32).collect::<Vec<_>>().into(),
        DataType::Float64 => values.iter().map(|&v| v.to_f64()).collect::<Vec<_>>().into(),
        DataType::String => return Err(Error::internal("numbers become text elsewhere")),
        other => return Err(Error::unimplemented(format!("casting to {other} is not supported"))),
    })
}

/// The elements as another type.
///
/// # Errors
/// `InvalidArgument` when text is not a number, `Unimplemented` for a type that tensors do not have.
pub(crate) fn cast(data: &Data, to: DataType) -> Result<Data> {
    if data.data_type() == to {
        return Ok(data.clone());
    }
    match (data, to) {
        (Data::String(texts), _) => parse(texts, to),
        (_, DataType::String) => Ok(to_text(data)),
        (Data::Bool(values), _) => numbers_to(values, to),
        (Data::Int8(values), _) => numbers_to(values, to),
        (Data::Int16(values), _) => numbers_to(values, to),
        (Data::Int32(values), _) => numbers_to(values, to),
        (Data::Int64(values), _) => numbers_to(values, to),
        (Data::UInt8(values), _) => numbers_to(values, to),
        (Data::UInt16(values), _) => numbers_to(values, to),
        (Data::UInt32(values), _) => numbers_to(values, to),
        (Data::UInt64(values), _) => numbers_to(values, to),
        (Data::Float32(values), _) => numbers_to(values, to),
        (Data::Float64(values), _) => numbers_to(values, to),
    }
}

fn to_text(data: &Data) -> Data {
    let texts: Vec<Text> = match data {
        Data::Float32(values) => values.iter().map(|&v| format_g(f64::from(v), 8).into()).collect(),
        Data::Float64(values) => values.iter().map(|&v| format_g(v, 8).into()).collect(),
        Data::Bool(values) => values.iter().map(|&v| if v { "1" } else { "0" }.into()).collect(),
        _ => each_data!(data, values => values.iter().map(|v| format!("{v}").into()).collect()),
    };
    texts.into()
}

fn parse(texts: &[Text], to: DataType) -> Result<Data> {
    let refuse = || {
        Error::invalid_argument(format!("a text is not a number, so it cannot be cast to {to}"))
            .with(crate::INPUT_VALUE, "text")
    };
    match to {
        DataType::Float32 => {
            let values = texts.iter().map(|text| text.trim().parse::<f32>()).collect::<Result<Vec<_>, _>>();
            Ok(values.map_err(|_| refuse())?.into())
        }
        DataType::Float64 => {
            let values = texts.iter().map(|text| text.trim().parse::<f64>()).collect::<Result<Vec<_>, _>>();
            Ok(values.map_err(|_| refuse())?.into())
        }
        DataType::UInt64 => {
            let values = texts.iter().map(|text| text.trim().parse::<u64>()).collect::<Result<Vec<_>, _>>();
            Ok(values.map_err(|_| refuse())?.into())
        }
        _ => {
            let values = texts.iter().map(|text| text.trim().parse::<i64>()).collect::<Result<Vec<_>, _>>();
            numbers_to(&values.map_err(|_| refuse())?, to)
        }
    }
}

/// A number as C's `%.{digits}g` writes it.
fn format_g(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "INF" } else { "-INF" }.into();
    }
    let scientific = format!("{value:.*e}", digits.saturating_sub(1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i64 = exponent.parse().unwrap_or(0);
    let limit = i64::try_from(digits).unwrap_or(17);
    let trim = |text: &str| -> String {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(limit - 1 - exponent).unwrap_or(0);
    trim(&format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_text_as_printf_writes_them() {
        // Reference: printf of glibc.
        for (value, text) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (1.5e-7, "1.5e-07"),
            (123_456_789.0, "1.2345679e+08"),
            (-0.000_123, "-0.000123"),
            (0.0, "0"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-INF"),
        ] {
            assert_eq!(format_g(value, 8), text);
        }
        assert_eq!(format_g(0.1, 17), "0.10000000000000001");
    }

    #[test]
    fn text_and_numbers_convert_both_ways() {
        let texts: Vec<Text> = vec!["1.5".into(), " -2 ".into()];
        assert_eq!(cast(&Data::from(texts.clone()), DataType::Float32).unwrap(), Data::from(vec![1.5_f32, -2.0]));
        assert!(cast(&Data::from(texts), DataType::Int64).is_err());
        assert_eq!(cast(&Data::from(vec![1.9_f32, -1.9]), DataType::Int64).unwrap(), Data::from(vec![1_i64, -1]));
        assert_eq!(cast(&Data::from(vec![0.0_f64, 0.5]), DataType::Bool).unwrap(), Data::from(vec![false, true]));
        let labels: Vec<Text> = vec!["7".into()];
        assert_eq!(cast(&Data::from(vec![7_i64]), DataType::String).unwrap(), Data::from(labels));
    }
}
