//! Tensors as raw little-endian bytes: fixed-size elements back to back, `BYTES` as length and bytes.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, PrimitiveArray,
    builder::BinaryBuilder,
    cast::AsArray,
    types::{
        Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
};
use arrow_buffer::ToByteSlice as _;
use mlops_core::{Error, Result};

use crate::tensor::TensorType;

type F16 = <Float16Type as ArrowPrimitiveType>::Native;

/// Reads `count` elements of tensor `name`, which must use up `bytes`.
///
/// # Errors
/// `InvalidArgument` when they do not.
pub(crate) fn decode(name: &str, data_type: TensorType, count: usize, bytes: &[u8]) -> Result<ArrayRef> {
    if let Some(size) = data_type.element_bytes()
        && count.checked_mul(size) != Some(bytes.len())
    {
        return Err(Error::invalid_argument(format!(
            "tensor {name:?} of {count} {data_type} elements needs {} bytes, found {}",
            count.saturating_mul(size),
            bytes.len()
        )));
    }
    Ok(match data_type {
        TensorType::Bool => {
            if let Some(bad) = bytes.iter().find(|byte| **byte > 1) {
                return Err(Error::invalid_argument(format!(
                    "BOOL tensor {name:?} has a byte {bad}; 0 and 1 are allowed"
                )));
            }
            Arc::new(bytes.iter().map(|byte| Some(*byte == 1)).collect::<BooleanArray>())
        }
        TensorType::Bytes => Arc::new(decode_bytes(name, count, bytes)?),
        TensorType::Uint8 => primitive::<UInt8Type, 1>(bytes, u8::from_le_bytes),
        TensorType::Uint16 | TensorType::Bf16 => primitive::<UInt16Type, 2>(bytes, u16::from_le_bytes),
        TensorType::Uint32 => primitive::<UInt32Type, 4>(bytes, u32::from_le_bytes),
        TensorType::Uint64 => primitive::<UInt64Type, 8>(bytes, u64::from_le_bytes),
        TensorType::Int8 => primitive::<Int8Type, 1>(bytes, i8::from_le_bytes),
        TensorType::Int16 => primitive::<Int16Type, 2>(bytes, i16::from_le_bytes),
        TensorType::Int32 => primitive::<Int32Type, 4>(bytes, i32::from_le_bytes),
        TensorType::Int64 => primitive::<Int64Type, 8>(bytes, i64::from_le_bytes),
        TensorType::Fp16 => primitive::<Float16Type, 2>(bytes, F16::from_le_bytes),
        TensorType::Fp32 => primitive::<Float32Type, 4>(bytes, f32::from_le_bytes),
        TensorType::Fp64 => primitive::<Float64Type, 8>(bytes, f64::from_le_bytes),
    })
}

/// Elements of `N` bytes.
fn primitive<T: ArrowPrimitiveType, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T::Native) -> ArrayRef {
    let (elements, _) = bytes.as_chunks::<N>();
    // A vector comes from where small ones come from soonest, which a buffer of Arrow's alignment does not.
    let values: Vec<T::Native> = elements.iter().map(|element| read(*element)).collect();
    Arc::new(PrimitiveArray::<T>::new(values.into(), None))
}

fn decode_bytes(name: &str, count: usize, mut bytes: &[u8]) -> Result<BinaryArray> {
    let bad =
        || Error::invalid_argument(format!("BYTES tensor {name:?} does not hold {count} elements of length and bytes"));
    // Each element takes at least its four bytes of length, so the count is bounded before allocation.
    if count.checked_mul(4).is_none_or(|least| least > bytes.len()) {
        return Err(bad());
    }
    let mut builder = BinaryBuilder::with_capacity(count, bytes.len());
    for _ in 0..count {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(bad)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| bad())?;
        let (element, rest) = rest.split_at_checked(length).ok_or_else(bad)?;
        builder.append_value(element);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(builder.finish()) } else { Err(bad()) }
}

/// The bytes of a tensor's values.
#[cfg(any(feature = "grpc", feature = "remote", test))]
pub(crate) fn encode(values: &ArrayRef) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(values, &mut bytes);
    bytes
}

/// The same, behind what `bytes` holds.
pub(crate) fn append(values: &ArrayRef, bytes: &mut Vec<u8>) {
    macro_rules! plain {
        ($($type:ty),*) => {
            $(if let Some(array) = values.as_primitive_opt::<$type>() {
                return bytes.extend_from_slice(array.values().to_byte_slice());
            })*
        };
    }
    plain!(
        UInt8Type,
        UInt16Type,
        UInt32Type,
        UInt64Type,
        Int8Type,
        Int16Type,
        Int32Type,
        Int64Type,
        Float16Type,
        Float32Type,
        Float64Type
    );
    if let Some(array) = values.as_boolean_opt() {
        return bytes.extend((0..array.len()).map(|index| u8::from(array.value(index))));
    }
    if let Some(array) = values.as_binary_opt::<i32>() {
        for element in array.iter() {
            let element = element.unwrap_or_default();
            bytes.extend_from_slice(&u32::try_from(element.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend_from_slice(element);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_round_trip_and_lengths_must_fit() {
        let raw = [3, 0, 0, 0, b'a', b'b', b'c', 0, 0, 0, 0];
        let decoded = decode("t", TensorType::Bytes, 2, &raw).unwrap();
        assert_eq!(encode(&decoded), raw);
        assert!(decode("t", TensorType::Bytes, 1, &raw).is_err());
        assert!(decode("t", TensorType::Bytes, usize::MAX, &raw).is_err());
        assert!(decode("t", TensorType::Fp32, 2, &[0; 7]).unwrap_err().message().contains("needs 8 bytes, found 7"));
        assert!(decode("t", TensorType::Bool, 1, &[2]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(count in 0_usize..20, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for data_type in TensorType::all() {
                if let Ok(values) = decode("t", data_type, count, &bytes) {
                    prop_assert_eq!(encode(&values), bytes.clone());
                }
            }
        }
    }
}
