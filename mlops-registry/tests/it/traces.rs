//! Traces and evaluation datasets as bytes on the wire: OTLP in its two forms and damaged, and parts that are absent.

use std::{io::Write as _, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode},
};
use flate2::{Compression, write::GzEncoder};
use mlops_core::ErrorKind;
use mlops_registry::{
    ArtifactStore, MlflowServer, SqlEvaluationStore, SqlTraceStore, TraceStore as _, TrackingStore as _,
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{in_memory, registry, tracking};

struct Client {
    router: Router,
    traces: Arc<SqlTraceStore>,
}

const PROTOBUF: [(&str, &str); 2] = [("content-type", "application/x-protobuf"), ("x-mlflow-experiment-id", "0")];
const JSON: [(&str, &str); 2] = [("content-type", "application/json"), ("x-mlflow-experiment-id", "0")];
const TRACE: &str = "tr-000102030405060708090a0b0c0d0e0f";

impl Client {
    async fn new() -> Self {
        let meta = in_memory().await;
        let (tracking, registry) = (tracking(Arc::clone(&meta)).await, registry(Arc::clone(&meta)).await);
        let traces = Arc::new(SqlTraceStore::builder(Arc::clone(&meta)).build().await.unwrap());
        let evaluation = SqlEvaluationStore::builder(meta).build().await.unwrap();
        let server = MlflowServer::new(Arc::new(tracking), Arc::new(registry), ArtifactStore::in_memory());
        let server = server.with_traces(Arc::<SqlTraceStore>::clone(&traces)).with_evaluation(Arc::new(evaluation));
        Self { router: server.router(), traces }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> (StatusCode, Vec<u8>) {
        send(&self.router, method, path, headers, body).await
    }

    async fn otlp(&self, headers: &[(&str, &str)], body: Vec<u8>) -> (StatusCode, Value) {
        let (status, body) = self.send(Method::POST, "/v1/traces", headers, body).await;
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let headers = [("content-type", "application/json")];
        let (status, body) = self.send(method, &format!("/api/{path}"), &headers, body.to_string().into_bytes()).await;
        (status, serde_json::from_slice(&body).unwrap())
    }
}

async fn send(
    router: &Router,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (StatusCode, Vec<u8>) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let status = response.status();
    (status, to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec())
}

/// What opentelemetry-proto 1.45.2 for Python serialises: a span `otel` from 10^18 ns, 5 ms long, status error,
/// attribute `session.id`, of the service `api`.
fn exported() -> Vec<u8> {
    let hex = "0a690a170a150a0c736572766963652e6e616d6512050a03617069124e124c0a10000102030405060708090a0b0c0d0e0f\
               120801020304050607082a046f74656c39000064a7b3b6e00d41404bb0a7b3b6e00d4a120a0a73657373696f6e2e696412\
               040a0273317a021802";
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn an_exporters_spans_become_a_trace() {
    let client = Client::new().await;
    let zipped = [&PROTOBUF[..], &[("content-encoding", "gzip")]].concat();
    assert_eq!(client.otlp(&zipped, gzip(&exported())).await, (StatusCode::OK, Value::Null));
    let (_, answer) =
        client.call(Method::GET, &format!("3.0/mlflow/traces/batchGet?trace_ids={TRACE}"), json!({})).await;
    let trace = &answer["traces"][0];
    let info = &trace["trace_info"];
    assert_eq!((&info["state"], &info["execution_duration"]), (&json!("ERROR"), &json!("0.005s")));
    assert_eq!(info["request_time"], "2001-09-09T01:46:40Z");
    assert_eq!(info["tags"]["mlflow.trace.spansLocation"], "TRACKING_STORE");
    assert_eq!(
        (&info["tags"]["service.name"], &info["trace_metadata"]["mlflow.trace.session"]),
        (&json!("api"), &json!("s1"))
    );
    let span = &trace["spans"][0];
    assert_eq!((&span["trace_id"], &span["span_id"]), (&json!("AAECAwQFBgcICQoLDA0ODw=="), &json!("AQIDBAUGBwg=")));
    assert_eq!((&span["name"], &span["status"]["code"]), (&json!("otel"), &json!("STATUS_CODE_ERROR")));

    let json = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [{ "traceId": "0af7651916cd43dd8448eb211c80319c",
        "spanId": "b7ad6b7169203331", "name": "j", "startTimeUnixNano": "1000000", "endTimeUnixNano": 3000000 }] }] }] });
    assert_eq!(client.otlp(&JSON, json.to_string().into_bytes()).await, (StatusCode::OK, json!({})));
    let found = client.traces.traces(&["tr-0af7651916cd43dd8448eb211c80319c".to_owned()]).await.unwrap();
    assert_eq!(found[0].duration_ms, Some(2));
}

#[tokio::test]
async fn traces_are_counted_compared_and_given_as_a_file() {
    let client = Client::new().await;
    assert_eq!(client.otlp(&PROTOBUF, exported()).await.0, StatusCode::OK);
    let body = json!({ "experiment_ids": ["0"], "view_type": "TRACES", "metric_name": "trace_count",
        "dimensions": ["trace_status"], "aggregations": [{ "aggregation_type": "COUNT" }] });
    let (_, counted) = client.call(Method::POST, "3.0/mlflow/traces/metrics", body).await;
    let point =
        json!({ "metric_name": "trace_count", "dimensions": { "trace_status": "ERROR" }, "values": { "COUNT": 1.0 } });
    assert_eq!(counted, json!({ "data_points": [point] }));
    // What pages send for assessments and spans is applied to those.
    let path = format!("3.0/mlflow/traces/{TRACE}/assessments");
    for (name, kind) in [("good", "feedback"), ("fast", "feedback"), ("good", "expectation")] {
        let said = json!({ "assessment_name": name, "source": { "source_type": "HUMAN" }, kind: { "value": 1 } });
        let (status, made) = client.call(Method::POST, &path, json!({ "assessment": said })).await;
        assert_eq!(status, StatusCode::OK, "{made}");
    }
    let count = async |view: &str, metric: &str, filters: &[&str]| {
        let body = json!({ "experiment_ids": ["0"], "view_type": view, "metric_name": metric, "filters": filters,
            "aggregations": [{ "aggregation_type": "COUNT" }] });
        let (status, counted) = client.call(Method::POST, "3.0/mlflow/traces/metrics", body).await;
        (status.as_u16(), counted["data_points"][0]["values"]["COUNT"].as_f64())
    };
    let all: &[&str] = &[];
    for (filters, expected) in [
        (all, Some(3.0)),
        (&["assessment.type = 'feedback'"][..], Some(2.0)),
        (&["assessment.type = 'feedback'", "assessment.name = 'good'"][..], Some(1.0)),
        (&["assessment.name = 'good'", "trace.status = 'OK'"][..], None),
    ] {
        assert_eq!(count("ASSESSMENTS", "assessment_count", filters).await, (200, expected), "{filters:?}");
    }
    assert_eq!(count("SPANS", "span_count", &["span.name = 'otel'", "span.status = 'ERROR'"]).await, (200, Some(1.0)));
    assert_eq!(count("SPANS", "latency", &["span.name = 'other'"]).await, (200, None));
    assert_eq!(count("TRACES", "trace_count", &["span.name = 'otel'"]).await.0, 400);

    let filters = |second: &str| json!({ "experiment_ids": ["0"], "filter_string1": "status = 'ERROR'", "filter_string2": second });
    let path = "3.0/mlflow/traces/calculate-filter-correlation";
    let (_, same) = client.call(Method::POST, path, filters("name = 'otel'")).await;
    assert_eq!((&same["npmi"], &same["joint_count"], &same["total_count"]), (&json!(1.0), &json!(1), &json!(1)));
    let (_, never) = client.call(Method::POST, path, filters("status = 'OK'")).await;
    assert_eq!((never.get("npmi"), &never["filter2_count"]), (None, &json!(0)));
    let (status, wrong) = client.call(Method::POST, path, filters("nothing.filter = 'x'")).await;
    assert_eq!(status, 400);
    assert!(wrong["message"].as_str().is_some_and(|message| message.contains("Invalid")), "{wrong}");

    for (filter, count) in [("text LIKE '%otel%'", 1), ("text LIKE '%s1%'", 1), ("text LIKE '%stringValue%'", 0)] {
        let body = json!({ "locations": [{ "mlflow_experiment": { "experiment_id": "0" } }], "filter": filter });
        let (_, found) = client.call(Method::POST, "3.0/mlflow/traces/search", body).await;
        assert_eq!(found["traces"].as_array().map_or(0, Vec::len), count, "{filter}");
    }
    let path = format!("/ajax-api/2.0/mlflow/get-trace-artifact?request_id={TRACE}");
    let (status, file) = client.send(Method::GET, &path, &[], Vec::new()).await;
    let file: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(file["spans"][0]["attributes"], json!({ "session.id": "\"s1\"" }));
    let (status, _) = client.send(Method::GET, "/ajax-api/2.0/mlflow/get-trace-artifact", &[], Vec::new()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_assessment_is_changed_by_its_id() {
    let client = Client::new().await;
    assert_eq!(client.otlp(&PROTOBUF, exported()).await.0, StatusCode::OK);
    let path = format!("3.0/mlflow/traces/{TRACE}/assessments");
    let said = |value: u8| json!({ "assessment_name": "good", "source": { "source_type": "HUMAN" }, "feedback": { "value": value } });
    let (_, made) = client.call(Method::POST, &path, json!({ "assessment": said(4) })).await;
    let path = format!("{path}/{}", made["assessment"]["assessment_id"].as_str().unwrap());
    let (_, changed) = client
        .call(Method::PATCH, &path, json!({ "assessment": said(5), "update_mask": "assessmentName,feedback" }))
        .await;
    assert_eq!(changed["assessment"]["feedback"]["value"], 5, "{changed}");
    assert_eq!(client.call(Method::DELETE, &path, json!({})).await.0, StatusCode::OK);
    assert_eq!(client.call(Method::GET, &path, json!({})).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn exports_that_cannot_be_taken_are_refused_whole() {
    let client = Client::new().await;
    let zipped = [&PROTOBUF[..], &[("content-encoding", "gzip")]].concat();
    let bomb = gzip(&vec![0; 33 << 20]);
    assert!(bomb.len() < 1 << 20);
    let (status, answer) = client.otlp(&zipped, bomb).await;
    assert_eq!(status, 400);
    assert!(answer["message"].as_str().unwrap().contains("inflates to more"), "{answer}");
    for (headers, body) in [
        (&PROTOBUF[..], b"\xff\xff".to_vec()),
        (&PROTOBUF[..], Vec::new()),
        (&PROTOBUF[..], vec![0; (32 << 20) + 1]),
        (&zipped[..], b"no gzip".to_vec()),
        (&PROTOBUF[1..], exported()),
        (&[PROTOBUF[0], ("x-mlflow-experiment-id", "x")][..], exported()),
        (&[PROTOBUF[0], PROTOBUF[1], ("content-encoding", "br")][..], exported()),
    ] {
        let (status, answer) = client.otlp(headers, body).await;
        assert_eq!((status.as_u16(), &answer["error_code"]), (400, &json!("INVALID_PARAMETER_VALUE")), "{headers:?}");
    }
    // What is wrong with the body is told before what is wrong with the experiment.
    let (_, answer) = client.otlp(&[PROTOBUF[0], ("x-mlflow-experiment-id", "x")], Vec::new()).await;
    assert_eq!(answer["message"], "Invalid OpenTelemetry format - no spans found");
    let (status, _) = client.otlp(&[PROTOBUF[0], ("x-mlflow-experiment-id", "77")], exported()).await;
    assert_eq!(status, 404);
    assert!(client.traces.traces(&[TRACE.to_owned()]).await.unwrap().is_empty());
}

#[test]
fn any_bytes_are_taken_or_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = runtime.block_on(Client::new());
    let exported = exported();
    let damaged = (any::<prop::sample::Index>(), any::<u8>()).prop_map(move |(at, byte)| {
        let mut body = exported.clone();
        let at = at.index(body.len());
        body[at] = byte;
        body
    });
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        damaged,
        "[\\[\\]{}\":,a-z0-9]{0,80}".prop_map(String::into_bytes)
    ];
    let mut runner = TestRunner::new(Config { cases: 128, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(body, 0..4_usize), |(body, form)| {
        let zipped = [&PROTOBUF[..], &[("content-encoding", "gzip")]].concat();
        let headers = [&PROTOBUF[..], &JSON[..], &zipped[..], &zipped[..]][form];
        let body = if form == 3 { gzip(&body) } else { body };
        let (status, _) = runtime.block_on(client.otlp(headers, body));
        prop_assert!(matches!(status.as_u16(), 200 | 400), "{status}");
        Ok(())
    });
    outcome.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_said() {
    let client = Client::new().await;
    let trace = |info: Value| json!({ "trace": { "trace_info": info } });
    let place = json!({ "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": "0" } });
    for (method, path, body, status) in [
        (Method::POST, "3.0/mlflow/traces", json!({}), 400),
        (Method::POST, "3.0/mlflow/traces", trace(json!({ "trace_id": "t", "trace_location": place })), 400),
        (
            Method::POST,
            "3.0/mlflow/traces",
            trace(json!({ "trace_id": "a/b", "trace_location": place, "request_time": "2020-01-01T00:00:00Z" })),
            400,
        ),
        (Method::GET, "3.0/mlflow/traces/none", json!({}), 404),
        (Method::GET, "3.0/mlflow/traces/get?trace_id=none", json!({}), 404),
        (Method::POST, "3.0/mlflow/traces/search", json!({ "max_results": 501 }), 400),
        (Method::POST, "2.0/mlflow/traces/delete-traces", json!({ "experiment_id": "0" }), 400),
        (
            Method::POST,
            "2.0/mlflow/traces/delete-traces",
            json!({ "experiment_id": "0", "request_ids": ["t"], "max_timestamp_millis": 1 }),
            400,
        ),
        (Method::PATCH, "2.0/mlflow/traces/none/tags", json!({ "key": "k", "value": "v" }), 404),
        (
            Method::POST,
            "3.0/mlflow/traces/none/assessments",
            json!({ "assessment": { "assessment_name": "n", "source": {}, "feedback": { "value": 1 } } }),
            404,
        ),
        (Method::POST, "3.0/mlflow/datasets/create", json!({ "name": "d", "experiment_ids": ["77"] }), 404),
        (Method::POST, "3.0/mlflow/datasets/create", json!({ "name": "d", "tags": "{" }), 400),
        (Method::GET, "3.0/mlflow/datasets/none", json!({}), 404),
        (Method::PATCH, "3.0/mlflow/datasets/none/tags", json!({ "tags": "{\"k\":\"v\"}" }), 404),
        (Method::POST, "2.0/mlflow/webhooks", json!({ "name": "n" }), 400),
    ] {
        let (found, answer) = client.call(method, path, body).await;
        assert_eq!(found, status, "{path}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{path}");
    }
    // Of what is gone the tag is gone as well.
    let (found, _) = client.call(Method::DELETE, "3.0/mlflow/datasets/none/tags/k", json!({})).await;
    assert_eq!(found, 200);
}

#[tokio::test]
async fn a_part_that_is_absent_names_how_to_add_it() {
    let meta = in_memory().await;
    let (tracking, registry) = (tracking(Arc::clone(&meta)).await, registry(meta).await);
    let router = MlflowServer::new(Arc::new(tracking), Arc::new(registry), ArtifactStore::in_memory()).router();
    for (path, with) in [
        ("3.0/mlflow/traces/t", "with_traces"),
        ("3.0/mlflow/datasets/d", "with_evaluation"),
        ("2.0/mlflow/webhooks/w", "with_webhooks"),
    ] {
        let (status, body) = send(&router, Method::GET, &format!("/api/{path}"), &[], Vec::new()).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status.as_u16(), &body["error_code"]), (501, &json!("NOT_IMPLEMENTED")));
        assert!(body["message"].as_str().unwrap().contains(with), "{body}");
    }
}

#[tokio::test]
async fn the_second_api_starts_and_ends_traces() {
    let client = Client::new().await;
    let start = json!({ "experiment_id": "0", "timestamp_ms": 5, "tags": [{ "key": "a", "value": "1" }] });
    let (_, answer) = client.call(Method::POST, "2.0/mlflow/traces", start).await;
    let id = answer["trace_info"]["request_id"].as_str().unwrap().to_owned();
    assert_eq!(answer["trace_info"]["status"], "IN_PROGRESS");
    let end = json!({ "timestamp_ms": 12, "status": "ERROR", "request_metadata": [{ "key": "m", "value": "2" }] });
    let (_, answer) = client.call(Method::PATCH, &format!("2.0/mlflow/traces/{id}"), end).await;
    let info = &answer["trace_info"];
    assert_eq!((&info["execution_time_ms"], &info["status"]), (&json!(7), &json!("ERROR")));
    let (_, found) =
        client.call(Method::GET, "2.0/mlflow/traces?experiment_ids=0&filter=status%3D%27ERROR%27", json!({})).await;
    assert_eq!(&found["traces"][0], info);
}

#[tokio::test]
async fn a_deleted_experiment_takes_no_traces() {
    let meta = in_memory().await;
    let tracking = tracking(Arc::clone(&meta)).await;
    tracking.delete_experiment(mlops_registry::ExperimentId(0)).await.unwrap();
    let traces = SqlTraceStore::builder(Arc::clone(&meta)).build().await.unwrap();
    let server = MlflowServer::new(Arc::new(tracking), Arc::new(registry(meta).await), ArtifactStore::in_memory());
    let router = server.with_traces(Arc::new(traces)).router();
    let (status, body) = send(&router, Method::POST, "/v1/traces", &PROTOBUF, exported()).await;
    assert_eq!(status, 400, "{}", String::from_utf8_lossy(&body));
}

#[tokio::test]
async fn an_export_that_no_repetition_mends_is_unprocessable() {
    let client = Client::new().await;
    let span = |id: &str| {
        let span = json!({ "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "name": "s" });
        json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string().into_bytes()
    };
    for bad in ["", "x"] {
        let (status, answer) = client.otlp(&JSON, span(bad)).await;
        assert_eq!((status.as_u16(), answer["detail"].as_str().is_some()), (422, true));
    }
    assert_eq!(client.otlp(&PROTOBUF[..1], exported()).await.0.as_u16(), 422, "without experiment");
    let (status, _) = client.otlp(&JSON[..1], span("b7ad6b7169203331")).await;
    assert_eq!(status.as_u16(), 422, "without experiment");
    let (status, _) = client.otlp(&JSON, span(&"0".repeat(16))).await;
    assert_eq!(status.as_u16(), 200, "ids of zeros are taken");
}

#[tokio::test]
async fn spans_of_other_libraries_count_tokens_and_show_what_went_in() {
    let client = Client::new().await;
    let text = |key: &str, text: &str| json!({ "key": key, "value": { "stringValue": text } });
    let int = |key: &str, number: i64| json!({ "key": key, "value": { "intValue": number } });
    let export = |id: &str, parent: &str, attributes: Value| {
        let span = json!({ "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "parentSpanId": parent,
            "name": "s", "startTimeUnixNano": "1", "endTimeUnixNano": "2", "attributes": attributes });
        json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string().into_bytes()
    };
    let (root, child) = ("b7ad6b7169203331", "b7ad6b7169203332");
    let tokens = json!([int("gen_ai.usage.input_tokens", 3), int("gen_ai.usage.output_tokens", 4)]);
    assert_eq!(client.otlp(&JSON, export(child, root, tokens)).await.0, StatusCode::OK);
    let outer = json!([text("input.value", "hello"), text("openinference.span.kind", "CHAIN")]);
    assert_eq!(client.otlp(&JSON, export(root, "", outer.clone())).await.0, StatusCode::OK);
    let of = "3.0/mlflow/traces/get?trace_id=tr-0af7651916cd43dd8448eb211c80319c";
    let (_, answer) = client.call(Method::GET, of, json!({})).await;
    let info = &answer["trace"]["trace_info"];
    assert_eq!(info["request_preview"], "\"hello\"");
    let counted = |info: &Value| -> Value {
        serde_json::from_str(info["trace_metadata"]["mlflow.trace.tokenUsage"].as_str().unwrap()).unwrap()
    };
    assert_eq!(counted(info), json!({ "input_tokens": 3, "output_tokens": 4, "total_tokens": 7 }));
    let kinds: Vec<&Value> = answer["trace"]["spans"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|span| span["attributes"].as_array().unwrap().iter().filter(|pair| pair["key"] == "mlflow.spanType"))
        .collect();
    assert_eq!(kinds, [&json!({ "key": "mlflow.spanType", "value": { "string_value": "CHAIN" } })]);

    // A parent that counts itself stands for what is below it, also when it comes later.
    let mut counting = outer.as_array().unwrap().clone();
    counting.extend([int("llm.token_count.prompt", 30), int("llm.token_count.completion", 40)]);
    assert_eq!(client.otlp(&JSON, export(root, "", counting.into())).await.0, StatusCode::OK);
    let (_, answer) = client.call(Method::GET, of, json!({})).await;
    assert_eq!(counted(&answer["trace"]["trace_info"])["total_tokens"], 70);
}

#[tokio::test]
async fn values_that_are_deeper_than_attributes_may_be_are_stored_and_read() {
    let client = Client::new().await;
    let deep = format!("{}1{}", "{\"a\":".repeat(40), "}".repeat(40));
    let span = json!({ "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "s",
        "attributes": [{ "key": "input.value", "value": { "stringValue": deep } }] });
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string().into_bytes();
    assert_eq!(client.otlp(&JSON, body).await.0, StatusCode::OK);
    let of = "3.0/mlflow/traces/get?trace_id=tr-0af7651916cd43dd8448eb211c80319c";
    let (status, answer) = client.call(Method::GET, of, json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let attributes = answer["trace"]["spans"][0]["attributes"].as_array().unwrap();
    let inputs = attributes.iter().find(|pair| pair["key"] == "mlflow.spanInputs").unwrap();
    assert_eq!(inputs["value"], json!({ "string_value": deep }));
}

/// The tokens that a trace is told to have taken.
async fn total_tokens(client: &Client, trace: &str) -> i64 {
    let (_, answer) = client.call(Method::GET, &format!("3.0/mlflow/traces/{trace}"), json!({})).await;
    let told = answer["trace"]["trace_info"]["trace_metadata"]["mlflow.trace.tokenUsage"].as_str().unwrap().to_owned();
    serde_json::from_str::<Value>(&told).unwrap()["total_tokens"].as_i64().unwrap()
}

#[tokio::test]
async fn tokens_are_counted_once_a_span_until_the_client_counts_itself() {
    let client = Client::new().await;
    let span = |id: &str, parent: &str, tokens: i64| {
        json!({ "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "parentSpanId": parent, "name": "s",
            "attributes": [{ "key": "llm.token_count.total", "value": { "intValue": tokens } }] })
    };
    let export = async |spans: Value| {
        let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string().into_bytes();
        assert_eq!(client.otlp(&JSON, body).await.0, StatusCode::OK);
        total_tokens(&client, "tr-0af7651916cd43dd8448eb211c80319c").await
    };
    let (first, upper) = ("b7ad6b7169203331", "B7AD6B7169203331");
    assert_eq!(export(json!([span(first, "", 5), span(first, "", 6)])).await, 6, "the last of one id counts");
    assert_eq!(export(json!([span(upper, "", 5)])).await, 5, "ids have no case");
    assert_eq!(export(json!([span("b7ad6b7169203332", upper, 9)])).await, 5, "it is below the first");

    let start = async |metadata: Value| {
        let info = json!({ "trace_id": "tr-0af7651916cd43dd8448eb211c80319c", "request_time": "2026-01-01T00:00:00Z",
            "trace_location": { "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": "0" } },
            "state": "OK", "trace_metadata": metadata });
        let (status, answer) =
            client.call(Method::POST, "3.0/mlflow/traces", json!({ "trace": { "trace_info": info } })).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    };
    start(json!({ "k": "v" })).await;
    assert_eq!(export(json!([span("b7ad6b7169203333", "", 7)])).await, 12, "the client has not counted");
    start(json!({ "mlflow.trace.tokenUsage": "{\"total_tokens\": 100}" })).await;
    assert_eq!(export(json!([span("b7ad6b7169203334", "", 7)])).await, 100);
    start(json!({})).await;
    assert_eq!(export(json!([span("b7ad6b7169203335", "", 7)])).await, 100, "what it has said stays");
}

#[tokio::test]
async fn links_to_traces_that_never_come_are_bounded() {
    let client = Client::new().await;
    let run = "r1".parse().unwrap();
    let wrong = client.traces.link_to_run(&["a/b".to_owned()], &run).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::InvalidArgument);
    let link = async |number: usize| {
        let ids: Vec<String> = (0..100).map(|at| format!("tr-{}", 100 * number + at)).collect();
        client.traces.link_to_run(&ids, &run).await
    };
    for number in 0..100 {
        link(number).await.unwrap();
    }
    link(99).await.unwrap();
    assert_eq!(link(100).await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
    assert_eq!(client.otlp(&PROTOBUF, exported()).await.0, StatusCode::OK);
    client.traces.link_to_run(&[TRACE.to_owned()], &run).await.unwrap();
}

#[tokio::test]
async fn assessments_of_one_moment_keep_their_order_and_filters_know_their_values() {
    let client = Client::new().await;
    assert_eq!(client.otlp(&PROTOBUF, exported()).await.0, StatusCode::OK);
    let names = ["d", "a", "c", "b"];
    for name in names {
        let said = json!({ "assessment_name": name, "source": { "source_type": "HUMAN", "source_id": "ann" },
            "create_time": "2024-01-01T00:00:00Z", "feedback": { "value": 5.0 } });
        let path = format!("3.0/mlflow/traces/{TRACE}/assessments");
        assert_eq!(client.call(Method::POST, &path, json!({ "assessment": said })).await.0, StatusCode::OK);
    }
    let (_, answer) = client.call(Method::GET, &format!("3.0/mlflow/traces/{TRACE}"), json!({})).await;
    let told = answer["trace"]["trace_info"]["assessments"].as_array().unwrap();
    assert_eq!(told.iter().map(|said| said["assessment_name"].as_str().unwrap()).collect::<Vec<_>>(), names);

    let search = async |filter: &str| {
        let here = json!([{ "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": "0" } }]);
        let body = json!({ "locations": here, "filter": filter });
        client.call(Method::POST, "3.0/mlflow/traces/search", body).await
    };
    for (filter, found) in [("= '5'", 1), ("= '5.0'", 1), ("!= '5'", 0), ("!= '5.0'", 0), ("= '5.5'", 0), ("!= 'x'", 1)]
    {
        let (_, answer) = search(&format!("feedback.a {filter}")).await;
        assert_eq!(answer["traces"].as_array().map_or(0, Vec::len), found, "{filter}");
    }
    for (wrong, why) in [
        ("span.duration = '1'", "Invalid span attribute 'duration'"),
        ("prompt = 'alone'", "Invalid prompts filter value 'alone'"),
        ("feedback.a > 'high'", "Expected a numeric value for feedback"),
    ] {
        let (status, answer) = search(wrong).await;
        assert!(status.as_u16() == 400 && answer["message"].as_str().unwrap().contains(why), "{wrong}: {answer}");
    }
}

#[tokio::test]
async fn a_trace_may_be_linked_before_it_comes() {
    let client = Client::new().await;
    let (_, run) = client.call(Method::POST, "2.0/mlflow/runs/create", json!({ "experiment_id": "0" })).await;
    let run = run["run"]["info"]["run_id"].as_str().unwrap();
    let link = json!({ "trace_ids": [TRACE], "run_id": run });
    assert_eq!(client.call(Method::POST, "2.0/mlflow/traces/link-to-run", link).await.0, StatusCode::OK);
    assert_eq!(client.otlp(&PROTOBUF, exported()).await.0, StatusCode::OK);
    let body = json!({ "locations": [{ "type": "MLFLOW_EXPERIMENT", "mlflow_experiment": { "experiment_id": "0" } }],
        "filter": format!("run_id = '{run}'") });
    let (_, found) = client.call(Method::POST, "3.0/mlflow/traces/search", body).await;
    assert_eq!(found["traces"][0]["trace_id"], TRACE);
}

#[tokio::test]
async fn issues_are_kept_changed_and_found_the_worst_first() {
    let client = Client::new().await;
    let create = async |name: &str, more: Value| {
        let mut body = json!({ "experiment_id": "0", "name": name, "description": "d" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.call(Method::POST, "3.0/mlflow/issues", body).await
    };
    let (_, first) = create("first", json!({ "root_causes": ["r"] })).await;
    let id = first["issue"]["issue_id"].as_str().unwrap().to_owned();
    assert_eq!((&first["issue"]["status"], &first["issue"]["root_causes"]), (&json!("pending"), &json!(["r"])));
    assert_eq!(create("worst", json!({ "severity": "high" })).await.0, StatusCode::OK);
    for (more, status) in [
        (json!({ "experiment_id": "77" }), 404),
        (json!({ "name": "" }), 400),
        (json!({ "status": "lost" }), 400),
        (json!({ "source_run_id": "nobody" }), 404),
    ] {
        assert_eq!(create("wrong", more.clone()).await.0.as_u16(), status, "{more}");
    }
    let change = json!({ "issue_id": id, "status": "resolved", "name": "mended" });
    let (_, changed) = client.call(Method::PATCH, &format!("3.0/mlflow/issues/{id}"), change).await;
    assert_eq!((&changed["issue"]["name"], &changed["issue"]["description"]), (&json!("mended"), &json!("d")));
    let search = async |body: Value| client.call(Method::POST, "3.0/mlflow/issues/search", body).await.1;
    let page = search(json!({ "max_results": 1 })).await;
    assert_eq!(page["issues"][0]["name"], "worst");
    let rest = search(json!({ "max_results": 1, "page_token": page["next_page_token"] })).await;
    assert_eq!((&rest["issues"][0]["name"], &rest["next_page_token"]), (&json!("mended"), &json!("")));
    let resolved = search(json!({ "experiment_id": "0", "filter_string": "status = 'resolved'" })).await;
    assert_eq!(resolved["issues"].as_array().unwrap().len(), 1);
    let (status, _) = client.call(Method::GET, "3.0/mlflow/issues/none", json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_spans_cost_is_summed_by_model() {
    let client = Client::new().await;
    let cost = |total: f64| {
        let pair = json!({ "key": "total_cost", "value": { "doubleValue": total } });
        json!({ "kvlistValue": { "values": [pair] } })
    };
    let spans: Vec<Value> = [("b7ad6b7169203331", 0.5), ("b7ad6b7169203332", 0.25)]
        .map(|(id, total)| {
            json!({ "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "name": "s", "startTimeUnixNano": "1",
            "attributes": [{ "key": "mlflow.llm.cost", "value": cost(total) },
                { "key": "gen_ai.request.model", "value": { "stringValue": "m" } }] })
        })
        .to_vec();
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] });
    assert_eq!(client.otlp(&JSON, body.to_string().into_bytes()).await.0, StatusCode::OK);
    let query = json!({ "experiment_ids": ["0"], "view_type": "SPANS", "metric_name": "total_cost",
        "aggregations": [{ "aggregation_type": "SUM" }], "dimensions": ["span_model_name"] });
    let (_, answer) = client.call(Method::POST, "3.0/mlflow/traces/metrics", query).await;
    let point = &answer["data_points"][0];
    assert_eq!((&point["values"]["SUM"], &point["dimensions"]["span_model_name"]), (&json!(0.75), &json!("m")));
}
