//! Traces and assessments as MLflow's clients read them: protobuf's JSON, so ids of spans are Base64.

use serde_json::{Map, Value, json};

use crate::{
    Assessment, AssessmentValue, Span, TraceInfo,
    mlflow::{answer::object, request::snake_case},
    traces::{hex_to_base64, status_name},
};

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
    let mut json = as_protobuf(serde_json::to_value(span).unwrap_or_default());
    if let Some(kind) = json.get_mut("kind") {
        *kind = usize::try_from(span.kind).ok().and_then(|kind| KINDS.get(kind).copied()).into();
    }
    if let Some(code) = json.pointer_mut("/status/code") {
        *code = status_name(span.status.code).into();
    }
    json
}

/// Kinds of spans in the order of their numbers.
const KINDS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

/// MLflow's JSON of protobuf where OTLP has its own: names in snake case, integers as numbers, ids of bytes as Base64.
fn as_protobuf(json: Value) -> Value {
    match json {
        Value::Array(items) => items.into_iter().map(as_protobuf).collect(),
        Value::Object(fields) => {
            let field = |(name, value): (String, Value)| {
                let name = snake_case(&name);
                let value = match (name.as_str(), value) {
                    ("trace_id" | "span_id" | "parent_span_id", Value::String(hex)) => hex_to_base64(&hex).into(),
                    ("int_value", Value::String(digits)) => digits.parse::<i64>().ok().into(),
                    ("start_time_unix_nano" | "end_time_unix_nano" | "time_unix_nano", Value::String(digits)) => {
                        digits.parse::<u64>().ok().into()
                    }
                    (_, value) => as_protobuf(value),
                };
                (name, value)
            };
            Value::Object(fields.into_iter().map(field).collect())
        }
        plain => plain,
    }
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
        assert_eq!(hex_to_base64("00f067aa0ba902b7"), "APBnqgupArc=");
        let known: Span = serde_json::from_str(
            r#"{"traceId": "000102030405060708090a0b0c0d0e0f", "spanId": "0102030405060708", "name": "s", "kind": 3,
                "startTimeUnixNano": "5", "status": {"code": 2},
                "attributes": [{"key": "spanId", "value": {"intValue": "-7"}}]}"#,
        )
        .unwrap();
        let expected = json!({ "trace_id": "AAECAwQFBgcICQoLDA0ODw==", "span_id": "AQIDBAUGBwg=", "name": "s",
            "kind": "SPAN_KIND_CLIENT", "start_time_unix_nano": 5, "end_time_unix_nano": 0,
            "status": { "code": "STATUS_CODE_ERROR" },
            "attributes": [{ "key": "spanId", "value": { "int_value": -7 } }] });
        assert_eq!(span(&known), expected);
    }
}
