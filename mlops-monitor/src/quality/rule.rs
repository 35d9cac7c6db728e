//! One rule: what is expected, of how many rows, and what a null counts as.

use std::fmt;

use mlops_core::{DataType, Error, Result};
use serde::{Deserialize, Serialize};

/// What a rule says about rows without a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nulls {
    /// They are left out of the count, as in Great Expectations; the default.
    #[default]
    Skip,
    /// They keep the rule, as in Deequ and pandera.
    Pass,
    /// They break it.
    Fail,
}

/// One allowed value. Compared without conversion: text with text, integers with integers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SetValue {
    /// For boolean columns.
    Bool(bool),
    /// For integer columns.
    Integer(i64),
    /// For floating-point columns, where integers are allowed as well.
    Float(f64),
    /// For text columns.
    Text(String),
}

impl From<&str> for SetValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for SetValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for SetValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for SetValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// What is expected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Expectation {
    /// Every row has a value.
    NotNull {
        /// The column.
        column: String,
        /// Whether NaN counts as no value. In Arrow it is one, so the default is no.
        #[serde(default)]
        nan_as_null: bool,
    },
    /// Numbers lie within inclusive bounds; NaN does not.
    InRange {
        /// The column.
        column: String,
        /// Least value, if there is one.
        #[serde(default)]
        min: Option<f64>,
        /// Greatest value, if there is one.
        #[serde(default)]
        max: Option<f64>,
    },
    /// Values are among these.
    InSet {
        /// The column.
        column: String,
        /// The allowed values, all of one type.
        values: Vec<SetValue>,
    },
    /// No value occurs twice; every row of a repeated value breaks it.
    Unique {
        /// The column.
        column: String,
    },
    /// The batch has the column.
    ColumnPresent {
        /// The column.
        column: String,
    },
    /// The batch has the column with this type; layouts of text and binary count as one.
    ColumnType {
        /// The column.
        column: String,
        /// Its type.
        data_type: DataType,
    },
    /// The number of rows lies within inclusive bounds.
    RowCountBetween {
        /// Fewest rows, if there is a limit.
        #[serde(default)]
        min: Option<u64>,
        /// Most rows, if there is a limit.
        #[serde(default)]
        max: Option<u64>,
    },
}

impl Expectation {
    /// The name in failures.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::NotNull { .. } => "not_null",
            Self::InRange { .. } => "in_range",
            Self::InSet { .. } => "in_set",
            Self::Unique { .. } => "unique",
            Self::ColumnPresent { .. } => "column_present",
            Self::ColumnType { .. } => "column_type",
            Self::RowCountBetween { .. } => "row_count_between",
        }
    }

    /// The column it concerns, when it concerns one.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        match self {
            Self::NotNull { column, .. }
            | Self::InRange { column, .. }
            | Self::InSet { column, .. }
            | Self::Unique { column }
            | Self::ColumnPresent { column }
            | Self::ColumnType { column, .. } => Some(column),
            Self::RowCountBetween { .. } => None,
        }
    }
}

/// An expectation with its tolerance.
///
/// ```
/// use mlops_monitor::quality::{Nulls, Rule};
///
/// let rule: Rule = serde_json::from_str(r#"{"rule": "in_range", "column": "age", "min": 0, "mostly": 0.99}"#)?;
/// assert_eq!(rule, Rule::in_range("age", 0.0..=f64::INFINITY).mostly(0.99));
/// assert_eq!(rule.nulls, Nulls::Skip);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What is expected.
    #[serde(flatten)]
    pub expectation: Expectation,
    /// Share of the counted rows that must keep the rule, above 0 up to 1. A rule without counted
    /// rows holds. Without effect on rules about the whole batch.
    #[serde(default = "all")]
    pub mostly: f64,
    /// What a null counts as. Without effect on `not_null` and rules about the whole batch.
    #[serde(default)]
    pub nulls: Nulls,
}

fn all() -> f64 {
    1.0
}

impl From<Expectation> for Rule {
    fn from(expectation: Expectation) -> Self {
        Self { expectation, mostly: all(), nulls: Nulls::default() }
    }
}

impl Rule {
    /// Every row of `column` has a value.
    #[must_use]
    pub fn not_null(column: impl Into<String>) -> Self {
        Expectation::NotNull { column: column.into(), nan_as_null: false }.into()
    }

    /// Numbers of `column` lie within `range`; an infinite end is no limit.
    #[must_use]
    pub fn in_range(column: impl Into<String>, range: std::ops::RangeInclusive<f64>) -> Self {
        let limit = |end: f64| (!end.is_infinite()).then_some(end);
        Expectation::InRange { column: column.into(), min: limit(*range.start()), max: limit(*range.end()) }.into()
    }

    /// Values of `column` are among `values`.
    #[must_use]
    pub fn in_set<V: Into<SetValue>>(column: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Expectation::InSet { column: column.into(), values: values.into_iter().map(Into::into).collect() }.into()
    }

    /// No value of `column` occurs twice.
    #[must_use]
    pub fn unique(column: impl Into<String>) -> Self {
        Expectation::Unique { column: column.into() }.into()
    }

    /// The batch has `column`.
    #[must_use]
    pub fn column_present(column: impl Into<String>) -> Self {
        Expectation::ColumnPresent { column: column.into() }.into()
    }

    /// The batch has `column` with this type.
    #[must_use]
    pub fn column_type(column: impl Into<String>, data_type: DataType) -> Self {
        Expectation::ColumnType { column: column.into(), data_type }.into()
    }

    /// The number of rows lies within `range`.
    #[must_use]
    pub fn row_count_between(range: std::ops::RangeInclusive<u64>) -> Self {
        Expectation::RowCountBetween { min: Some(*range.start()), max: Some(*range.end()) }.into()
    }

    /// Lets some rows break the rule: the share `mostly` must keep it.
    #[must_use]
    pub fn mostly(mut self, mostly: f64) -> Self {
        self.mostly = mostly;
        self
    }

    /// Says what a null counts as.
    #[must_use]
    pub fn nulls(mut self, nulls: Nulls) -> Self {
        self.nulls = nulls;
        self
    }

    /// # Errors
    /// `InvalidArgument` when the rule can never be kept or never makes sense.
    pub(crate) fn validate(&self) -> Result<()> {
        let fault = |what: String| Err(Error::invalid_argument(format!("rule {self}: {what}")));
        if !(self.mostly > 0.0 && self.mostly <= 1.0) {
            return fault(format!("mostly must be above 0 and at most 1, found {}", self.mostly));
        }
        match &self.expectation {
            Expectation::InRange { min, max, .. } => match (min, max) {
                (None, None) => fault("needs min or max".to_owned()),
                _ if min.is_some_and(f64::is_nan) || max.is_some_and(f64::is_nan) => {
                    fault("a bound is not a number".to_owned())
                }
                (Some(min), Some(max)) if min > max => fault(format!("min {min} is above max {max}")),
                _ => Ok(()),
            },
            Expectation::InSet { values, .. } if values.is_empty() => fault("needs at least one value".to_owned()),
            Expectation::RowCountBetween { min: Some(min), max: Some(max) } if min > max => {
                fault(format!("min {min} is above max {max}"))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expectation.name())?;
        match self.expectation.column() {
            Some(column) => write!(f, " on column {column:?}"),
            None => Ok(()),
        }
    }
}
