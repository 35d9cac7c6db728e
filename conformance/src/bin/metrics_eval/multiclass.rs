//! Several classes with their probabilities.

use mlops_core::Result;
use mlops_metrics::{Average, ClassMetric, ClassRows};
use serde_json::{Map, Value, json};

use crate::inputs::{defined, field, object};

pub(crate) fn section(input: &Value) -> Result<Value> {
    let labels: Vec<usize> = field(input, "y")?;
    let table: Vec<Vec<f64>> = field(input, "proba")?;
    let classes = table.first().map_or(0, Vec::len);
    let probabilities = table.concat();
    let rows = ClassRows::from_probabilities(classes, &labels, &probabilities)?;
    let mut found = scores(&rows)?;
    let matrix = rows.confusion()?;
    let cells = |label: usize| -> Vec<f64> { (0..classes).map(|called| matrix.cell(label, called)).collect() };
    found.insert("confusion".to_owned(), json!((0..classes).map(cells).collect::<Vec<_>>()));
    let of_classes = |of: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..classes).map(of).collect() };
    let per_class = [
        of_classes(&|class| matrix.precision(class)),
        of_classes(&|class| matrix.recall(class)),
        of_classes(&|class| matrix.f1(class)),
        of_classes(&|class| matrix.support(class)),
    ];
    found.insert("per_class".to_owned(), json!(per_class));
    Ok(json!({ "expected": found }))
}

fn scores(rows: &ClassRows<'_>) -> Result<Map<String, Value>> {
    let matrix = rows.confusion()?;
    let mut found = object([
        ("accuracy", matrix.accuracy()),
        ("kappa", matrix.kappa()),
        ("kappa_linear", matrix.ordinal_kappa(false)),
        ("kappa_quadratic", matrix.ordinal_kappa(true)),
        ("mcc", matrix.mcc()),
        ("log_loss", defined(rows.log_loss())?),
        ("balanced_accuracy", matrix.balanced_accuracy()),
        ("top2_accuracy", defined(rows.top_k_accuracy(2))?),
        ("brier_multiclass_sum", defined(rows.brier())?),
        ("roc_auc_ovo_macro", defined(rows.roc_auc_ovo(Average::Macro))?),
        ("roc_auc_ovo_weighted", defined(rows.roc_auc_ovo(Average::Weighted))?),
    ]);
    for metric in ClassMetric::all().filter(|metric| *metric != ClassMetric::Kappa) {
        found.insert(metric.to_string(), json!(defined(metric.compute(rows))?));
    }
    Ok(found)
}
