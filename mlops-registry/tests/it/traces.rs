//! Traces and evaluation datasets as bytes on the wire: OTLP in its two forms and damaged, and parts that are absent.

use std::{io::Write as _, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, StatusCode},
};
use flate2::{Compression, write::GzEncoder};
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
        (&PROTOBUF[..1], exported()),
        (&PROTOBUF[1..], exported()),
        (&JSON[..], b"{\"resourceSpans\": [{\"scopeSpans\": [{\"spans\": [{\"traceId\": \"x\"}]}]}]}".to_vec()),
        (&[PROTOBUF[0], ("x-mlflow-experiment-id", "x")][..], exported()),
        (&[PROTOBUF[0], PROTOBUF[1], ("content-encoding", "br")][..], exported()),
    ] {
        let (status, answer) = client.otlp(headers, body).await;
        assert_eq!((status.as_u16(), &answer["error_code"]), (400, &json!("INVALID_PARAMETER_VALUE")), "{headers:?}");
    }
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
        (Method::POST, "2.0/mlflow/webhooks", json!({ "name": "n" }), 400),
    ] {
        let (found, answer) = client.call(method, path, body).await;
        assert_eq!(found, status, "{path}: {answer}");
        assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{path}");
    }
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
