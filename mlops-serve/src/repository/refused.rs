//! An error that is remembered, to be told again without doing the work again.

use mlops_core::{Error, ErrorKind};

/// Kind and text of an error with its causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    kind: ErrorKind,
    text: String,
}

impl Refused {
    pub(crate) fn of(error: &Error) -> Self {
        Self { kind: error.kind(), text: error.chain().to_string() }
    }

    pub(crate) fn into_error(self) -> Error {
        Error::new(self.kind, self.text)
    }
}
