//! What a message would weigh in memory, found before it is built.
//!
//! Two bytes on the wire can become hundreds: an empty nested message, an empty byte string, a number of seven bits. So
//! the parts of a message that grow are described by its [`Layout`], and everything else counts what it takes on the
//! wire.

use bytes::{Buf as _, Bytes};
use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};

/// A field that grows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// A message of this layout.
    Message(&'static Layout),
    /// Numbers of a variable length, each of so many bytes in memory.
    Numbers(usize),
    /// Byte strings, which share the memory of the message and have a handle each.
    Bytes,
}

/// The fields of a message that grow, by their tags.
#[derive(Debug)]
pub(crate) struct Layout(pub(crate) &'static [(u32, Part)]);

/// A message with a layout.
pub(crate) trait Laid {
    const LAYOUT: &'static Layout = &Layout(&[]);
}

/// What a message has and weighs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Fields of all messages in it, but for single elements of tensors.
    pub(crate) fields: usize,
    /// Elements of tensors and dimensions, bytes.
    pub(crate) bytes: usize,
}

const HANDLE_BYTES: usize = size_of::<Bytes>();

/// Weighs a message.
///
/// # Errors
/// For bytes that are no message.
pub(crate) fn weigh(mut message: &[u8], layout: &Layout) -> Result<Weight, DecodeError> {
    let mut weight = Weight::default();
    while message.has_remaining() {
        let (tag, wire_type) = decode_key(&mut message)?;
        let part = layout.0.iter().find(|(known, _)| *known == tag).map(|(_, part)| *part);
        match (part, wire_type) {
            (Some(part), WireType::LengthDelimited) => weight = weight.and(part.weigh(delimited(&mut message)?)?),
            (Some(Part::Numbers(size)), _) => {
                skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
                weight.bytes = weight.bytes.saturating_add(size);
            }
            _ => {
                skip_field(wire_type, tag, &mut message, DecodeContext::default())?;
                weight.fields += 1;
            }
        }
    }
    Ok(weight)
}

impl Part {
    fn weigh(self, content: &[u8]) -> Result<Weight, DecodeError> {
        Ok(match self {
            Self::Message(layout) => Weight { fields: 1, bytes: 0 }.and(weigh(content, layout)?),
            // Each number ends in the one byte whose highest bit is not set.
            Self::Numbers(size) => {
                let count = content.iter().filter(|byte| **byte < 0x80).count();
                Weight { fields: 0, bytes: count.saturating_mul(size) }
            }
            Self::Bytes => Weight { fields: 0, bytes: content.len().saturating_add(HANDLE_BYTES) },
        })
    }
}

impl Weight {
    fn and(self, other: Self) -> Self {
        Self { fields: self.fields.saturating_add(other.fields), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// The content of a field that says its length; what is cut short is weighed as far as it goes, and decoding refuses it.
fn delimited<'a>(message: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = usize::try_from(decode_varint(message)?).unwrap_or(usize::MAX);
    let (content, rest) = message.split_at_checked(length).unwrap_or((message, &[]));
    *message = rest;
    Ok(content)
}
