//! Tests of whole rows as a section of the report on drift.

use super::{
    Cell, Heading, Section, Status, Table,
    format::{Probability, test_title},
};
use crate::{
    detector::Verdict,
    multivariate::{MultivariateTest, RowReport},
    stats::float,
};

/// The section; `None` without a test.
pub(super) fn section(reports: &[RowReport]) -> Option<Section> {
    let status = reports.iter().map(status).max()?;
    let mut table = Table::new([
        Heading::text("Test"),
        Heading::text("Verdict"),
        Heading::number("Effect"),
        Heading::number("Threshold"),
        Heading::number("Corrected p"),
        Heading::number("Would notice"),
        Heading::number("Rows"),
        Heading::text("Columns that differ most"),
    ]);
    for report in reports {
        table = table.with_row(match &report.outcome {
            Ok(found) => ran(report, found),
            Err(why) => vec![
                Cell::text(test_title(report.name)),
                Cell::status(Status::Attention, "cannot run"),
                Cell::Empty,
                Cell::Empty,
                Cell::Empty,
                Cell::Empty,
                Cell::Empty,
                Cell::text(why),
            ],
        });
    }
    let summary = "Whether columns go together as they did in the reference, which no column shows alone.";
    Some(Section::new("Whole rows", status).with_summary(summary).with_table(table))
}

fn status(report: &RowReport) -> Status {
    match report.outcome.as_ref().map(|found| found.test.verdict) {
        Ok(Verdict::Ok) => Status::Good,
        Ok(Verdict::Drift) => Status::Bad,
        Ok(Verdict::Insufficient { .. } | Verdict::Degenerate) | Err(_) => Status::Attention,
    }
}

fn ran(report: &RowReport, found: &MultivariateTest) -> Vec<Cell> {
    let test = &found.test;
    let words = match test.verdict {
        Verdict::Ok => "no drift".to_owned(),
        Verdict::Drift => "drift".to_owned(),
        Verdict::Insufficient { n, min_n } => format!("{n} of {min_n} rows"),
        Verdict::Degenerate => "nothing to compare".to_owned(),
    };
    let known = |value: f64| (!value.is_nan()).then_some(value);
    let columns: Vec<&str> = found.columns.iter().map(|column| column.column.as_str()).collect();
    vec![
        Cell::text(test_title(report.name)),
        Cell::status(status(report), words),
        Cell::measured(known(test.effect), found.interval.map(|[low, high]| (low, high))),
        Cell::Number(test.effect_min),
        Cell::text(Probability(test.corrected.or(test.tail)).to_string()),
        Cell::measured(known(test.mde), None),
        Cell::Number(float(test.n_cur)),
        Cell::text(columns.join(", ")),
    ]
}
