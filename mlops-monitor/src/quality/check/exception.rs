//! Why a rule could not be judged. The rest of the suite is judged all the same.

use std::fmt;

use arrow_schema::ArrowError;
use serde::{Deserialize, Serialize};

/// The kind of obstacle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ExceptionKind {
    /// The data have no such column.
    MissingColumn,
    /// The rule does not fit the column's type.
    UnsupportedType,
    /// The column's type is another than in an earlier batch.
    TypeChanged,
    /// More distinct values than `distinct_max` or `distinct_bytes_max` allow; raise the setting.
    TooManyDistinct,
    /// More values than `values_max` allows; raise the setting.
    TooManyValues,
    /// The run was not given the other table that the rule names.
    MissingTable,
    /// No batch was observed.
    NoData,
    /// A column cannot be read, such as a dictionary with keys beyond its values.
    Unreadable,
}

/// Why a rule could not be judged. It holds no row value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleException {
    /// The kind.
    pub kind: ExceptionKind,
    /// What was expected and what was found.
    pub message: String,
}

impl RuleException {
    pub(crate) fn new(kind: ExceptionKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn unsupported(wanted: &str, found: &impl fmt::Display) -> Self {
        Self::new(ExceptionKind::UnsupportedType, format!("the rule needs {wanted}, the column is {found}"))
    }
}

impl fmt::Display for RuleException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ArrowError> for RuleException {
    fn from(error: ArrowError) -> Self {
        Self::new(ExceptionKind::Unreadable, error.to_string())
    }
}

/// The outcome of anything a rule does with data.
pub(crate) type Checked<T> = Result<T, RuleException>;
