//! Traces and assessments as MLflow's clients read them: protobuf's JSON, so ids of spans are Base64.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Map, Value, json};

use crate::{Assessment, AssessmentValue, Span, TraceInfo, mlflow::answer::object};

pub(super) fn info(info: &TraceInfo) -> Value {
    let experiment = json!({ "experiment_id": info.experiment.to_string() });
    object([
        ("trace_id", info.id.as_str().into()),
        ("client_request_id", info.client_request_id.clone().into()),
        ("trace_location", json!({ "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": experiment })),
        ("request_preview", info.request_preview.clone().into()),
        ("response_preview", info.response_preview.clone().into()),
        ("request_time", info.started.to_string().into()),
        ("execution_duration", info.duration_ms.map(duration).into()),
        ("state", info.state.name().into()),
        ("trace_metadata", json!(info.metadata)),
        ("tags", json!(info.tags)),
        ("assessments", info.assessments.iter().map(assessment).collect()),
    ])
}

fn duration(millis: i64) -> String {
    match (millis / 1_000, millis % 1_000) {
        (seconds, 0) => format!("{seconds}s"),
        (seconds, millis) => format!("{seconds}.{millis:03}s"),
    }
}

/// A trace with its spans.
pub(super) fn whole(info: &TraceInfo, spans: &[Span]) -> Value {
    object([("trace_info", self::info(info)), ("spans", spans.iter().map(span).collect())])
}

fn span(span: &Span) -> Value {
    let mut json = serde_json::to_value(span).unwrap_or_default();
    to_base64(&mut json, &["traceId", "spanId", "parentSpanId"]);
    for link in json.get_mut("links").and_then(Value::as_array_mut).into_iter().flatten() {
        to_base64(link, &["traceId", "spanId"]);
    }
    json
}

/// Protobuf's JSON has bytes as Base64 where OTLP's has hexadecimal digits.
fn to_base64(json: &mut Value, names: &[&str]) {
    for name in names {
        if let Some(Value::String(hex)) = json.get_mut(*name) {
            *hex = BASE64_STANDARD.encode(bytes(hex));
        }
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..hex.len() / 2).filter_map(|index| pair(2 * index)).collect()
}

pub(super) fn assessment(said: &Assessment) -> Value {
    let source = json!({ "source_type": said.source.kind, "source_id": said.source.id });
    let answer = object([
        ("assessment_id", said.id.as_str().into()),
        ("assessment_name", said.name.as_str().into()),
        ("trace_id", said.trace_id.as_str().into()),
        ("span_id", said.span_id.clone().into()),
        ("source", source),
        ("create_time", said.created.to_string().into()),
        ("last_update_time", said.updated.to_string().into()),
        ("rationale", said.rationale.clone().into()),
        ("metadata", if said.metadata.is_empty() { Value::Null } else { json!(said.metadata) }),
        ("overrides", said.overrides.clone().into()),
        ("valid", said.valid.into()),
    ]);
    let Value::Object(mut answer) = answer else { return answer };
    let (name, value) = value(&said.value);
    answer.insert(name.to_owned(), value);
    Value::Object(answer)
}

fn value(value: &AssessmentValue) -> (&'static str, Value) {
    match value {
        AssessmentValue::Feedback { value, error } => {
            let mut feedback = Map::new();
            feedback.insert("value".to_owned(), value.clone());
            feedback.extend(error.clone().map(|error| ("error".to_owned(), error)));
            ("feedback", Value::Object(feedback))
        }
        AssessmentValue::Expectation { value: value @ (Value::Array(_) | Value::Object(_)) } => {
            let serialized = json!({ "serialization_format": "JSON_FORMAT", "value": value.to_string() });
            ("expectation", json!({ "serialized_value": serialized }))
        }
        AssessmentValue::Expectation { value } => ("expectation", json!({ "value": value })),
        AssessmentValue::Issue { name } => ("issue", json!({ "issue_name": name })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_ids_have_protobufs_form() {
        assert_eq!((duration(0), duration(1_500), duration(12)), ("0s".into(), "1.500s".into(), "0.012s".into()));
        assert_eq!(BASE64_STANDARD.encode(bytes("00f067aa0ba902b7")), "APBnqgupArc=");
    }
}
