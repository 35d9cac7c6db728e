//! Typed values as JSON: flat in one go, or element by element for answers that are nested.

use std::fmt;

use arrow_array::{
    ArrayRef,
    cast::AsArray,
    types::{
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
        UInt64Type,
    },
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use mlops_core::{Error, Result};
#[cfg(feature = "remote")]
use serde_json::value::RawValue;

use crate::tensor::Tensor;

/// The values as a flat JSON array, behind what `out` holds.
///
/// # Errors
/// `FailedPrecondition` for what JSON cannot carry; `out` holds a part of it then.
pub(crate) fn encode(name: &str, values: &ArrayRef, out: &mut Vec<u8>) -> Result<()> {
    macro_rules! plain {
        ($($type:ty),*) => {
            $(if let Some(array) = values.as_primitive_opt::<$type>() {
                return append(&array.values()[..], out);
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
                return append(&array.values()[..], out);
            })*
        };
    }
    finite!(Float32Type, Float64Type);
    plain!(UInt8Type, UInt16Type, UInt32Type, UInt64Type, Int8Type, Int16Type, Int32Type, Int64Type);
    if let Some(array) = values.as_boolean_opt() {
        return append(&(0..array.len()).map(|index| array.value(index)).collect::<Vec<_>>(), out);
    }
    if let Some(array) = values.as_binary_opt::<i32>() {
        let texts = array
            .iter()
            .map(|element| std::str::from_utf8(element.unwrap_or_default()))
            .collect::<std::result::Result<Vec<_>, _>>();
        let texts = texts
            .map_err(|_| Error::failed_precondition(format!("output {name:?} is not UTF-8; ask for binary data")))?;
        return append(&texts, out);
    }
    Err(Error::failed_precondition(format!("output {name:?} has no JSON form; ask for binary data")))
}

/// [`encode`]d values of their own.
///
/// # Errors
/// As [`encode`].
#[cfg(feature = "remote")]
pub(crate) fn encoded(name: &str, values: &ArrayRef) -> Result<Box<RawValue>> {
    let mut out = Vec::new();
    encode(name, values, &mut out)?;
    let text = String::from_utf8(out).map_err(|_| Error::internal("values are not text"))?;
    RawValue::from_string(text).map_err(|error| Error::internal("values are not JSON").with_source(error))
}

type Write<'a> = Box<dyn Fn(usize, &mut Vec<u8>) -> Result<()> + 'a>;

/// Writes the elements of one tensor, nested by its shape.
pub(crate) struct Scalars<'a> {
    shape: &'a [usize],
    write: Write<'a>,
}

impl fmt::Debug for Scalars<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scalars").field("shape", &self.shape).finish_non_exhaustive()
    }
}

impl<'a> Scalars<'a> {
    /// For a tensor; `tokens` writes `NaN`, `Infinity` and `-Infinity` bare, which not every reader takes.
    ///
    /// Byte strings are strings where they are UTF-8 and `{"b64": text}` where not, or always when the name ends in
    /// `_bytes`.
    ///
    /// # Errors
    /// `FailedPrecondition` for types without a JSON form.
    pub(crate) fn of(tensor: &'a Tensor, tokens: bool) -> Result<Self> {
        let (name, shape) = (tensor.name(), tensor.shape());
        Ok(Self { shape, write: writer(name, tensor.values(), tokens)? })
    }

    /// The whole tensor.
    ///
    /// # Errors
    /// `FailedPrecondition` for a number that is not finite, unless tokens are allowed.
    pub(crate) fn whole(&self, out: &mut Vec<u8>) -> Result<()> {
        self.nested(self.shape, 0, out)
    }

    /// One row: the part of the tensor behind the first dimension.
    ///
    /// # Errors
    /// As [`Scalars::whole`].
    pub(crate) fn row(&self, row: usize, out: &mut Vec<u8>) -> Result<()> {
        let inner = self.shape.get(1..).unwrap_or_default();
        self.nested(inner, row * inner.iter().product::<usize>(), out)
    }

    fn nested(&self, shape: &[usize], from: usize, out: &mut Vec<u8>) -> Result<()> {
        let [length, inner @ ..] = shape else { return (self.write)(from, out) };
        let width: usize = inner.iter().product();
        out.push(b'[');
        for index in 0..*length {
            if index > 0 {
                out.push(b',');
            }
            self.nested(inner, from + index * width, out)?;
        }
        out.push(b']');
        Ok(())
    }
}

/// A value behind what `out` holds.
///
/// # Errors
/// `Internal` when it has no JSON form.
pub(crate) fn append<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<()> {
    serde_json::to_writer(out, value).map_err(|error| Error::internal("the answer is not JSON").with_source(error))
}

fn writer<'a>(name: &'a str, values: &'a ArrayRef, tokens: bool) -> Result<Write<'a>> {
    macro_rules! integers {
        ($($type:ty),*) => {
            $(if let Some(array) = values.as_primitive_opt::<$type>() {
                return Ok(Box::new(move |index, out| append(&array.value(index), out)));
            })*
        };
    }
    macro_rules! floats {
        ($($type:ty),*) => {
            $(if let Some(array) = values.as_primitive_opt::<$type>() {
                return Ok(Box::new(move |index, out| {
                    let value = array.value(index);
                    if value.is_finite() {
                        return append(&value, out);
                    }
                    non_finite(name, f64::from(value), tokens, out)
                }));
            })*
        };
    }
    integers!(UInt8Type, UInt16Type, UInt32Type, UInt64Type, Int8Type, Int16Type, Int32Type, Int64Type);
    floats!(Float32Type, Float64Type);
    if let Some(array) = values.as_boolean_opt() {
        return Ok(Box::new(move |index, out| append(&array.value(index), out)));
    }
    if let Some(array) = values.as_binary_opt::<i32>() {
        let always = name.ends_with("_bytes");
        return Ok(Box::new(move |index, out| match std::str::from_utf8(array.value(index)) {
            Ok(text) if !always => append(text, out),
            _ => append(&serde_json::json!({ "b64": BASE64_STANDARD.encode(array.value(index)) }), out),
        }));
    }
    Err(Error::failed_precondition(format!("output {name:?} has no JSON form; ask for it over Open Inference")))
}

fn non_finite(name: &str, value: f64, tokens: bool, out: &mut Vec<u8>) -> Result<()> {
    if !tokens {
        return Err(Error::failed_precondition(format!(
            "output {name:?} holds NaN or infinity, which JSON cannot carry; ask for it over Open Inference in binary"
        )));
    }
    let token: &[u8] = match value {
        value if value.is_nan() => b"NaN",
        value if value < 0.0 => b"-Infinity",
        _ => b"Infinity",
    };
    out.extend_from_slice(token);
    Ok(())
}
