//! JSON arrays into typed Arrow arrays, without a tree of values in between.
//!
//! Two ways in: [`decode`] knows the shape beforehand and takes data flat or nested; [`decode_rows`] and
//! [`decode_whole`] find the shape in the nesting, which must be regular, and take what the protocols without declared
//! shapes allow: `{"b64": text}` for bytes, null where the model allows it, and quoted non-finite numbers.

use std::{fmt, marker::PhantomData, sync::Arc};

use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, PrimitiveArray, new_empty_array,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use mlops_core::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{element::Element, number::number};
use crate::tensor::{Tensor, TensorInfo, TensorType};

/// Deepest nesting of `data`; shapes have few dimensions.
const DEPTH_MAX: usize = 32;

/// The shape that regular nesting has, found as it is read.
#[derive(Debug, Default)]
struct Nesting {
    /// Length of the arrays at each depth, once one has ended.
    dims: Vec<Option<usize>>,
    /// Depth of the scalars, once one was seen.
    leaf: Option<usize>,
}

impl Nesting {
    /// Whether scalars may stand at `depth`.
    fn scalar(&mut self, depth: usize) -> bool {
        *self.leaf.get_or_insert(depth) == depth
    }

    /// Whether an array at `depth` may have `length` parts.
    fn array(&mut self, depth: usize, length: usize) -> bool {
        if self.dims.len() <= depth {
            self.dims.resize(depth + 1, None);
        }
        match self.dims.get_mut(depth) {
            Some(slot) => *slot.get_or_insert(length) == length,
            None => false,
        }
    }

    fn shape(&self) -> Vec<usize> {
        self.dims.iter().map(|dim| dim.unwrap_or(0)).collect()
    }
}

/// Collects scalars at any depth.
struct Flat<'a, T> {
    values: &'a mut Vec<T>,
    /// None where the shape is known and nesting does not matter.
    nesting: Option<&'a mut Nesting>,
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
        if self.nesting.is_some_and(|nesting| !nesting.scalar(self.depth)) {
            return Err(E::custom("values stand at different depths"));
        }
        self.values.push(value);
        Ok(())
    }

    fn loose(&self) -> bool {
        self.nesting.is_some()
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
    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<(), E> {
        self.push(T::from_null())
    }
    fn visit_str<E: serde::de::Error>(self, value: &str) -> std::result::Result<(), E> {
        let non_finite = match value {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        };
        let non_finite = non_finite.filter(|_| self.loose()).and_then(T::from_non_finite);
        self.push(T::from_text(value).or(non_finite))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let bad = || serde::de::Error::custom(format!("expected {}, or {{\"b64\": text}} for bytes", T::EXPECTED));
        let text = match map.next_entry::<String, String>()? {
            Some((key, text)) if self.loose() && key == "b64" => text,
            _ => return Err(bad()),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(bad());
        }
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| serde::de::Error::custom("b64 is not base64"))?;
        self.push(T::from_bytes(bytes))
    }
    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> std::result::Result<(), A::Error> {
        if self.depth >= DEPTH_MAX {
            return Err(serde::de::Error::custom(format!("arrays are nested deeper than {DEPTH_MAX}")));
        }
        let (depth, count_max) = (self.depth + 1, self.count_max);
        let mut length = 0;
        loop {
            let nesting = self.nesting.as_deref_mut();
            let part = Flat { values: &mut *self.values, nesting, depth, count_max, element: PhantomData };
            if seq.next_element_seed(part)?.is_none() {
                break;
            }
            length += 1;
        }
        if self.nesting.is_some_and(|nesting| !nesting.array(self.depth, length)) {
            return Err(serde::de::Error::custom("arrays at one depth have different lengths"));
        }
        Ok(())
    }
}

fn flat<T: Element>(name: &str, data: &RawValue, count: usize) -> Result<Vec<T>> {
    let bad = |what: String| Error::invalid_argument(format!("data of input {name:?}: {what}"));
    if !data.get().trim_start().starts_with('[') {
        return Err(bad("expected an array".to_owned()));
    }
    if let Some(values) = numbers(data, count) {
        return Ok(values);
    }
    let mut values = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(data.get());
    let seed = Flat { values: &mut values, nesting: None, depth: 0, count_max: count, element: PhantomData };
    seed.deserialize(&mut deserializer).map_err(|error| bad(error.to_string()))?;
    if values.len() != count {
        return Err(bad(format!("the shape holds {count} elements, found {}", values.len())));
    }
    Ok(values)
}

/// The same for nothing but numbers that all fit, which is what nearly every request holds. A raw value is JSON already,
/// so its numbers need no check of their form; anything else is none, and left to those who know what to say of it.
fn numbers<T: Element>(data: &RawValue, count: usize) -> Option<Vec<T>> {
    if !T::NUMBER {
        return None;
    }
    let text = data.get();
    // Two bytes are the least that a number takes, and it becomes at most sixteen: a declared shape reserves a small
    // multiple of what was sent.
    let mut values = Vec::with_capacity(count.min(text.len() / 2));
    let (mut rest, mut depth) = (text, 0_usize);
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'[' | b']' => {
                depth = if first == b'[' { depth + 1 } else { depth.checked_sub(1)? };
                1
            }
            b' ' | b'\n' | b'\r' | b'\t' | b',' => 1,
            b'-' | b'0'..=b'9' => {
                let (value, length) = number(rest)?;
                values.push(value);
                length
            }
            _ => return None,
        };
        if depth > DEPTH_MAX || values.len() > count {
            return None;
        }
        rest = rest.get(length..)?;
    }
    (values.len() == count).then_some(values)
}

/// Where values without a declared shape stand.
#[derive(Clone, Copy)]
enum Loose<'a> {
    /// Side by side, one for each row.
    Rows(&'a [&'a RawValue]),
    /// In one array of the rows.
    Whole(&'a RawValue),
}

/// Values and shape.
fn nested<T: Element>(name: &str, data: Loose<'_>) -> Result<(Vec<T>, Vec<usize>)> {
    let (mut values, mut nesting) = (Vec::new(), Nesting::default());
    let mut read = |data: &RawValue, depth: usize| {
        let mut deserializer = serde_json::Deserializer::from_str(data.get());
        let count_max = usize::MAX;
        let seed = Flat { values: &mut values, nesting: Some(&mut nesting), depth, count_max, element: PhantomData };
        seed.deserialize(&mut deserializer)
            .map_err(|error| Error::invalid_argument(format!("values of input {name:?}: {error}")))
    };
    match data {
        Loose::Whole(data) => read(data, 0)?,
        Loose::Rows(rows) => rows.iter().try_for_each(|row| read(row, 1))?,
    }
    let mut shape = nesting.shape();
    match (data, shape.first_mut()) {
        (Loose::Whole(_), Some(_)) => {}
        (Loose::Whole(_), None) => {
            return Err(Error::invalid_argument(format!("values of input {name:?}: expected an array, its rows")));
        }
        (Loose::Rows(rows), Some(first)) => *first = rows.len(),
        (Loose::Rows(rows), None) => shape.push(rows.len()),
    }
    Ok((values, shape))
}

/// Calls `$read` with the Rust and the Arrow type of a datatype that JSON can carry.
macro_rules! by_type {
    ($name:expr, $data_type:expr, $bool:expr, $bytes:expr, $read:ident) => {
        match $data_type {
            TensorType::Bool => $bool,
            TensorType::Uint8 => $read!(u8, UInt8Type),
            TensorType::Uint16 => $read!(u16, UInt16Type),
            TensorType::Uint32 => $read!(u32, UInt32Type),
            TensorType::Uint64 => $read!(u64, UInt64Type),
            TensorType::Int8 => $read!(i8, Int8Type),
            TensorType::Int16 => $read!(i16, Int16Type),
            TensorType::Int32 => $read!(i32, Int32Type),
            TensorType::Int64 => $read!(i64, Int64Type),
            TensorType::Fp32 => $read!(f32, Float32Type),
            TensorType::Fp64 => $read!(f64, Float64Type),
            TensorType::Bytes => $bytes,
            TensorType::Fp16 | TensorType::Bf16 => {
                return Err(Error::invalid_argument(format!(
                    "input {:?}: {} has no JSON form; send it as binary data over Open Inference",
                    $name, $data_type
                )));
            }
        }
    };
}

/// Reads the `data` of an input whose shape is declared.
pub(crate) fn decode(name: &str, data_type: TensorType, count: usize, data: &RawValue) -> Result<ArrayRef> {
    macro_rules! read {
        ($type:ty, $arrow:ty) => {
            Arc::new(PrimitiveArray::<$arrow>::from(flat::<$type>(name, data, count)?)) as ArrayRef
        };
    }
    Ok(by_type!(
        name,
        data_type,
        Arc::new(BooleanArray::from(flat::<bool>(name, data, count)?)) as ArrayRef,
        Arc::new(BinaryArray::from_iter_values(flat::<Vec<u8>>(name, data, count)?)) as ArrayRef,
        read
    ))
}

/// Reads one value per row; the first dimension is their number.
///
/// # Errors
/// `InvalidArgument` when the values are not of the input's type or their nesting is irregular. The shape is not
/// checked against the input's.
pub(crate) fn decode_rows(info: &TensorInfo, rows: &[&RawValue]) -> Result<Tensor> {
    decode_loose(info, Loose::Rows(rows))
}

fn decode_loose(info: &TensorInfo, data: Loose<'_>) -> Result<Tensor> {
    let name = info.name.as_str();
    macro_rules! read {
        ($type:ty, $arrow:ty) => {
            if info.nullable {
                let (values, shape) = nested::<Option<$type>>(name, data)?;
                (Arc::new(PrimitiveArray::<$arrow>::from(values)) as ArrayRef, shape)
            } else {
                let (values, shape) = nested::<$type>(name, data)?;
                (Arc::new(PrimitiveArray::<$arrow>::from(values)) as ArrayRef, shape)
            }
        };
    }
    let (values, shape) = by_type!(
        name,
        info.data_type,
        if info.nullable {
            let (values, shape) = nested::<Option<bool>>(name, data)?;
            (Arc::new(BooleanArray::from(values)) as ArrayRef, shape)
        } else {
            let (values, shape) = nested::<bool>(name, data)?;
            (Arc::new(BooleanArray::from(values)) as ArrayRef, shape)
        },
        if info.nullable {
            let (values, shape) = nested::<Option<Vec<u8>>>(name, data)?;
            (Arc::new(BinaryArray::from_iter(values)) as ArrayRef, shape)
        } else {
            let (values, shape) = nested::<Vec<u8>>(name, data)?;
            (Arc::new(BinaryArray::from_iter_values(values)) as ArrayRef, shape)
        },
        read
    );
    if shape.first() == Some(&0) {
        // Nothing shows the inner dimensions, so they are the model's.
        let inner = info.shape.iter().skip(1).map(|dim| usize::try_from(*dim).unwrap_or(0));
        let shape: Vec<usize> = std::iter::once(0).chain(inner).collect();
        return Tensor::new(name, info.data_type, shape, new_empty_array(&info.data_type.storage()));
    }
    Tensor::new(name, info.data_type, shape, values)
}

/// Reads one whole tensor.
///
/// # Errors
/// As [`decode_rows`].
pub(crate) fn decode_whole(info: &TensorInfo, data: &RawValue) -> Result<Tensor> {
    if !info.shape.is_empty() {
        return decode_loose(info, Loose::Whole(data));
    }
    let tensor = decode_rows(info, &[data])?;
    Tensor::new(tensor.name(), tensor.data_type(), [], Arc::clone(tensor.values()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(info: &TensorInfo, json: &str) -> Result<Tensor> {
        let raw = RawValue::from_string(json.to_owned()).unwrap();
        decode_whole(info, &raw)
    }

    #[test]
    fn the_shape_is_that_of_the_nesting() {
        let info = TensorInfo::new("x", TensorType::Fp32, [-1, -1]);
        assert_eq!(read(&info, "[[1,2,3],[4,5,6]]").unwrap().shape(), [2, 3]);
        assert_eq!(read(&info, "[]").unwrap().shape(), [0, 0]);
        assert_eq!(read(&info, "[[],[]]").unwrap().shape(), [2, 0]);
        assert_eq!(read(&info, "[1,2]").unwrap().shape(), [2]);
        for irregular in ["[[1],[2,3]]", "[1,[2]]", "[[1],2]", "[[[1]],[2]]", "[[1],[]]", "[[],[1]]", "3", "{}"] {
            assert!(read(&info, irregular).is_err(), "{irregular}");
        }
    }

    #[test]
    fn null_bytes_and_non_finite_numbers_are_taken_where_they_mean_something() {
        let mut info = TensorInfo::new("x", TensorType::Fp64, [-1]);
        assert!(read(&info, "[1,null]").is_err());
        info.nullable = true;
        assert_eq!(arrow_array::Array::null_count(read(&info, "[1,null]").unwrap().values()), 1);
        assert_eq!(read(&info, r#"["NaN","-Infinity"]"#).unwrap().shape(), [2]);
        assert!(read(&info, r#"["1"]"#).is_err());
        let bytes = TensorInfo::new("x", TensorType::Bytes, [-1]);
        let values = read(&bytes, r#"[{"b64":"/w=="},"a"]"#).unwrap();
        assert_eq!(values.values().to_data(), BinaryArray::from(vec![&b"\xff"[..], b"a"]).into());
        for bad in [r#"[{"b64":"?"}]"#, r#"[{"b64":"/w==","x":"y"}]"#, r#"[{}]"#, "[1]"] {
            assert!(read(&bytes, bad).is_err(), "{bad}");
        }
    }

    /// The bits of what the quick and the thorough way make of the same text, where the quick one takes it.
    fn both<T: Element + Copy>(json: &str, count: usize, bits: impl Fn(T) -> u64) -> Option<(Vec<u64>, Vec<u64>)> {
        let raw = RawValue::from_string(json.to_owned()).unwrap();
        let quick = numbers::<T>(&raw, count)?;
        let mut thorough = Vec::new();
        let seed = Flat::<T> { values: &mut thorough, nesting: None, depth: 0, count_max: count, element: PhantomData };
        seed.deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap();
        Some((quick.into_iter().map(&bits).collect(), thorough.into_iter().map(&bits).collect()))
    }

    #[test]
    fn the_quick_way_leaves_what_it_cannot_take() {
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        assert_eq!(numbers::<i32>(&raw(" [[1, 2],\n[-3]] "), 3), Some(vec![1, 2, -3]));
        for (json, count) in
            [("[1,2]", 3), ("[1,2,3]", 2), ("[1.0,2]", 2), ("[1,null]", 2), ("[\"1\"]", 1), ("[3000000000]", 1)]
        {
            assert_eq!(numbers::<i32>(&raw(json), count), None, "{json}");
        }
        assert_eq!(numbers::<f32>(&raw("[1e39]"), 1), None, "it would become infinite");
        assert_eq!(numbers::<Vec<u8>>(&raw("[]"), 0), None, "text is no number");
        let deep = format!("{}{}", "[".repeat(DEPTH_MAX + 1), "]".repeat(DEPTH_MAX + 1));
        assert_eq!(numbers::<f32>(&raw(&deep), 0), None);
    }

    proptest! {
        #[test]
        fn both_ways_read_the_same_bits(
            texts in proptest::collection::vec(
                "-?(0|[1-9][0-9]{0,19})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", 1..20,
            ),
        ) {
            let json = format!("[{}]", texts.join(", "));
            let count = texts.len();
            if let Some((quick, thorough)) = both::<f64>(&json, count, f64::to_bits) {
                prop_assert_eq!(quick, thorough);
            }
            if let Some((quick, thorough)) = both::<f32>(&json, count, |value| u64::from(value.to_bits())) {
                prop_assert_eq!(quick, thorough);
            }
            if let Some((quick, thorough)) = both::<i64>(&json, count, |value| value as u64) {
                prop_assert_eq!(quick, thorough);
            }
            if let Some((quick, thorough)) = both::<u64>(&json, count, |value| value) {
                prop_assert_eq!(quick, thorough);
            }
        }
    }
}
