//! What a suite found as a section of a monitoring report.
//!
//! Invariant: no row values, whatever the settings kept; broken rules stand first.

use super::{
    result::{RuleResult, ValidationResult},
    rule::Severity,
};
use crate::{
    report::{Cell, Heading, Section, Status, Table, plural},
    stats::float,
};

impl ValidationResult {
    /// This result as a section for people: every rule with what it found, broken ones first.
    #[must_use]
    pub fn section(&self) -> Section {
        let statuses = self.results.iter().map(RuleResult::status);
        let status = statuses.max().unwrap_or(Status::Neutral);
        let mut rules = Table::new([
            Heading::text("Rule"),
            Heading::text("Verdict"),
            Heading::number("Broken"),
            Heading::number("Of rows"),
            Heading::text("Found"),
        ])
        .with_caption(format!("Rules of {}", self.suite));
        let mut results: Vec<&RuleResult> = self.results.iter().collect();
        results.sort_by_key(|result| std::cmp::Reverse(result.status()));
        for result in results {
            rules = rules.with_row(row(result));
        }
        Section::new("Data quality", status).with_summary(self.summary()).with_table(rules)
    }

    fn summary(&self) -> String {
        let broken = self.results.iter().filter(|result| !result.success).count();
        let (all, warnings) = (plural(self.results.len(), "rule"), self.warnings().count());
        let rows = plural(usize::try_from(self.rows).unwrap_or(usize::MAX), "row");
        match (broken, warnings) {
            (0, _) => format!("{all} checked in {rows}, none broken."),
            (_, 0) => format!("{broken} of {all} broken in {rows}."),
            (_, warnings) if warnings == broken => format!("{broken} of {all} broken in {rows}, as warnings only."),
            _ => format!("{broken} of {all} broken in {rows}, {warnings} of them as warnings only."),
        }
    }
}

impl RuleResult {
    fn status(&self) -> Status {
        match self.rule.severity {
            _ if self.success => Status::Good,
            Severity::Warning => Status::Attention,
            Severity::Error => Status::Bad,
        }
    }
}

fn row(result: &RuleResult) -> [Cell; 5] {
    let words = match (result.success, &result.exception) {
        (true, _) => "holds",
        (false, None) => "broken",
        (false, Some(_)) => "cannot be judged",
    };
    let rule = match &result.rule.filter {
        Some(filter) => format!("{} where {filter}", result.rule),
        None => result.rule.to_string(),
    };
    let count = |count: Option<u64>| count.map_or(Cell::Empty, |count| Cell::Number(float(count)));
    [
        Cell::text(rule),
        Cell::status(result.status(), words),
        count(result.counts.map(|counts| counts.unexpected_count)),
        count(result.counts.map(|counts| counts.counted_count)),
        result.message().map_or(Cell::Empty, Cell::text),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, RecordBatch};

    use crate::{
        quality::{Rule, Severity, Suite, Tables, ValidationResult, ValidationSettings},
        report::{Cell, Section, Status},
    };

    fn checked(rules: &[Rule]) -> ValidationResult {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 2, 77_123]));
        let batch = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        let mut suite = Suite::builder("rides");
        for rule in rules {
            suite = suite.with_rule(rule.clone());
        }
        let settings = ValidationSettings { include_values: true, ..ValidationSettings::default() };
        let mut run = suite.build().unwrap().start(&settings, &Tables::default());
        run.observe(&batch);
        run.finish()
    }

    fn rows(section: &Section) -> Vec<(String, Status, String)> {
        let row = |row: &Vec<Cell>| match &row[..2] {
            [Cell::Text(rule), Cell::Status(status, words)] => (rule.clone(), *status, words.clone()),
            other => panic!("{other:?}"),
        };
        section.tables[0].rows.iter().map(row).collect()
    }

    #[test]
    fn broken_rules_come_first_and_decide() {
        let unique = Rule::unique("id").filter("id < 50".parse().unwrap());
        let warning = Rule::between("id", 0.0..=100.0).severity(Severity::Warning);
        let section = checked(&[Rule::not_null("id"), warning.clone(), Rule::not_null("city"), unique]).section();
        assert_eq!(section.status, Status::Bad);
        assert_eq!(section.summary, "3 of 4 rules broken in 4 rows, 1 of them as warnings only.");
        let row = |rule: &str, status, words: &str| (rule.to_owned(), status, words.to_owned());
        let expected = [
            row("not_null on column \"city\"", Status::Bad, "cannot be judged"),
            row("unique on column \"id\" where id < 50", Status::Bad, "broken"),
            row("between on column \"id\"", Status::Attention, "broken"),
            row("not_null on column \"id\"", Status::Good, "holds"),
        ];
        assert_eq!(rows(&section), expected);
        assert_eq!(section.tables[0].rows[1][2..4], [Cell::Number(2.0), Cell::Number(3.0)]);
        assert_eq!(checked(&[warning]).section().status, Status::Attention);
    }

    #[test]
    fn what_holds_is_said_and_no_value_is_shown() {
        let section = checked(&[Rule::not_null("id")]).section();
        assert_eq!(
            (section.status, section.summary.as_str()),
            (Status::Good, "1 rule checked in 4 rows, none broken.")
        );
        let result = checked(&[Rule::between("id", 0.0..=100.0)]);
        assert!(format!("{result:?}").contains("77123"), "the result itself has the value: {result:?}");
        assert!(!format!("{:?}", result.section()).contains("77123"));
        assert_eq!(checked(&[]).section().status, Status::Neutral);
    }
}
