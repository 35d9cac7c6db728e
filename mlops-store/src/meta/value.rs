//! Values and rows: four types, checked on the way out.

use std::{fmt, sync::Arc};

use mlops_core::{Error, Result, Timestamp};

/// The type of a value; a null has one too, because PostgreSQL asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// 64-bit integer.
    Int,
    /// Double.
    Real,
    /// UTF-8 text.
    Text,
    /// Bytes.
    Blob,
}

/// One value in a statement or row.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// No value, of a type.
    Null(Type),
    /// 64-bit integer.
    Int(i64),
    /// Double.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// Shows the type only: values may be secrets or personal data.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null(_) => "null",
            Self::Int(_) => "integer",
            Self::Real(_) => "real",
            Self::Text(_) => "text",
            Self::Blob(_) => "blob",
        })
    }
}

/// Makes a parameter list: `params![1, "name", Some(2.5)]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::Value::from($value)),*]
    };
}

macro_rules! value_from {
    ($($type:ty => $variant:ident, $kind:ident, $convert:expr;)*) => {
        $(
            impl From<$type> for Value {
                fn from(value: $type) -> Self {
                    let convert: fn($type) -> _ = $convert;
                    Self::$variant(convert(value))
                }
            }

            impl From<Option<$type>> for Value {
                fn from(value: Option<$type>) -> Self {
                    value.map_or(Self::Null(Type::$kind), Self::from)
                }
            }
        )*
    };
}

value_from! {
    i64 => Int, Int, |v| v;
    i32 => Int, Int, i64::from;
    u32 => Int, Int, i64::from;
    bool => Int, Int, i64::from;
    Timestamp => Int, Int, Timestamp::as_micros;
    f64 => Real, Real, |v| v;
    &str => Text, Text, str::to_owned;
    String => Text, Text, |v| v;
    &String => Text, Text, String::clone;
    &[u8] => Blob, Blob, <[u8]>::to_vec;
    Vec<u8> => Blob, Blob, |v| v;
}

/// Saturates: no count or version of ours comes near 2^63.
impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

/// One row of a result, its columns by name.
#[derive(Debug, Clone)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The value of a column; `Option<T>` for one that may be null.
    ///
    /// # Errors
    /// `Internal` when there is no such column or it holds another type: statement and code
    /// disagree.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T> {
        let index = self.columns.iter().position(|name| name == column);
        let value = index.and_then(|index| self.values.get(index));
        let value = value.ok_or_else(|| Error::internal(format!("result has no column {column:?}")))?;
        T::from_value(value)
            .ok_or_else(|| Error::internal(format!("column {column:?} holds {value:?}, expected {}", T::EXPECTED)))
    }
}

/// A Rust type that a column can be read as.
pub trait FromValue: Sized {
    /// Name of the type in error messages.
    const EXPECTED: &'static str;
    /// The value, unless it is of another type.
    fn from_value(value: &Value) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty, $expected:literal, $pattern:pat => $result:expr;)*) => {
        $(
            impl FromValue for $type {
                const EXPECTED: &'static str = $expected;
                fn from_value(value: &Value) -> Option<Self> {
                    match value {
                        $pattern => $result,
                        _ => None,
                    }
                }
            }
        )*
    };
}

from_value! {
    i64, "integer", Value::Int(v) => Some(*v);
    u64, "integer from 0", Value::Int(v) => u64::try_from(*v).ok();
    u32, "integer from 0 below 2^32", Value::Int(v) => u32::try_from(*v).ok();
    bool, "integer", Value::Int(v) => Some(*v != 0);
    Timestamp, "integer", Value::Int(v) => Some(Timestamp::from_micros(*v));
    String, "text", Value::Text(v) => Some(v.clone());
    Vec<u8>, "blob", Value::Blob(v) => Some(v.clone());
}

/// SQLite gives an integer where a real was stored without fraction in an untyped expression.
impl FromValue for f64 {
    const EXPECTED: &'static str = "real";
    #[allow(clippy::cast_precision_loss, reason = "only whole reals come back as integers")]
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Real(v) => Some(*v),
            Value::Int(v) => Some(*v as Self),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;
    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null(_) => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_say_which_column_is_wrong() {
        let row = Row::new(["a".to_owned()].into(), vec![Value::Text("secret".into())]);
        assert_eq!(row.get::<String>("a").unwrap(), "secret");
        assert_eq!(row.get::<i64>("a").unwrap_err().message(), "column \"a\" holds text, expected integer");
        assert_eq!(row.get::<i64>("b").unwrap_err().message(), "result has no column \"b\"");
        assert!(!format!("{row:?}").contains("secret"));
    }
}
