//! Tensor data as JSON: numbers straight into typed vectors, flat or nested, and back.

use std::{fmt, marker::PhantomData, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, PrimitiveArray,
    cast::AsArray,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use mlops_core::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::value::{RawValue, to_raw_value};

use crate::tensor::TensorType;

/// Deepest nesting of `data`; shapes have few dimensions.
const DEPTH_MAX: usize = 32;

/// An element type that JSON scalars can become.
trait Element: Sized {
    const EXPECTED: &'static str;
    fn from_bool(_: bool) -> Option<Self> {
        None
    }
    fn from_u64(_: u64) -> Option<Self> {
        None
    }
    fn from_i64(_: i64) -> Option<Self> {
        None
    }
    fn from_f64(_: f64) -> Option<Self> {
        None
    }
    fn from_text(_: &str) -> Option<Self> {
        None
    }
}

macro_rules! integer {
    ($($type:ty)*) => {
        $(impl Element for $type {
            const EXPECTED: &'static str = concat!("a whole number that fits ", stringify!($type));
            fn from_u64(value: u64) -> Option<Self> {
                value.try_into().ok()
            }
            fn from_i64(value: i64) -> Option<Self> {
                value.try_into().ok()
            }
        })*
    };
}
integer!(u8 u16 u32 u64 i8 i16 i32 i64);

macro_rules! float {
    ($($type:ty)*) => {
        $(impl Element for $type {
            const EXPECTED: &'static str = concat!("a number that fits ", stringify!($type));
            fn from_u64(value: u64) -> Option<Self> {
                Some(value as Self)
            }
            fn from_i64(value: i64) -> Option<Self> {
                Some(value as Self)
            }
            // Rounding to the nearest is what a float means; a finite number that becomes infinite is a loss.
            fn from_f64(value: f64) -> Option<Self> {
                Some(value as Self).filter(|rounded| rounded.is_finite())
            }
        })*
    };
}
float!(f32 f64);

impl Element for bool {
    const EXPECTED: &'static str = "true or false";
    fn from_bool(value: bool) -> Option<Self> {
        Some(value)
    }
}

impl Element for Vec<u8> {
    const EXPECTED: &'static str = "a string";
    fn from_text(text: &str) -> Option<Self> {
        Some(text.as_bytes().to_vec())
    }
}

/// Collects scalars at any depth.
struct Flat<'a, T> {
    values: &'a mut Vec<T>,
    depth: usize,
    count_max: usize,
    element: PhantomData<T>,
}

impl<'de, T: Element> DeserializeSeed<'de> for Flat<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: Element> Flat<'_, T> {
    fn push<E: serde::de::Error>(self, value: Option<T>) -> std::result::Result<(), E> {
        let value = value.ok_or_else(|| E::custom(format!("expected {}", T::EXPECTED)))?;
        if self.values.len() >= self.count_max {
            return Err(E::custom(format!("more elements than the {} that the shape holds", self.count_max)));
        }
        self.values.push(value);
        Ok(())
    }
}

impl<'de, T: Element> Visitor<'de> for Flat<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} or an array of them", T::EXPECTED)
    }
    fn visit_bool<E: serde::de::Error>(self, value: bool) -> std::result::Result<(), E> {
        self.push(T::from_bool(value))
    }
    fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<(), E> {
        self.push(T::from_u64(value))
    }
    fn visit_i64<E: serde::de::Error>(self, value: i64) -> std::result::Result<(), E> {
        self.push(T::from_i64(value))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> std::result::Result<(), E> {
        self.push(T::from_f64(value))
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> std::result::Result<(), E> {
        self.push(T::from_text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        if self.depth >= DEPTH_MAX {
            return Err(serde::de::Error::custom(format!("arrays are nested deeper than {DEPTH_MAX}")));
        }
        let (depth, count_max) = (self.depth + 1, self.count_max);
        let values = self.values;
        while seq.next_element_seed(Flat { values: &mut *values, depth, count_max, element: PhantomData })?.is_some() {}
        Ok(())
    }
}

fn flat<T: Element>(name: &str, data: &RawValue, count: usize) -> Result<Vec<T>> {
    let bad = |what: String| Error::invalid_argument(format!("data of input {name:?}: {what}"));
    if !data.get().trim_start().starts_with('[') {
        return Err(bad("expected an array".to_owned()));
    }
    let mut values = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(data.get());
    let seed = Flat { values: &mut values, depth: 0, count_max: count, element: PhantomData };
    seed.deserialize(&mut deserializer).map_err(|error| bad(error.to_string()))?;
    if values.len() != count {
        return Err(bad(format!("the shape holds {count} elements, found {}", values.len())));
    }
    Ok(values)
}

/// Reads the `data` of an input.
pub(super) fn decode(name: &str, data_type: TensorType, count: usize, data: &RawValue) -> Result<ArrayRef> {
    macro_rules! read {
        ($type:ty, $arrow:ty) => {
            Arc::new(PrimitiveArray::<$arrow>::from(flat::<$type>(name, data, count)?))
        };
    }
    Ok(match data_type {
        TensorType::Bool => Arc::new(BooleanArray::from(flat::<bool>(name, data, count)?)),
        TensorType::Uint8 => read!(u8, UInt8Type),
        TensorType::Uint16 => read!(u16, UInt16Type),
        TensorType::Uint32 => read!(u32, UInt32Type),
        TensorType::Uint64 => read!(u64, UInt64Type),
        TensorType::Int8 => read!(i8, Int8Type),
        TensorType::Int16 => read!(i16, Int16Type),
        TensorType::Int32 => read!(i32, Int32Type),
        TensorType::Int64 => read!(i64, Int64Type),
        TensorType::Fp32 => read!(f32, Float32Type),
        TensorType::Fp64 => read!(f64, Float64Type),
        TensorType::Bytes => Arc::new(BinaryArray::from_iter_values(flat::<Vec<u8>>(name, data, count)?)),
        TensorType::Fp16 | TensorType::Bf16 => {
            return Err(Error::invalid_argument(format!(
                "input {name:?}: {data_type} has no JSON form; send it as binary data"
            )));
        }
    })
}

/// The values as a flat JSON array.
pub(super) fn encode(name: &str, values: &ArrayRef) -> Result<Box<RawValue>> {
    let internal = |error: serde_json::Error| Error::internal(format!("output {name:?} is not JSON: {error}"));
    macro_rules! plain {
        ($($type:ty),*) => {
            $(if let Some(array) = values.as_primitive_opt::<$type>() {
                return to_raw_value(&array.values()[..]).map_err(internal);
            })*
        };
    }
    macro_rules! finite {
        ($($type:ty),*) => {
            $(if let Some(array) = values.as_primitive_opt::<$type>() {
                if !array.values().iter().all(|value| value.is_finite()) {
                    return Err(Error::failed_precondition(format!(
                        "output {name:?} holds NaN or infinity, which JSON cannot carry; ask for binary data"
                    )));
                }
            })*
        };
    }
    finite!(Float32Type, Float64Type);
    plain!(
        UInt8Type,
        UInt16Type,
        UInt32Type,
        UInt64Type,
        Int8Type,
        Int16Type,
        Int32Type,
        Int64Type,
        Float32Type,
        Float64Type
    );
    if let Some(array) = values.as_boolean_opt() {
        return to_raw_value(&(0..array.len()).map(|index| array.value(index)).collect::<Vec<_>>()).map_err(internal);
    }
    if let Some(array) = values.as_binary_opt::<i32>() {
        let texts = array
            .iter()
            .map(|element| std::str::from_utf8(element.unwrap_or_default()))
            .collect::<std::result::Result<Vec<_>, _>>();
        let texts = texts
            .map_err(|_| Error::failed_precondition(format!("output {name:?} is not UTF-8; ask for binary data")))?;
        return to_raw_value(&texts).map_err(internal);
    }
    Err(Error::failed_precondition(format!("output {name:?} has no JSON form; ask for binary data")))
}
