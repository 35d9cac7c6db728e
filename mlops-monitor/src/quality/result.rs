//! What a suite found: one result per rule, in order.
//!
//! Invariant: values out of the data are in it only when the settings say so; counts, row indices
//! and figures about the data always are.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{
    check::RuleException,
    rule::{Rule, Severity},
};
use crate::stats::{count_of, float};

/// How many rows kept and broke a rule about rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Rows that the rule is about.
    pub element_count: u64,
    /// Rows of them without a value, or left out by `ignore_row_if`.
    pub missing_count: u64,
    /// Rows of them that `mostly` is a share of.
    pub counted_count: u64,
    /// Rows of them that break the rule.
    pub unexpected_count: u64,
}

impl Counts {
    /// Rows that break the rule, in percent of the rows counted; `None` without any.
    #[must_use]
    pub fn unexpected_percent(&self) -> Option<f64> {
        percent(self.unexpected_count, self.counted_count)
    }
}

/// `part / whole * 100`, in this order, as the field's tools compute it.
pub(super) fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole) * 100.0)
}

/// What one rule found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleResult {
    /// The rule.
    #[serde(rename = "config")]
    pub rule: Rule,
    /// Whether it holds. A rule that could not be judged does not.
    pub success: bool,
    /// Counts of a rule about rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// The first rows that break it, ascending, counted over all batches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unexpected_rows: Vec<u64>,
    /// What stands in the first of them, at most 20; empty unless `include_values`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial_unexpected: Vec<Json>,
    /// The figure that a rule about the whole judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Json>,
    /// What was expected and what was found, without row values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Why it could not be judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<RuleException>,
}

impl RuleResult {
    /// What went wrong, for people, without row values; `None` when the rule holds.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        if self.success {
            return None;
        }
        if let Some(exception) = &self.exception {
            return Some(exception.message.clone());
        }
        Some(match (&self.counts, &self.detail, &self.observed) {
            (Some(counts), _, _) => {
                let Counts { element_count, counted_count, unexpected_count, .. } = counts;
                let (mostly, skipped) = (self.rule.mostly, element_count.saturating_sub(*counted_count));
                format!(
                    "{unexpected_count} of {counted_count} rows break the rule, a share of {mostly} must keep it ({skipped} nulls skipped)"
                )
            }
            (None, Some(detail), _) => detail.clone(),
            (None, None, Some(observed)) => format!("found {observed}"),
            (None, None, None) => "the figure is outside its limits".to_owned(),
        })
    }

    /// Whether this result fails the batch: it does not hold, and that is an error.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        !self.success && self.rule.severity == Severity::Error
    }
}

/// What a suite found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationResult {
    /// The suite's name.
    pub suite: String,
    /// Whether no rule of severity error failed.
    pub passed: bool,
    /// Rows observed.
    pub rows: u64,
    /// One result per rule, in the order of the suite.
    pub results: Vec<RuleResult>,
}

/// How many rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistics {
    /// Rules.
    pub evaluated_expectations: u64,
    /// Rules that hold.
    pub successful_expectations: u64,
    /// Rules that do not, warnings and rules that could not be judged included.
    pub unsuccessful_expectations: u64,
    /// Rules that hold, in percent; `None` without rules.
    pub success_percent: Option<f64>,
}

impl ValidationResult {
    /// Results that fail the batch.
    pub fn failures(&self) -> impl Iterator<Item = &RuleResult> {
        self.results.iter().filter(|result| result.is_failure())
    }

    /// Results that do not hold and let the batch pass.
    pub fn warnings(&self) -> impl Iterator<Item = &RuleResult> {
        self.results.iter().filter(|result| !result.success && !result.is_failure())
    }

    /// How many rules hold.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let all = count_of(self.results.len());
        let good = count_of(self.results.iter().filter(|result| result.success).count());
        Statistics {
            evaluated_expectations: all,
            successful_expectations: good,
            unsuccessful_expectations: all - good,
            success_percent: percent(good, all),
        }
    }
}
