//! One feature column out of Arrow and into plain values.
//!
//! Invariant: a number is finite or NaN, and NaN means missing: nulls, NaN and infinities are all
//! missing. A category is text or nothing. Not a place for anything learnt from data.

use arrow_array::{AnyDictionaryArray, Array, ArrayRef, cast::AsArray, types};
use mlops_core::{DataType, Error, Result, arrow_schema};

/// Decoded values of one column.
#[derive(Debug)]
pub(crate) enum Column<'a> {
    /// Numbers and switches (0 and 1); NaN is missing.
    Numbers(Vec<f64>),
    /// Text; none is missing.
    Categories(Vec<Option<&'a str>>),
}

/// The type of a column's values, which for a dictionary is that of its entries; decimals, and columns without any
/// value, count as doubles.
///
/// # Errors
/// `Unimplemented` for a type that models do not take.
pub(crate) fn value_type(found: &arrow_schema::DataType) -> Result<DataType> {
    match found {
        arrow_schema::DataType::Dictionary(_, entries) => value_type(entries),
        arrow_schema::DataType::Null | arrow_schema::DataType::Decimal128(_, _) => Ok(DataType::Float64),
        plain => DataType::from_arrow(plain),
    }
}

/// Decodes a column that must be of `expected` type; large, view and dictionary layouts count as plain, and a column
/// without any value is of every type.
///
/// # Errors
/// `InvalidArgument` naming the column when its type is another one or no feature type.
pub(crate) fn decode<'a>(name: &str, expected: DataType, array: &'a ArrayRef) -> Result<Column<'a>> {
    if *array.data_type() == arrow_schema::DataType::Null && expected == DataType::String {
        return Ok(Column::Categories(vec![None; array.len()]));
    }
    let found = value_type(array.data_type());
    if !found.is_ok_and(|found| found == expected) {
        return Err(Error::invalid_argument(format!(
            "feature column {name:?} must be {expected}, found {}",
            array.data_type()
        )));
    }
    values(name, array)
}

/// Decodes a column of any feature type.
///
/// # Errors
/// `InvalidArgument` naming the column when it holds neither text, numbers nor switches.
pub(crate) fn values<'a>(name: &str, array: &'a ArrayRef) -> Result<Column<'a>> {
    match value_type(array.data_type()) {
        Ok(DataType::String) => Ok(Column::Categories(texts(name, array)?)),
        _ => Ok(Column::Numbers(numbers(name, array)?)),
    }
}

macro_rules! widen {
    ($array:expr, $($variant:ident => $arrow:ident $value:ident $convert:expr),* $(,)?) => {
        match $array.data_type() {
            arrow_schema::DataType::Boolean => {
                Some($array.as_boolean().iter().map(|v| v.map_or(f64::NAN, |v| f64::from(u8::from(v)))).collect())
            }
            $(arrow_schema::DataType::$variant => {
                let values = $array.as_primitive::<types::$arrow>();
                Some(match values.null_count() {
                    0 => values.values().iter().map(|&$value| $convert).collect::<Vec<f64>>(),
                    _ => values.iter().map(|value| value.map_or(f64::NAN, |$value| $convert)).collect(),
                })
            })*
            _ => None,
        }
    };
}

/// Numbers and switches as doubles; whatever is not finite becomes NaN. Whole numbers beyond 2^53
/// are rounded to the nearest double.
///
/// # Errors
/// `InvalidArgument` naming the column when it holds neither numbers nor switches.
pub(crate) fn numbers(name: &str, array: &ArrayRef) -> Result<Vec<f64>> {
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let entries = numbers(name, dictionary.values())?;
        return Ok(by_key(dictionary, &entries, f64::NAN));
    }
    let whole: Option<Vec<f64>> = match array.data_type() {
        arrow_schema::DataType::Null => Some(vec![f64::NAN; array.len()]),
        arrow_schema::DataType::Decimal128(_, scale) => {
            let unit = 10.0_f64.powi(i32::from(*scale));
            let values = array.as_primitive::<types::Decimal128Type>();
            Some(values.iter().map(|value| value.map_or(f64::NAN, |value| value as f64 / unit)).collect())
        }
        _ => None,
    };
    let values = whole.or_else(|| {
        widen!(array,
            Int8 => Int8Type v f64::from(v),
            Int16 => Int16Type v f64::from(v),
            Int32 => Int32Type v f64::from(v),
            Int64 => Int64Type v v as f64,
            UInt8 => UInt8Type v f64::from(v),
            UInt16 => UInt16Type v f64::from(v),
            UInt32 => UInt32Type v f64::from(v),
            UInt64 => UInt64Type v v as f64,
            Float16 => Float16Type v f64::from(v),
            Float32 => Float32Type v f64::from(v),
            Float64 => Float64Type v v,
        )
    });
    let Some(mut values) = values else {
        return Err(Error::invalid_argument(format!(
            "column {name:?} must hold numbers or booleans, found {}",
            array.data_type()
        )));
    };
    values.iter_mut().for_each(|value| *value = if value.is_finite() { *value } else { f64::NAN });
    Ok(values)
}

/// Text of any layout.
///
/// # Errors
/// `InvalidArgument` naming the column when it holds something else.
pub(crate) fn texts<'a>(name: &str, array: &'a ArrayRef) -> Result<Vec<Option<&'a str>>> {
    match array.data_type() {
        arrow_schema::DataType::Utf8 => Ok(array.as_string::<i32>().iter().collect()),
        arrow_schema::DataType::LargeUtf8 => Ok(array.as_string::<i64>().iter().collect()),
        arrow_schema::DataType::Utf8View => Ok(array.as_string_view().iter().collect()),
        arrow_schema::DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let entries = texts(name, dictionary.values())?;
            Ok(by_key(dictionary, &entries, None))
        }
        other => Err(Error::invalid_argument(format!("column {name:?} must hold text, found {other}"))),
    }
}

/// The entry of every row, and `missing` where there is none.
fn by_key<T: Copy>(dictionary: &dyn AnyDictionaryArray, entries: &[T], missing: T) -> Vec<T> {
    if entries.is_empty() {
        return vec![missing; dictionary.len()];
    }
    let keys = dictionary.normalized_keys().into_iter().enumerate();
    let entry = |(row, key): (usize, usize)| match dictionary.keys().is_null(row) {
        true => missing,
        false => entries.get(key).copied().unwrap_or(missing),
    };
    keys.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BooleanArray, Decimal128Array, DictionaryArray, Float64Array, Int8Array, Int32Array, LargeStringArray,
        NullArray, StringArray, StringViewArray, types::Int8Type,
    };

    use super::*;

    #[test]
    fn what_is_not_finite_is_missing() {
        let array: ArrayRef =
            Arc::new(Float64Array::from(vec![Some(1.0), None, Some(f64::INFINITY), Some(f64::NAN), Some(-2.0)]));
        let values = numbers("x", &array).unwrap();
        assert_eq!(values.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [false, true, true, true, false]);
        let array: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
        assert_eq!(numbers("x", &array).unwrap(), [1.0, 0.0]);
    }

    #[test]
    fn every_text_layout_reads_alike() {
        let arrays: [ArrayRef; 2] = [
            Arc::new(LargeStringArray::from(vec![Some("a"), None])),
            Arc::new(StringViewArray::from(vec![Some("a"), None])),
        ];
        for array in &arrays {
            assert_eq!(texts("t", array).unwrap(), [Some("a"), None]);
        }
    }

    #[test]
    fn dictionaries_read_as_their_entries() {
        let keys = || Int8Array::from(vec![Some(1), None, Some(0), Some(2)]);
        let of = |entries: ArrayRef| Arc::new(DictionaryArray::<Int8Type>::new(keys(), entries)) as ArrayRef;
        let text = of(Arc::new(StringArray::from(vec![Some("a"), Some("b"), None])));
        assert_eq!(texts("t", &text).unwrap(), [Some("b"), None, Some("a"), None]);
        assert_eq!(value_type(text.data_type()).unwrap(), DataType::String);
        let found = numbers("n", &of(Arc::new(Int32Array::from(vec![Some(7), Some(8), None])))).unwrap();
        assert_eq!(found.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [false, true, false, true]);
        assert_eq!((found[0], found[2]), (8.0, 7.0));
        let nothing = DictionaryArray::<Int8Type>::new(
            Int8Array::from(vec![None]),
            Arc::new(StringArray::from_iter_values([""; 0])),
        );
        assert_eq!(texts("t", &(Arc::new(nothing) as ArrayRef)).unwrap(), [None]);
        assert!(texts("t", &of(Arc::new(Int32Array::from(vec![1, 2, 3])))).is_err());
    }

    #[test]
    fn decimals_are_numbers_and_nothing_is_of_every_type() {
        let cents = Decimal128Array::from(vec![Some(1_050), None, Some(-3)]).with_precision_and_scale(10, 2).unwrap();
        let cents: ArrayRef = Arc::new(cents);
        let found = numbers("x", &cents).unwrap();
        assert!(found[0] == 10.5 && found[1].is_nan() && found[2] == -0.03, "{found:?}");
        let nothing: ArrayRef = Arc::new(NullArray::new(2));
        assert!(numbers("x", &nothing).unwrap().iter().all(|value| value.is_nan()));
        let Column::Categories(texts) = decode("x", DataType::String, &nothing).unwrap() else { panic!("no texts") };
        assert_eq!(texts, [None, None]);
        assert!(decode("x", DataType::Float64, &nothing).is_ok());
    }

    #[test]
    fn another_type_is_refused_by_name() {
        let array: ArrayRef = Arc::new(Int32Array::from(vec![1]));
        let error = decode("age", DataType::Float64, &array).unwrap_err();
        assert_eq!(error.message(), "feature column \"age\" must be Float64, found Int32");
    }
}
