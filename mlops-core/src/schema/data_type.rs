//! Element types: one table that every adapter reads.

use std::{fmt, str::FromStr};

use arrow_schema::{DataType as ArrowType, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The element type of a column or tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DataType {
    /// True or false.
    Bool,
    /// Signed 8-bit integer.
    Int8,
    /// Signed 16-bit integer.
    Int16,
    /// Signed 32-bit integer.
    Int32,
    /// Signed 64-bit integer.
    Int64,
    /// Unsigned 8-bit integer.
    UInt8,
    /// Unsigned 16-bit integer.
    UInt16,
    /// Unsigned 32-bit integer.
    UInt32,
    /// Unsigned 64-bit integer.
    UInt64,
    /// IEEE half precision.
    Float16,
    /// IEEE single precision.
    Float32,
    /// IEEE double precision.
    Float64,
    /// UTF-8 text.
    String,
    /// Arbitrary bytes.
    Binary,
    /// Microseconds since the epoch, UTC.
    Timestamp,
}

/// Name here, Open Inference, MLflow. MLflow has fewer types: the narrower ones widen.
const NAMES: [(DataType, &str, &str); 15] = [
    (DataType::Bool, "BOOL", "boolean"),
    (DataType::Int8, "INT8", "integer"),
    (DataType::Int16, "INT16", "integer"),
    (DataType::Int32, "INT32", "integer"),
    (DataType::Int64, "INT64", "long"),
    (DataType::UInt8, "UINT8", "integer"),
    (DataType::UInt16, "UINT16", "integer"),
    (DataType::UInt32, "UINT32", "long"),
    (DataType::UInt64, "UINT64", "long"),
    (DataType::Float16, "FP16", "float"),
    (DataType::Float32, "FP32", "float"),
    (DataType::Float64, "FP64", "double"),
    (DataType::String, "BYTES", "string"),
    (DataType::Binary, "BYTES", "binary"),
    (DataType::Timestamp, "INT64", "datetime"),
];

impl DataType {
    fn names(self) -> (&'static str, &'static str) {
        let row = NAMES.iter().find(|row| row.0 == self);
        row.map_or(("BYTES", "string"), |row| (row.1, row.2))
    }

    /// The `datatype` of Open Inference v2.
    #[must_use]
    pub fn oip_name(self) -> &'static str {
        self.names().0
    }

    /// The column type of an MLflow signature.
    #[must_use]
    pub fn mlflow_name(self) -> &'static str {
        self.names().1
    }

    /// The type that an Open Inference name stands for; `BYTES` is read as text.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown name, `Unimplemented` for `BF16`.
    pub fn from_oip(name: &str) -> Result<Self> {
        match name {
            "BYTES" => Ok(Self::String),
            "INT64" => Ok(Self::Int64),
            "BF16" => Err(Error::unimplemented("datatype BF16 has no columnar form; send FP32")),
            _ => NAMES.iter().find(|row| row.1 == name).map(|row| row.0).ok_or_else(|| {
                Error::invalid_argument(format!(
                    "datatype {name:?} is unknown; Open Inference names are BOOL, INT64, FP32, BYTES..."
                ))
            }),
        }
    }

    /// The type that an MLflow signature name stands for.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown name.
    pub fn from_mlflow(name: &str) -> Result<Self> {
        match name {
            "integer" => Ok(Self::Int32),
            "long" => Ok(Self::Int64),
            "float" => Ok(Self::Float32),
            _ => NAMES.iter().find(|row| row.2 == name).map(|row| row.0).ok_or_else(|| {
                Error::invalid_argument(format!("column type {name:?} is unknown; MLflow names are boolean, integer, long, float, double, string, binary, datetime"))
            }),
        }
    }

    /// The Arrow type that carries it.
    #[must_use]
    pub fn to_arrow(self) -> ArrowType {
        match self {
            Self::Bool => ArrowType::Boolean,
            Self::Int8 => ArrowType::Int8,
            Self::Int16 => ArrowType::Int16,
            Self::Int32 => ArrowType::Int32,
            Self::Int64 => ArrowType::Int64,
            Self::UInt8 => ArrowType::UInt8,
            Self::UInt16 => ArrowType::UInt16,
            Self::UInt32 => ArrowType::UInt32,
            Self::UInt64 => ArrowType::UInt64,
            Self::Float16 => ArrowType::Float16,
            Self::Float32 => ArrowType::Float32,
            Self::Float64 => ArrowType::Float64,
            Self::String => ArrowType::Utf8,
            Self::Binary => ArrowType::Binary,
            Self::Timestamp => ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }

    /// The type that an Arrow column holds; the large and view layouts count as their plain form.
    ///
    /// # Errors
    /// `Unimplemented` for nested, decimal, dictionary and interval types.
    pub fn from_arrow(data_type: &ArrowType) -> Result<Self> {
        Ok(match data_type {
            ArrowType::Boolean => Self::Bool,
            ArrowType::Int8 => Self::Int8,
            ArrowType::Int16 => Self::Int16,
            ArrowType::Int32 => Self::Int32,
            ArrowType::Int64 => Self::Int64,
            ArrowType::UInt8 => Self::UInt8,
            ArrowType::UInt16 => Self::UInt16,
            ArrowType::UInt32 => Self::UInt32,
            ArrowType::UInt64 => Self::UInt64,
            ArrowType::Float16 => Self::Float16,
            ArrowType::Float32 => Self::Float32,
            ArrowType::Float64 => Self::Float64,
            ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View => Self::String,
            ArrowType::Binary | ArrowType::LargeBinary | ArrowType::BinaryView => Self::Binary,
            ArrowType::Timestamp(_, _) => Self::Timestamp,
            other => {
                return Err(Error::unimplemented(format!("Arrow type {other} is not a model input or output type")));
            }
        })
    }

    /// Whether values are numbers, so that arithmetic and numeric drift tests apply.
    #[must_use]
    pub fn is_numeric(self) -> bool {
        !matches!(self, Self::Bool | Self::String | Self::Binary | Self::Timestamp)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl FromStr for DataType {
    type Err = Error;

    /// Reads an Open Inference name.
    fn from_str(name: &str) -> Result<Self> {
        Self::from_oip(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_arrow() {
        for (data_type, _, _) in NAMES {
            assert_eq!(DataType::from_arrow(&data_type.to_arrow()).unwrap(), data_type);
        }
        assert!(DataType::from_arrow(&ArrowType::Null).is_err());
    }

    #[test]
    fn protocol_names_read_back_to_a_type_of_the_same_name() {
        for (data_type, oip, mlflow) in NAMES {
            assert_eq!(DataType::from_oip(oip).unwrap().oip_name(), data_type.oip_name());
            assert_eq!(DataType::from_mlflow(mlflow).unwrap().mlflow_name(), mlflow);
        }
        assert!(DataType::from_oip("fp32").unwrap_err().message().contains("\"fp32\""));
    }
}
