//! A report as JSON, for programs. Numbers that do not exist are `null`.

use serde_json::{Value, json};

use super::{ColumnReport, ColumnVerdict, DriftReport, SchemaChange};
use crate::{detector::DriftTest, stats::Tail};

impl DriftReport {
    /// The whole report as JSON text:
    ///
    /// ```text
    /// { verdict, headline, window_end, rows_ref, rows_cur,
    ///   schema_changes: [{change, column, expected, found, comparable}],
    ///   columns: [{ name, kind, data_type, n_ref, n_cur, missing_ref, missing_cur,
    ///               tests: [{name, statistic, p, log10_p, log10_q, effect, effect_low, effect_high, effect_min,
    ///                        mde, verdict}],
    ///               mde, verdict, n, min_n, unseen_levels, histogram: {labels, reference, current} }] }
    /// ```
    ///
    /// `effect_low` and `effect_high` differ from `effect` where a side is known by a sketch, and are `null` where nothing
    /// bounds them. `log10_q` is the p-value after correction; `n` and `min_n` are there when the verdict is
    /// `insufficient`; `window_end` is RFC 3339.
    #[must_use]
    pub fn to_json(&self) -> String {
        let (rows_ref, rows_cur) = self.rows();
        let report = json!({
            "verdict": self.verdict().as_str(),
            "headline": self.headline(),
            "window_end": self.window_end().to_string(),
            "rows_ref": rows_ref,
            "rows_cur": rows_cur,
            "schema_changes": self.schema_changes().iter().map(change).collect::<Vec<_>>(),
            "columns": self.columns().iter().map(column).collect::<Vec<_>>(),
        });
        format!("{report:#}")
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

fn column(column: &ColumnReport) -> Value {
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
        "unseen_levels": column.unseen_levels,
    });
    let Some(object) = value.as_object_mut() else { return value };
    if let ColumnVerdict::Insufficient { n, min_n } = column.verdict {
        object.insert("n".to_owned(), json!(n));
        object.insert("min_n".to_owned(), json!(min_n));
    }
    if let Some(histogram) = &column.histogram {
        let (labels, reference, current) = (&histogram.labels, &histogram.reference, &histogram.current);
        object.insert("histogram".to_owned(), json!({"labels": labels, "reference": reference, "current": current}));
    }
    value
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
    })
}
