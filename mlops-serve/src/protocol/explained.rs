//! Explanations as JSON, row by row, for the protocols that leave their form open: for each row what was said, of what
//! base, and what each input contributed.

use serde_json::{Map, Value, json};

use crate::explain::Explanation;

/// One object per row: `base_values` and `predictions` by target, `attributions` by target and input.
pub(crate) fn explained_rows(explanation: &Explanation) -> Vec<Value> {
    (0..explanation.rows()).map(|row| of_row(explanation, row)).collect()
}

fn of_row(explanation: &Explanation, row: usize) -> Value {
    let Explanation { targets, features, base_values, predictions, .. } = explanation;
    let named = |values: &[f64]| -> Map<String, Value> {
        targets.iter().cloned().zip(values.iter().map(|value| json!(value))).collect()
    };
    let predictions: Vec<f64> = predictions.iter().skip(row * targets.len()).take(targets.len()).copied().collect();
    let attributions: Map<String, Value> = targets
        .iter()
        .enumerate()
        .map(|(target, name)| {
            let values = explanation.of(row, target).unwrap_or_default();
            let by_feature: Map<String, Value> =
                features.iter().cloned().zip(values.iter().map(|value| json!(value))).collect();
            (name.clone(), Value::from(by_feature))
        })
        .collect();
    json!({ "base_values": named(base_values), "predictions": named(&predictions), "attributions": attributions })
}
