//! Tensor data as JSON: numbers straight into typed vectors, flat or nested, and back.

mod decode;
mod element;
mod encode;
mod non_finite;
mod number;

pub(crate) use decode::{decode, decode_rows, decode_whole};
#[cfg(feature = "remote")]
pub(crate) use encode::encoded;
pub(crate) use encode::{Scalars, append, encode};
pub(crate) use non_finite::quoted;
