//! A suite of rules as the gate in front of a store.
//!
//! Invariant: every rule is evaluated, whatever the others say; a batch passes only if all hold.

use std::collections::HashSet;

use arrow_array::RecordBatch;
use mlops_core::{BatchCheck, CheckFailure, CheckOutcome, Error, Result};
use serde::{Deserialize, Serialize};

use super::{
    check::{ExceptionKind, RuleException, Tables},
    expectation::Expectation,
    result::{RuleResult, ValidationResult},
    rule::Rule,
    run::SuiteRun,
    settings::ValidationSettings,
};

/// Rules that a batch must keep.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::{BatchCheck, arrow_array::{ArrayRef, Int64Array, RecordBatch}};
/// use mlops_monitor::quality::{Rule, Suite};
///
/// let suite = Suite::builder("rides")
///     .with_rule(Rule::not_null("minutes"))
///     .with_rule(Rule::in_range("minutes", 0.0..=300.0))
///     .build()?;
/// let minutes: ArrayRef = Arc::new(Int64Array::from(vec![Some(12), None, Some(-3)]));
/// let outcome = suite.check(&RecordBatch::try_from_iter([("minutes", minutes)])?)?;
/// assert_eq!(outcome.failures[0].rows, [1]);
/// assert_eq!(outcome.failures[1].rows, [2]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "SuiteBuilder")]
pub struct Suite {
    name: String,
    rules: Vec<Rule>,
}

/// Puts a [`Suite`] together; also its serialized form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteBuilder {
    name: String,
    rules: Vec<Rule>,
}

impl SuiteBuilder {
    /// Adds a rule.
    #[must_use]
    pub fn with_rule(mut self, rule: impl Into<Rule>) -> Self {
        self.rules.push(rule.into());
        self
    }

    /// Checks every rule.
    ///
    /// # Errors
    /// `InvalidArgument` naming all rules that make no sense.
    pub fn build(self) -> Result<Suite> {
        let faults: Vec<String> = self
            .rules
            .iter()
            .filter_map(|rule| rule.validate().err())
            .map(|error| error.message().to_owned())
            .collect();
        if !faults.is_empty() {
            let (name, faults) = (self.name, faults.join("; "));
            return Err(Error::invalid_argument(format!("quality suite {name:?}: {faults}")));
        }
        Ok(Suite { name: self.name, rules: self.rules })
    }
}

impl TryFrom<SuiteBuilder> for Suite {
    type Error = Error;

    fn try_from(builder: SuiteBuilder) -> Result<Self> {
        builder.build()
    }
}

impl Suite {
    /// Starts a suite without rules.
    #[must_use]
    pub fn builder(name: impl Into<String>) -> SuiteBuilder {
        SuiteBuilder { name: name.into(), rules: Vec::new() }
    }

    /// The suite's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its rules, in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Starts an evaluation. `tables` are the other tables that rules name.
    #[must_use]
    pub fn start(&self, settings: &ValidationSettings, tables: &Tables) -> SuiteRun {
        SuiteRun::new(self, settings, tables)
    }

    /// Evaluates the suite on batches of one table, without other tables.
    #[must_use]
    pub fn validate(&self, batches: &[RecordBatch], settings: &ValidationSettings) -> ValidationResult {
        let mut run = self.start(settings, &Tables::default());
        for batch in batches {
            run.observe(batch);
        }
        run.finish()
    }

    /// Columns whose presence is itself a rule: where one is missing, its other rules are void.
    fn guarded(&self) -> HashSet<&str> {
        let guards = self.rules.iter().filter(|rule| {
            matches!(rule.expectation, Expectation::ColumnPresent { .. } | Expectation::ColumnType { .. })
        });
        guards.filter_map(|rule| rule.expectation.column()).collect()
    }
}

impl BatchCheck for Suite {
    /// Failures are those of rules with severity error; warnings let the batch pass and are among
    /// [`CheckOutcome::warnings`]. Failures name every offending row and no value.
    ///
    /// A rule that cannot be judged is an error, as on a column that is missing, unless the suite
    /// also has a `column_present` or `column_type` rule for it: then that rule alone fails.
    fn check(&self, batch: &RecordBatch) -> Result<CheckOutcome> {
        let settings = ValidationSettings {
            rows_max: batch.num_rows(),
            distinct_max: batch.num_rows().max(1),
            distinct_bytes_max: usize::MAX,
            values_max: batch.num_rows().max(1),
            ..ValidationSettings::default()
        };
        let guarded = self.guarded();
        let mut outcome = CheckOutcome::default();
        for result in self.validate(std::slice::from_ref(batch), &settings).results {
            match &result.exception {
                Some(exception) if exception.kind == ExceptionKind::MissingColumn => {
                    if !result.rule.expectation.column().is_some_and(|column| guarded.contains(column)) {
                        return Err(self.obstacle(&result.rule, exception));
                    }
                }
                Some(exception) => return Err(self.obstacle(&result.rule, exception)),
                None if result.success => {}
                None if result.is_failure() => outcome.failures.push(failure(&result)),
                None => outcome.warnings.push(failure(&result)),
            }
        }
        Ok(outcome)
    }
}

impl Suite {
    fn obstacle(&self, rule: &Rule, exception: &RuleException) -> Error {
        let name = &self.name;
        Error::invalid_argument(format!("quality suite {name:?}: rule {rule}: {exception}"))
    }
}

fn failure(result: &RuleResult) -> CheckFailure {
    let expectation = &result.rule.expectation;
    CheckFailure {
        rule: expectation.name().to_owned(),
        column: expectation.column().map(str::to_owned),
        message: result.message().unwrap_or_default(),
        rows: result.unexpected_rows.iter().filter_map(|row| usize::try_from(*row).ok()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
    use mlops_core::DataType;

    use super::*;
    use crate::quality::rule::Nulls;

    fn batch() -> RecordBatch {
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(2), None, None])) as ArrayRef),
            ("x", Arc::new(Float64Array::from(vec![Some(0.0), Some(f64::NAN), Some(9.0), None, Some(1.0)]))),
            ("s", Arc::new(StringArray::from(vec![Some("a"), Some("b"), None, Some("c"), Some("a")]))),
            ("b", Arc::new(BooleanArray::from(vec![true, false, true, true, true]))),
        ])
        .unwrap()
    }

    fn broken(rule: Rule) -> Vec<usize> {
        let suite = Suite::builder("t").with_rule(rule).build().unwrap();
        suite.check(&batch()).unwrap().failures.into_iter().flat_map(|failure| failure.rows).collect()
    }

    #[test]
    fn each_rule_names_its_rows() {
        assert_eq!(broken(Rule::not_null("id")), [3, 4]);
        assert_eq!(broken(Rule::from(Expectation::NotNull { column: "x".into(), nan_as_null: true })), [1, 3]);
        assert_eq!(broken(Rule::in_range("x", 0.0..=5.0)), [1, 2]);
        assert_eq!(broken(Rule::in_range("x", 0.0..=5.0).nulls(Nulls::Fail)), [1, 2, 3]);
        assert_eq!(broken(Rule::unique("id")), [1, 2]);
        assert_eq!(broken(Rule::in_set("s", ["a", "b"])), [3]);
        assert_eq!(broken(Rule::in_set("id", [1_i64])), [1, 2]);
        assert_eq!(broken(Rule::in_set("b", [true])), [1]);
        assert_eq!(broken(Rule::in_set("x", [0.0, 1.0])), [1, 2]);
    }

    #[test]
    fn mostly_counts_what_the_null_rule_says() {
        // Three of four values are in the set: 0.75 with nulls left out, 0.8 with nulls passing.
        let rule = || Rule::in_set("s", ["a", "b"]);
        assert!(broken(rule().mostly(0.75)).is_empty());
        assert_eq!(broken(rule().mostly(0.76)), [3]);
        assert!(broken(rule().mostly(0.8).nulls(Nulls::Pass)).is_empty());
        assert_eq!(broken(rule().mostly(0.61).nulls(Nulls::Fail)), [2, 3]);
    }

    #[test]
    fn rules_about_the_batch() {
        let suite = Suite::builder("t")
            .with_rule(Rule::column_present("gone"))
            .with_rule(Rule::not_null("gone"))
            .with_rule(Rule::column_type("x", DataType::Int64))
            .with_rule(Rule::column_type("s", DataType::String))
            .with_rule(Rule::row_count_between(6..=10))
            .build()
            .unwrap();
        let failures = suite.check(&batch()).unwrap().failures;
        let names: Vec<&str> = failures.iter().map(|failure| failure.rule.as_str()).collect();
        assert_eq!(names, ["column_present", "column_type", "row_count_between"]);
        assert!(failures[1].message.contains("Int64") && failures[1].message.contains("Float64"));
    }

    #[test]
    fn what_cannot_be_checked_is_an_error_that_names_it() {
        let error = |rule: Rule| {
            Suite::builder("t").with_rule(rule).build().unwrap().check(&batch()).unwrap_err().message().to_owned()
        };
        assert!(error(Rule::not_null("gone")).contains("\"gone\""));
        assert!(error(Rule::in_range("s", 0.0..=1.0)).contains("Utf8"));
        assert!(error(Rule::in_set("s", [1_i64])).contains("set of the column's type"));
        assert!(error(Rule::in_set("id", [0.5])).contains("set of the column's type"));
    }

    #[test]
    fn suites_are_data_and_checked_when_read() {
        let suite = Suite::builder("t").with_rule(Rule::in_set("s", ["a"]).mostly(0.5)).build().unwrap();
        let json = serde_json::to_string(&suite).unwrap();
        assert_eq!(serde_json::from_str::<Suite>(&json).unwrap(), suite);
        let bad = json.replace("0.5", "1.5");
        assert!(serde_json::from_str::<Suite>(&bad).unwrap_err().to_string().contains("mostly"));
    }
}
