//! A suite at work: batches in, one result out.
//!
//! Invariant: one pass. Every batch is read once, whatever the number of rules, and what is kept
//! of it is bounded by the settings. A rule that meets an obstacle is an exception in the result;
//! the others go on.

use arrow_array::RecordBatch;

use super::{
    check::{Check, Checked, Frame, Plan, RuleException, Tables},
    result::{RuleResult, ValidationResult},
    rule::Rule,
    settings::ValidationSettings,
    suite::Suite,
};
use crate::stats::count_of;

/// One evaluation of a suite, fed batch by batch.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use mlops_monitor::quality::{Rule, Suite, Tables, ValidationSettings};
///
/// let batch = |ids: Vec<i64>| RecordBatch::try_from_iter([("id", Arc::new(Int64Array::from(ids)) as ArrayRef)]);
/// let suite = Suite::builder("rides").with_rule(Rule::unique("id")).with_rule(Rule::not_null("city")).build()?;
/// let mut run = suite.start(&ValidationSettings::default(), &Tables::default());
/// run.observe(&batch(vec![1, 2])?);
/// run.observe(&batch(vec![3, 1])?);
/// let result = run.finish();
/// assert_eq!(result.results[0].unexpected_rows, [0, 3]);
/// assert!(result.results[1].exception.is_some()); // there is no such column
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SuiteRun {
    suite: String,
    rules: Vec<(Rule, Checked<Box<dyn Check>>)>,
    plan: Plan,
    settings: ValidationSettings,
    rows: u64,
    /// A batch without rows, which is looked at only when no other comes: types that do not fit are of no consequence
    /// where there are no values.
    empty: Option<RecordBatch>,
}

impl SuiteRun {
    pub(super) fn new(suite: &Suite, settings: &ValidationSettings, tables: &Tables) -> Self {
        let mut plan = Plan::default();
        let rules = suite.rules().iter().map(|rule| (rule.clone(), plan.check(rule, tables, settings))).collect();
        Self { suite: suite.name().to_owned(), rules, plan, settings: settings.clone(), rows: 0, empty: None }
    }

    /// Takes in one batch. Batches should have one schema; a column that changes its type is an
    /// exception of the rules that cannot go on with it.
    pub fn observe(&mut self, batch: &RecordBatch) {
        if batch.num_rows() == 0 {
            self.empty.get_or_insert_with(|| batch.clone());
        } else {
            self.take(batch);
        }
    }

    fn take(&mut self, batch: &RecordBatch) {
        let frame = Frame::new(batch, self.rows, &self.settings, &self.plan.filters);
        for scan in &mut self.plan.scans {
            scan.observe(&frame);
        }
        for (_, check) in &mut self.rules {
            if let Ok(running) = check
                && let Err(exception) = running.observe(&frame)
            {
                *check = Err(exception);
            }
        }
        self.rows += count_of(batch.num_rows());
    }

    /// Rows observed so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Judges every rule. Without a batch, rules about columns have no exception but nothing to
    /// judge either: those about rows hold, figures fail.
    #[must_use]
    pub fn finish(mut self) -> ValidationResult {
        if self.rows == 0
            && let Some(empty) = self.empty.take()
        {
            self.take(&empty);
        }
        let Self { suite, rules, plan, settings, rows, .. } = self;
        let results: Vec<RuleResult> = rules
            .into_iter()
            .map(|(rule, check)| {
                let finding = check.and_then(|mut check| check.finish(&plan.scans, rows));
                match finding {
                    Ok(finding) => RuleResult {
                        rule,
                        success: finding.success,
                        counts: finding.counts,
                        unexpected_rows: finding.found.rows.into_iter().collect(),
                        partial_unexpected: finding.found.examples.into_values().collect(),
                        observed: finding.observed.filter(|_| finding.public || settings.include_values),
                        detail: finding.detail,
                        exception: None,
                    },
                    Err(exception) => failed(rule, exception),
                }
            })
            .collect();
        let passed = !results.iter().any(RuleResult::is_failure);
        ValidationResult { suite, passed, rows, results }
    }
}

fn failed(rule: Rule, exception: RuleException) -> RuleResult {
    RuleResult {
        rule,
        success: false,
        counts: None,
        unexpected_rows: Vec::new(),
        partial_unexpected: Vec::new(),
        observed: None,
        detail: None,
        exception: Some(exception),
    }
}
