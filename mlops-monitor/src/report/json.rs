//! A report as JSON, for programs. Numbers that do not exist are `null`.

use serde_json::{Value, json};

use super::{ColumnReport, ColumnSeries, ColumnVerdict, DriftReport, LevelShift, SchemaChange, Spread, WindowSeries};
use crate::{detector::DriftTest, multivariate::RowReport, stats::Tail};

impl DriftReport {
    /// The whole report as JSON text:
    ///
    /// ```text
    /// { verdict, headline, window_end, rows_ref, rows_cur,
    ///   schema_changes: [{change, column, expected, found, comparable}],
    ///   columns: [{ name, kind, data_type, n_ref, n_cur, missing_ref, missing_cur,
    ///               tests: [{name, statistic, p, log10_p, log10_q, effect, effect_low, effect_high, effect_min,
    ///                        mde, verdict, undecided}],
    ///               mde, verdict, undecided, n, min_n, unseen_levels, histogram: {labels, reference, current, edges},
    ///               spread: {levels, reference: {mean, std, quantiles}, current: {mean, std, quantiles}},
    ///               level_shifts: [{level, reference, current}], series: {means, missing} }],
    ///   rows: [{name, ... as MultivariateTest} or {name, error}],
    ///   series: {by, labels, rows} }
    /// ```
    ///
    /// `effect_low` and `effect_high` differ from `effect` where a side is known by a sketch, and are `null` where nothing
    /// bounds them; `undecided` says that no drift was found and that this error leaves it open. `log10_q` is the p-value after correction; `n` and `min_n` are there when the verdict is
    /// `insufficient`, `histogram`, `spread`, `level_shifts` and `series` where there is something to show;
    /// `rows` holds the tests of whole rows; `window_end` is RFC 3339.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}", self.json_value())
    }

    pub(super) fn json_value(&self) -> Value {
        let (rows_ref, rows_cur) = self.rows();
        let series = self.series();
        let mut report = json!({
            "verdict": self.verdict().as_str(),
            "headline": self.headline(),
            "why": self.why(),
            "window_end": self.window_end().to_string(),
            "rows_ref": rows_ref,
            "rows_cur": rows_cur,
            "schema_changes": self.schema_changes().iter().map(change).collect::<Vec<_>>(),
            "columns": self.columns().iter().map(|shown| column(shown, series)).collect::<Vec<_>>(),
            "rows": self.row_reports().iter().map(rows).collect::<Vec<_>>(),
        });
        if let (Some(object), Some(series)) = (report.as_object_mut(), series) {
            let axis = json!({"by": series.title(), "labels": series.labels(), "rows": series.rows()});
            object.insert("series".to_owned(), axis);
        }
        report
    }
}

fn change(change: &SchemaChange) -> Value {
    match change {
        SchemaChange::Missing { column, expected } => {
            json!({"change": "missing", "column": column, "expected": expected})
        }
        SchemaChange::Retyped { column, expected, found, comparable } => json!({
            "change": "retyped", "column": column, "expected": expected, "found": found, "comparable": comparable,
        }),
        SchemaChange::New { column, found } => json!({"change": "new", "column": column, "found": found}),
    }
}

fn column(column: &ColumnReport, series: Option<&WindowSeries>) -> Value {
    let mut value = json!({
        "name": column.name,
        "kind": column.kind.as_str(),
        "data_type": column.data_type,
        "n_ref": column.n_ref,
        "n_cur": column.n_cur,
        "missing_ref": column.missing_ref,
        "missing_cur": column.missing_cur,
        "tests": column.tests.iter().map(test).collect::<Vec<_>>(),
        "mde": column.mde(),
        "verdict": column.verdict.as_str(),
        "undecided": column.is_undecided(),
        "unseen_levels": column.unseen_levels,
    });
    let Some(object) = value.as_object_mut() else { return value };
    if let ColumnVerdict::Insufficient { n, min_n } = column.verdict {
        object.insert("n".to_owned(), json!(n));
        object.insert("min_n".to_owned(), json!(min_n));
    }
    if let Some(histogram) = &column.histogram {
        let (labels, reference, current) = (&histogram.labels, &histogram.reference, &histogram.current);
        let edges = &histogram.edges;
        let histogram = json!({"labels": labels, "reference": reference, "current": current, "edges": edges});
        object.insert("histogram".to_owned(), histogram);
    }
    if let (Some(reference), Some(current)) = (column.reference, column.current) {
        let spread = json!({"levels": Spread::LEVELS, "reference": spread(reference), "current": spread(current)});
        object.insert("spread".to_owned(), spread);
    }
    if !column.levels.is_empty() {
        let shift =
            |shift: &LevelShift| json!({"level": shift.level, "reference": shift.reference, "current": shift.current});
        object.insert("level_shifts".to_owned(), column.levels.iter().map(shift).collect());
    }
    if let Some(ColumnSeries { means, missing }) = series.and_then(|series| series.column(&column.name)) {
        object.insert("series".to_owned(), json!({"means": means, "missing": missing}));
    }
    value
}

fn rows(report: &RowReport) -> Value {
    match &report.outcome {
        Ok(found) => json!(found),
        Err(why) => json!({"name": report.name, "error": why}),
    }
}

fn spread(spread: Spread) -> Value {
    json!({"mean": spread.mean, "std": spread.std, "quantiles": spread.quantiles})
}

/// One test, as everywhere in reports.
pub(crate) fn test(test: &DriftTest) -> Value {
    json!({
        "name": test.name,
        "statistic": test.statistic,
        "p": test.p(),
        "log10_p": test.log10_p(),
        "log10_q": test.corrected.map(Tail::log10),
        "effect": test.effect,
        "effect_low": test.effect_low(),
        "effect_high": test.effect_high(),
        "effect_min": test.effect_min,
        "mde": test.mde,
        "verdict": test.verdict.as_str(),
        "undecided": test.is_undecided(),
    })
}
