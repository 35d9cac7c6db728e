//! What a gate decided, for a program and for a person.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// One check and its outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// What was checked, such as `roc_auc bound`.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// What was found and what was needed.
    pub detail: String,
}

/// The outcome of all checks.
///
/// ```
/// use mlops_train::{CheckResult, Verdict};
///
/// let check = CheckResult { name: "r2 bound".into(), passed: true, detail: "0.9, needs at least 0.8".into() };
/// let verdict = Verdict { passed: true, rows: 120, checks: vec![check] };
/// assert!(verdict.to_markdown().contains("| r2 bound | pass | 0.9, needs at least 0.8 |"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether every check passed.
    pub passed: bool,
    /// Labelled rows that were judged by.
    pub rows: usize,
    /// The checks in the order in which they were declared.
    pub checks: Vec<CheckResult>,
}

impl Verdict {
    /// A heading and a table with a row per check.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let word = |passed| if passed { "pass" } else { "fail" };
        let mut text = format!(
            "## Gate: {} on {} rows\n\n| check | result | detail |\n|---|---|---|\n",
            word(self.passed),
            self.rows
        );
        for check in &self.checks {
            let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {} | {} | {} |", cell(&check.name), word(check.passed), cell(&check.detail));
        }
        text
    }

    /// The checks that did not pass.
    pub fn failures(&self) -> impl Iterator<Item = &CheckResult> {
        self.checks.iter().filter(|check| !check.passed)
    }
}
