//! Explanations in the words of KServe v1: for each instance what was said, of what base, and what each input
//! contributed. The protocol leaves the form of an explanation open.

use axum::{Json, body::Bytes, response::IntoResponse as _};
use serde_json::{Map, Value, json};

use super::convert;
use crate::{
    explain::Explanation,
    protocol::{Answer, Incoming, Question, Target, ask_why},
    repository::LoadedVersion,
    server::{Explained, InferOptions, Server},
};

pub(super) async fn explain(server: &Server, target: Target, mut incoming: Incoming) -> Answer {
    let read = |body: Bytes, version: &LoadedVersion| {
        let (tensors, _) = convert::read_predict(&body, version)?;
        Ok(Question { tensors, options: InferOptions::default(), wish: () })
    };
    let (Explained { explanation, .. }, ()) = ask_why(server, &target, &mut incoming, read).await?;
    let explanations: Vec<Value> = (0..explanation.rows()).map(|row| of_row(&explanation, row)).collect();
    Ok(Json(json!({ "explanations": explanations })).into_response())
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
