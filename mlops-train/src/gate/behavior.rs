//! What a model must do whatever its metrics are: behavioural tests in the manner of CheckList
//! (Ribeiro et al., ACL 2020) and business rules as named scenarios.

use std::collections::BTreeMap;

use arrow_array::RecordBatch;
use arrow_schema::Schema;
use mlops_core::{Error, Model, Result};
use serde::{Deserialize, Serialize};

use super::columns;
use crate::{params::ParamValue, trainer::scores};

/// A change of one column of every row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// To one value.
    Set {
        /// The column.
        column: String,
        /// The value.
        value: ParamValue,
    },
    /// By an amount.
    Add {
        /// The column, of numbers.
        column: String,
        /// What is added.
        amount: f64,
    },
    /// By a factor.
    Scale {
        /// The column, of numbers.
        column: String,
        /// What it is multiplied by.
        factor: f64,
    },
}

impl Change {
    pub(super) fn apply(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        match self {
            Self::Set { column, value } => columns::set(batch, column, value),
            Self::Add { column, amount } => columns::map(batch, column, |value| value + amount),
            Self::Scale { column, factor } => columns::map(batch, column, |value| value * factor),
        }
    }
}

/// What a change may do to scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "expect", rename_all = "snake_case")]
pub enum Expectation {
    /// Nothing, up to a tolerance: the change must not matter.
    Invariant {
        /// Largest difference that counts as none.
        tolerance: f64,
    },
    /// They may rise or stay, not fall by more than the tolerance.
    NotFall {
        /// Largest fall that counts as none.
        tolerance: f64,
    },
    /// They may fall or stay, not rise by more than the tolerance.
    NotRise {
        /// Largest rise that counts as none.
        tolerance: f64,
    },
}

impl Expectation {
    pub(super) fn tolerance(self) -> f64 {
        match self {
            Self::Invariant { tolerance } | Self::NotFall { tolerance } | Self::NotRise { tolerance } => tolerance,
        }
    }

    fn holds(self, before: f64, after: f64) -> bool {
        match self {
            Self::Invariant { tolerance } => (after - before).abs() <= tolerance,
            Self::NotFall { tolerance } => before - after <= tolerance,
            Self::NotRise { tolerance } => after - before <= tolerance,
        }
    }
}

/// Share of rows whose score does as expected when they are changed.
pub(super) fn share_as_expected(
    model: &dyn Model,
    batch: &RecordBatch,
    change: &Change,
    expectation: Expectation,
) -> Result<f64> {
    let before = scores(model, batch)?;
    let after = scores(model, &change.apply(batch)?)?;
    if before.is_empty() {
        return Err(Error::failed_precondition("a behavioural test needs rows"));
    }
    let kept = before.iter().zip(&after).filter(|(before, after)| expectation.holds(**before, **after)).count();
    Ok(kept as f64 / before.len() as f64)
}

/// A business rule: for this row the score must lie within bounds.
///
/// ```
/// use mlops_train::gate::Scenario;
///
/// let rule = Scenario::new("a minor gets no loan").with("age", 17).with("income", 90_000.0).score_at_most(0.1);
/// let json = serde_json::to_string(&rule)?;
/// assert_eq!(serde_json::from_str::<Scenario>(&json)?, rule);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the rule says.
    pub name: String,
    /// Values by column; columns that are not named are missing.
    pub row: BTreeMap<String, ParamValue>,
    /// Least score.
    #[serde(default)]
    pub score_min: Option<f64>,
    /// Greatest score.
    #[serde(default)]
    pub score_max: Option<f64>,
}

impl Scenario {
    /// A rule without values or bounds yet.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), row: BTreeMap::new(), score_min: None, score_max: None }
    }

    /// Sets a column of the row.
    #[must_use]
    pub fn with(mut self, column: impl Into<String>, value: impl Into<ParamValue>) -> Self {
        self.row.insert(column.into(), value.into());
        self
    }

    /// The score must be at least this.
    #[must_use]
    pub fn score_at_least(mut self, score: f64) -> Self {
        self.score_min = Some(score);
        self
    }

    /// The score must be at most this.
    #[must_use]
    pub fn score_at_most(mut self, score: f64) -> Self {
        self.score_max = Some(score);
        self
    }

    pub(super) fn fault(&self) -> Option<&'static str> {
        let bounds = [self.score_min, self.score_max];
        if bounds == [None, None] || bounds.into_iter().flatten().any(|bound| !bound.is_finite()) {
            Some("needs a finite bound of the score")
        } else if self.score_min.zip(self.score_max).is_some_and(|(min, max)| min > max) {
            Some("needs a least score that is not above the greatest")
        } else {
            None
        }
    }

    /// The score of the row, and whether it lies within the bounds.
    pub(super) fn judge(&self, model: &dyn Model, schema: &Schema) -> Result<(f64, bool)> {
        let found = scores(model, &columns::row(schema, &self.row)?)?;
        let score = found.first().copied().ok_or_else(|| Error::internal("the model gave no score for a row"))?;
        let within = self.score_min.is_none_or(|min| score >= min) && self.score_max.is_none_or(|max| score <= max);
        Ok((score, within))
    }
}
