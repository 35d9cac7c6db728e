//! The YAML of DVC's files: a tree that keeps the order of keys, and the types that DVC's own parser would find.
//!
//! Reading accepts what people write (YAML 1.2 by `saphyr-parser`); writing gives byte for byte what DVC's dumper
//! (ruamel.yaml, round-trip, block style, width 80) would. Not here: comments, tags, several documents.

mod number;
mod read;
mod scalar;
mod write;

pub(super) use number::float_text;
pub(super) use read::{BYTES_MAX, parse};
pub(super) use scalar::{Scalar, Type};
pub(super) use write::render;

use std::ops::Range;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Mapping),
}

/// Keys with their values, in order.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Mapping(Vec<(Scalar, Node)>);

impl Node {
    /// Text that is text, whatever it looks like.
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Scalar(Scalar::text(text))
    }

    /// A plain scalar: a number or a truth value.
    pub(super) fn plain(value: impl std::fmt::Display) -> Self {
        Self::Scalar(Scalar::plain(value.to_string()))
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Scalar(scalar) => scalar.as_str(),
            _ => None,
        }
    }

    pub(super) fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Scalar(scalar) if scalar.kind() == Type::Bool => Some(scalar.source().eq_ignore_ascii_case("true")),
            _ => None,
        }
    }

    pub(super) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Scalar(scalar) if scalar.kind() == Type::Int => scalar.normal().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Scalar(scalar) if scalar.kind() == Type::Null)
    }

    pub(super) fn as_sequence(&self) -> Option<&[Node]> {
        match self {
            Self::Sequence(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn as_mapping(&self) -> Option<&Mapping> {
        match self {
            Self::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// Where a scalar stands in the text that it was read from, in characters.
    pub(super) fn span(&self) -> Option<Range<usize>> {
        match self {
            Self::Scalar(scalar) => scalar.span(),
            _ => None,
        }
    }
}

impl Mapping {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Scalar, &Node)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|(known, _)| known.source() == key).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|(known, _)| known.source() == key).map(|(_, value)| value)
    }

    /// Sets `key`, at its place or at the end.
    pub(super) fn set(&mut self, key: impl Into<String>, value: Node) {
        let key = key.into();
        match self.get_mut(&key) {
            Some(known) => *known = value,
            None => self.push(Scalar::text(key), value),
        }
    }

    pub(super) fn push(&mut self, key: Scalar, value: Node) {
        self.0.push((key, value));
    }
}

impl<K: Into<String>> FromIterator<(K, Node)> for Mapping {
    fn from_iter<T: IntoIterator<Item = (K, Node)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (Scalar::text(key), value)).collect())
    }
}
