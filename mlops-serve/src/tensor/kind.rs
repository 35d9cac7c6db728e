//! Element types of Open Inference v2: one table of names, sizes and Arrow storage.

use std::{fmt, str::FromStr};

use arrow_schema::DataType as ArrowType;
use mlops_core::{DataType, Error, Result};

/// The element type of a tensor, in the words of Open Inference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each variant is the protocol's name for the type")]
pub enum TensorType {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    /// Brain floating point; stored as its bits in 16-bit integers, since Arrow has no such type.
    Bf16,
    Fp32,
    Fp64,
    /// Byte strings of any length each.
    Bytes,
}

/// Type, protocol name, bytes per element (0: variable), Arrow storage, in the order of the types.
static TABLE: [(TensorType, &str, usize, ArrowType); 14] = [
    (TensorType::Bool, "BOOL", 1, ArrowType::Boolean),
    (TensorType::Uint8, "UINT8", 1, ArrowType::UInt8),
    (TensorType::Uint16, "UINT16", 2, ArrowType::UInt16),
    (TensorType::Uint32, "UINT32", 4, ArrowType::UInt32),
    (TensorType::Uint64, "UINT64", 8, ArrowType::UInt64),
    (TensorType::Int8, "INT8", 1, ArrowType::Int8),
    (TensorType::Int16, "INT16", 2, ArrowType::Int16),
    (TensorType::Int32, "INT32", 4, ArrowType::Int32),
    (TensorType::Int64, "INT64", 8, ArrowType::Int64),
    (TensorType::Fp16, "FP16", 2, ArrowType::Float16),
    (TensorType::Bf16, "BF16", 2, ArrowType::UInt16),
    (TensorType::Fp32, "FP32", 4, ArrowType::Float32),
    (TensorType::Fp64, "FP64", 8, ArrowType::Float64),
    (TensorType::Bytes, "BYTES", 0, ArrowType::Binary),
];

impl TensorType {
    /// Every type, in the order of the protocol's table.
    #[must_use]
    pub fn all() -> [Self; 14] {
        TABLE.each_ref().map(|row| row.0)
    }

    fn row(self) -> (&'static str, usize, &'static ArrowType) {
        let row = TABLE.get(self as usize).filter(|row| row.0 == self);
        row.map_or(("BYTES", 0, &ArrowType::Binary), |row| (row.1, row.2, &row.3))
    }

    /// The protocol's name, such as `FP32`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Bytes per element on the wire; none for `BYTES`, whose elements carry their length.
    #[must_use]
    pub fn element_bytes(self) -> Option<usize> {
        Some(self.row().1).filter(|&size| size > 0)
    }

    /// The Arrow type of the flat values.
    #[must_use]
    pub fn storage(self) -> ArrowType {
        self.row().2.clone()
    }

    /// Whether flat values of this type are stored so.
    pub(crate) fn is_stored_as(self, arrow: &ArrowType) -> bool {
        self.row().2 == arrow
    }

    /// The type that carries a core type: text and binary as `BYTES`, time as `INT64` microseconds.
    #[must_use]
    pub fn from_core(data_type: DataType) -> Self {
        match data_type {
            DataType::Bool => Self::Bool,
            DataType::Int8 => Self::Int8,
            DataType::Int16 => Self::Int16,
            DataType::Int32 => Self::Int32,
            DataType::Int64 | DataType::Timestamp => Self::Int64,
            DataType::UInt8 => Self::Uint8,
            DataType::UInt16 => Self::Uint16,
            DataType::UInt32 => Self::Uint32,
            DataType::UInt64 => Self::Uint64,
            DataType::Float16 => Self::Fp16,
            DataType::Float32 => Self::Fp32,
            DataType::Float64 => Self::Fp64,
            // Text, bytes, and whatever else comes to be.
            _ => Self::Bytes,
        }
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for TensorType {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0).ok_or_else(|| {
            let known = TABLE.each_ref().map(|row| row.1).join(", ");
            Error::invalid_argument(format!("datatype {name:?} is unknown; expected one of {known}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_core_types_have_a_carrier_of_their_name() {
        for data_type in TensorType::all() {
            assert_eq!(data_type.name().parse::<TensorType>().unwrap(), data_type);
            assert!(data_type.is_stored_as(&data_type.storage()));
        }
        assert!("fp32".parse::<TensorType>().is_err());
        use DataType::*;
        for data_type in [
            Bool, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float16, Float32, Float64, String, Binary,
            Timestamp,
        ] {
            assert_eq!(TensorType::from_core(data_type).name(), data_type.oip_name());
        }
    }
}
