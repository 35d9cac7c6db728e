//! One rule: what is expected, of which and how many rows, what a null counts as, how bad it is.

use std::fmt;

use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::{condition::Condition, expectation::Expectation};

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

/// What a broken rule means for the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is reported, and the batch passes.
    Warning,
    /// The batch fails; the default.
    #[default]
    Error,
}

/// An expectation with its tolerance.
///
/// ```
/// use mlops_monitor::quality::{Rule, Severity};
///
/// let rule = Rule::between("minutes", 0.0..=300.0)
///     .mostly(0.99)
///     .filter("cancelled = false and city in ('Graz', 'Linz')".parse()?)
///     .severity(Severity::Warning);
/// let json = serde_json::to_string(&rule)?;
/// assert!(json.contains(r#""where":"cancelled = false and city in ('Graz', 'Linz')""#));
/// assert_eq!(serde_json::from_str::<Rule>(&json)?, rule);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What is expected.
    #[serde(flatten)]
    pub expectation: Expectation,
    /// Share of the counted rows that must keep the rule, above 0 up to 1. A rule without counted
    /// rows holds. Without effect on rules that are not about single rows.
    #[serde(default = "all")]
    pub mostly: f64,
    /// What a null counts as. Without effect on `not_null`, `is_null`, rules about several columns
    /// and rules that are not about single rows.
    #[serde(default)]
    pub nulls: Nulls,
    /// Rows that the rule is about; all when absent. Without effect on rules about the schema.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub filter: Option<Condition>,
    /// What breaking it means.
    #[serde(default, skip_serializing_if = "is_error")]
    pub severity: Severity,
}

fn all() -> f64 {
    1.0
}

fn is_error(severity: &Severity) -> bool {
    *severity == Severity::Error
}

impl From<Expectation> for Rule {
    fn from(expectation: Expectation) -> Self {
        Self { expectation, mostly: all(), nulls: Nulls::default(), filter: None, severity: Severity::default() }
    }
}

impl Rule {
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

    /// Says which rows the rule is about (`where`).
    #[must_use]
    pub fn filter(mut self, condition: Condition) -> Self {
        self.filter = Some(condition);
        self
    }

    /// Says what breaking it means.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// # Errors
    /// `InvalidArgument` when the rule can never be kept or never makes sense.
    pub(super) fn validate(&self) -> Result<()> {
        super::validity::check(self)
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
