//! What can go wrong, in words that need no allocation beyond a name.

use alloc::string::String;
use core::fmt;

/// Why a model cannot be read or a row not be predicted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes end before the model does.
    Truncated,
    /// Bytes follow the model.
    Trailing,
    /// The bytes do not start with `MLED`.
    NotAModel,
    /// A format that this version does not read.
    Version(u32),
    /// Something is not as the format or a neighbor demands.
    Malformed(&'static str),
    /// A row has another number of values than the model has columns.
    Width {
        /// Columns of the model.
        expected: usize,
        /// Values of the row.
        found: usize,
    },
    /// A value is text where a number is due, or the other way round.
    Type {
        /// The column.
        column: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the model ends too early"),
            Self::Trailing => f.write_str("bytes follow the end of the model"),
            Self::NotAModel => f.write_str("the model does not start with MLED"),
            Self::Version(found) => write!(f, "the model has format {found}, this version reads 1"),
            Self::Malformed(what) => write!(f, "the model is malformed: {what}"),
            Self::Width { expected, found } => write!(f, "a row needs {expected} values, found {found}"),
            Self::Type { column } => write!(f, "column {column:?} holds the other of number and text"),
        }
    }
}

impl core::error::Error for Error {}
