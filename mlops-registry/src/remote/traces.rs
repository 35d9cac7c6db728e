//! What an import reads of a server's traces: records with assessments, and spans.
//!
//! Invariant: nothing is written. Answers are protobuf's JSON: names in either spelling, ids of spans as Base64.

use std::collections::{BTreeMap, HashMap};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use mlops_core::{Error, Result, Timestamp};
use serde_json::{Map, Value, json};

use super::{
    MlflowRemote,
    http::{Sending::Repeatable, is_too_long},
    logged::is_absent,
    read,
};
use crate::{
    import::{ImportReport, SourceTrace},
    search::Page,
    traces::{Assessment, AssessmentSource, AssessmentValue, CreateAssessment, Span, TraceInfo, duration_ms},
    tracking::ExperimentId,
};

/// Traces of one page, with whose ids their spans are asked for.
const TRACES_PER_PAGE: usize = 50;

/// Spans by the id of their trace; none where they cannot be had.
type SpansOfTraces = HashMap<String, Option<Vec<Span>>>;

impl MlflowRemote {
    /// Some traces of an experiment; none of a server that knows no such thing. One that cannot be read is noted and left
    /// out.
    pub(crate) async fn traces(
        &self,
        experiment: ExperimentId,
        token: Option<String>,
        report: &mut ImportReport,
    ) -> Result<Page<SourceTrace>> {
        let location = json!({
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": { "experiment_id": experiment.to_string() },
        });
        let mut fields = json!({ "locations": [location], "max_results": TRACES_PER_PAGE });
        if let (Some(token), Some(fields)) = (token, fields.as_object_mut()) {
            fields.insert("page_token".to_owned(), token.into());
        }
        let found = match self.post("/3.0/mlflow/traces/search", &fields, Repeatable).await {
            Err(error) if is_absent(&error) => return Ok(Page { items: Vec::new(), next_page_token: None }),
            answer => read::page(&answer?, "traces", |trace| Ok((id_of(trace), info(trace))))?,
        };
        let mut infos = Vec::new();
        for (id, info) in found.items {
            match info {
                Ok(info) => infos.push(info),
                Err(error) => report.skip(place(&id), error.message()),
            }
        }
        let mut spans = self.spans(&infos, report).await?;
        let whole =
            |info: TraceInfo| Some(SourceTrace { spans: spans.remove(&info.id).unwrap_or(Some(vec![]))?, info });
        Ok(Page { items: infos.into_iter().filter_map(whole).collect(), next_page_token: found.next_page_token })
    }

    /// The spans of traces. A server keeps those of old clients as files; they have none here.
    async fn spans(&self, traces: &[TraceInfo], report: &mut ImportReport) -> Result<SpansOfTraces> {
        let ids: Vec<_> = traces.iter().map(|trace| ("trace_ids", trace.id.clone())).collect();
        let (mut spans, mut left) = (HashMap::new(), vec![ids.as_slice()]);
        while let Some(ids) = left.pop().filter(|ids| !ids.is_empty()) {
            match self.get("/3.0/mlflow/traces/batchGet", ids).await {
                Ok(answer) => read_spans(&answer, &mut spans, report),
                Err(error) if is_absent(&error) => return Ok(spans),
                Err(error) if is_too_long(&error) => match ids {
                    [(_, id)] => {
                        report.skip(place(id), error.message());
                        spans.insert(id.clone(), None);
                    }
                    _ => {
                        let (first, second) = ids.split_at(ids.len() / 2);
                        left.extend([second, first]);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(spans)
    }
}

fn place(id: &str) -> String {
    format!("trace {id}")
}

fn id_of(trace: &Value) -> String {
    read::text_or_empty(trace, "trace_id")
}

fn read_spans(answer: &Value, spans: &mut SpansOfTraces, report: &mut ImportReport) {
    for trace in read::list(answer, "traces") {
        let id = trace.get("trace_info").map(id_of).unwrap_or_default();
        let read = read::list(trace, "spans").map(span).collect::<Result<Vec<_>>>();
        if let Err(error) = &read {
            report.skip(place(&id), error.message());
        }
        spans.insert(id, read.ok());
    }
}

fn info(value: &Value) -> Result<TraceInfo> {
    let optional = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let location = read::object(read::object(value, "trace_location")?, "mlflow_experiment")?;
    let id = read::text(value, "trace_id")?;
    let said = read::list(value, "assessments").map(|said| assessment(said, id));
    Ok(TraceInfo {
        duration_ms: optional("execution_duration").map(|text| duration_ms(&text)).transpose()?,
        state: read::text_or_empty(value, "state").parse().unwrap_or_default(),
        client_request_id: optional("client_request_id"),
        request_preview: optional("request_preview"),
        response_preview: optional("response_preview"),
        metadata: texts(value, "trace_metadata"),
        tags: texts(value, "tags"),
        assessments: said.collect::<Result<_>>()?,
        ..TraceInfo::new(id, read::text(location, "experiment_id")?.parse()?, instant(value, "request_time")?)
    })
}

fn texts(value: &Value, name: &str) -> BTreeMap<String, String> {
    let map = value.get(name).and_then(Value::as_object);
    let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    map.into_iter().flatten().filter_map(text).collect()
}

/// RFC 3339, in whole milliseconds.
fn instant(value: &Value, name: &str) -> Result<Timestamp> {
    let time: Timestamp = read::text(value, name)?.parse()?;
    Ok(Timestamp::from_millis(time.as_millis()))
}

fn assessment(said: &Value, trace: &str) -> Result<Assessment> {
    let optional = |name: &str| said.get(name).and_then(Value::as_str).map(str::to_owned);
    let part = |of: &Value, name: &str| of.get(name).cloned().unwrap_or_default();
    let value = match (said.get("feedback"), said.get("expectation"), said.get("issue")) {
        (Some(feedback), ..) => {
            AssessmentValue::Feedback { value: part(feedback, "value"), error: feedback.get("error").cloned() }
        }
        (_, Some(expectation), _) => AssessmentValue::Expectation { value: expected(expectation)? },
        (.., Some(issue)) => AssessmentValue::Issue { name: read::text_or_empty(issue, "issue_name") },
        _ => return Err(Error::data_loss(format!("an assessment of trace {trace:?} has no value"))),
    };
    let source = said.get("source").cloned().unwrap_or_default();
    let source = AssessmentSource {
        kind: read::text_or_empty(&source, "source_type"),
        id: read::text_or_empty(&source, "source_id"),
    };
    let created = instant(said, "create_time")?;
    let create = CreateAssessment {
        span_id: optional("span_id").filter(|id| !id.is_empty()),
        rationale: optional("rationale"),
        metadata: texts(said, "metadata"),
        overrides: optional("overrides").filter(|id| !id.is_empty()),
        created: Some(created),
        ..CreateAssessment::new(read::text(said, "assessment_name")?, value, source)
    };
    let valid = said.get("valid").and_then(Value::as_bool).unwrap_or(true);
    Ok(Assessment { valid, ..Assessment::of(create, trace, read::text_or_empty(said, "assessment_id"), created) })
}

/// Lists and maps come as JSON in a text.
fn expected(expectation: &Value) -> Result<Value> {
    let Some(serialized) = expectation.get("serialized_value") else {
        return Ok(expectation.get("value").cloned().unwrap_or_default());
    };
    serde_json::from_str(read::text(serialized, "value")?)
        .map_err(|error| Error::data_loss("an expectation of the tracking server is no JSON").with_source(error))
}

/// A span of protobuf's JSON as one of OTLP's.
fn span(value: &Value) -> Result<Span> {
    let mut span = camel_case(value.clone());
    to_hex(&mut span, &["traceId", "spanId", "parentSpanId"]);
    for link in span.get_mut("links").and_then(Value::as_array_mut).into_iter().flatten() {
        to_hex(link, &["traceId", "spanId"]);
    }
    serde_json::from_value(span)
        .map_err(|error| Error::data_loss("a span of the tracking server cannot be read").with_source(error))
}

/// All names as OTLP's JSON spells them. What users named stands in values, never in names.
fn camel_case(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| {
                let mut words = name.split('_');
                let mut camel = words.next().unwrap_or_default().to_owned();
                for word in words {
                    let mut letters = word.chars();
                    camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
                    camel.push_str(letters.as_str());
                }
                (camel, camel_case(value))
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(values) => values.into_iter().map(camel_case).collect(),
        other => other,
    }
}

fn to_hex(json: &mut Value, names: &[&str]) {
    for name in names {
        if let Some(Value::String(id)) = json.get_mut(*name)
            && let Ok(bytes) = BASE64_STANDARD.decode(id.as_bytes())
        {
            *id = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, extract::RawQuery, routing};
    use tokio::net::TcpListener;

    use super::*;
    use crate::AnyValue;

    fn trace(id: &str, time: &str) -> Value {
        let location = json!({ "mlflow_experiment": { "experiment_id": "0" } });
        json!({ "trace_id": id, "trace_location": location, "request_time": time })
    }

    /// The spans of the traces `a`, `odd`, which has one that is none, and `big`, which nobody wants to read.
    async fn spans_of(RawQuery(query): RawQuery) -> Json<Value> {
        let spans = |id: &str| match id {
            "odd" => json!([{ "trace_id": 5 }]),
            "big" => json!([{ "name": "x".repeat(5_000) }]),
            _ => json!([{ "name": "root" }]),
        };
        let query = query.unwrap_or_default();
        let ids = query.split('&').filter_map(|pair| pair.strip_prefix("trace_ids="));
        let traces: Vec<_> = ids.map(|id| json!({ "trace_info": { "trace_id": id }, "spans": spans(id) })).collect();
        Json(json!({ "traces": traces }))
    }

    #[tokio::test]
    async fn a_trace_that_cannot_be_read_is_noted_and_the_others_come() {
        let time = "2026-01-01T00:00:00Z";
        let infos = [trace("a", time), trace("odd", time), trace("late", "?"), trace("big", time), trace("b", time)];
        let answer = Json(json!({ "traces": infos }));
        let router = Router::new()
            .route("/api/3.0/mlflow/traces/search", routing::post(async move || answer))
            .route("/api/3.0/mlflow/traces/batchGet", routing::get(spans_of));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, router).await });
        let remote = MlflowRemote { answer_bytes_max: 2_000, ..MlflowRemote::builder(url).build().unwrap() };
        let mut report = ImportReport::default();
        let page = remote.traces(ExperimentId(0), None, &mut report).await.unwrap();
        let read: Vec<_> = page.items.iter().map(|trace| (trace.info.id.as_str(), trace.spans.len())).collect();
        assert_eq!(read, [("a", 1), ("b", 1)]);
        let mut noted: Vec<_> = report.notes.iter().map(|note| note.place.as_str()).collect();
        noted.sort_unstable();
        assert_eq!(noted, ["trace big", "trace late", "trace odd"]);
    }

    #[test]
    fn spans_are_read_in_both_spellings() {
        let snake = json!({
            "trace_id": "CvdlGRbNQ92ESOshHIAxnA==", "span_id": "APBnqgupArc=", "name": "add", "kind": "SPAN_KIND_SERVER",
            "start_time_unix_nano": "5", "end_time_unix_nano": "9", "status": { "code": "STATUS_CODE_ERROR" },
            "attributes": [{ "key": "a_b", "value": { "string_value": "x_y" } }],
        });
        let camel = json!({
            "traceId": "CvdlGRbNQ92ESOshHIAxnA==", "spanId": "APBnqgupArc=", "name": "add", "kind": 2,
            "startTimeUnixNano": "5", "endTimeUnixNano": "9", "status": { "code": 2 },
            "attributes": [{ "key": "a_b", "value": { "stringValue": "x_y" } }],
        });
        let read = span(&snake).unwrap();
        assert_eq!(read, span(&camel).unwrap());
        assert_eq!(
            (read.trace_id.as_str(), read.span_id.as_str()),
            ("0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7")
        );
        assert_eq!(read.attribute("a_b"), Some(&AnyValue::Text("x_y".into())));
        assert!(span(&json!({ "trace_id": 5 })).is_err());
    }
}
