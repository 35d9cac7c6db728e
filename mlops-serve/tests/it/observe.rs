//! What is seen from outside: trace context, metrics, and the access log.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, OnceLock},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request},
};
use mlops_core::{DataType, Error, Signature, TensorSpec, Version, arrow_array::RecordBatch};
use mlops_serve::{ClosureModel, Server};
use serde_json::json;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::{
    client::{models, post, send},
    support::settings,
};

const ADD: (&str, &str) =
    ("/v2/models/add/infer", r#"{"inputs":[{"name":"a","shape":[2],"datatype":"FP64","data":[1,2]}]}"#);

/// A server of the usual models and of `busy`, which always says that somebody else was faster.
fn router() -> Router {
    let repository = models();
    let spec = TensorSpec::column("x", DataType::Float64);
    let warm = std::sync::atomic::AtomicBool::new(false);
    let model =
        ClosureModel::new(Signature::new([spec.clone()], [spec]).unwrap(), move |batch: &RecordBatch| {
            match warm.swap(true, std::sync::atomic::Ordering::SeqCst) {
                true => Err(Error::conflict("somebody else was faster")),
                false => Ok(batch.clone()),
            }
        });
    repository.register(&"busy".parse().unwrap(), Version(1), Arc::new(model)).unwrap();
    Server::builder(repository).build().unwrap().into_router()
}

async fn traced(router: &Router, parent: Option<&str>) -> HeaderMap {
    let mut request = Request::post(ADD.0);
    if let Some(parent) = parent {
        request = request.header("traceparent", parent);
    }
    send(router, request.body(Body::from(ADD.1)).unwrap()).await.1
}

#[tokio::test]
async fn a_trace_goes_on_and_without_one_a_new_one_begins() {
    let router = router();
    let told = |headers: &HeaderMap| headers["traceparent"].to_str().unwrap().to_owned();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let child = told(&traced(&router, Some(parent)).await);
    assert_eq!((&child[..36], &child[52..]), (&parent[..36], "-01"), "the same trace, still recorded");
    assert_ne!(child[36..52], parent[36..52], "a span of its own");
    let (one, two) = (told(&traced(&router, None).await), told(&traced(&router, Some("nonsense")).await));
    assert_ne!(one[3..35], two[3..35], "each has its own trace");
    let timing = traced(&router, None).await["server-timing"].to_str().unwrap().to_owned();
    assert!(timing.starts_with("queue;dur=") && timing.contains(", compute;dur="), "{timing}");
}

#[tokio::test]
async fn metrics_have_our_names_and_tritons() {
    let router = router();
    post(&router, ADD.0, ADD.1).await;
    let refused = Request::post("/v2/models/busy/infer");
    let body = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[1]}]}"#;
    let (status, ..) = send(&router, refused.body(Body::from(body)).unwrap()).await;
    assert_eq!(status.as_u16(), 409);
    #[cfg(feature = "grpc")]
    {
        let unknown = crate::calls::framed(&crate::calls::field(1, b"none"));
        let method = "/inference.GRPCInferenceService/ModelInfer";
        assert_eq!(crate::calls::grpc(&router, method, None, unknown).await.0, 5);
    }
    let request = Request::get("/metrics").header("accept-encoding", "gzip").header("accept", "*/*");
    let (_, headers, page) = send(&router, request.body(Body::empty()).unwrap()).await;
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(!headers.contains_key("content-encoding"));
    let page = page.as_str().unwrap();
    let (failed, champion) = (if cfg!(feature = "grpc") { 2 } else { 1 }, "version=\"1\",variant=\"champion\"");
    for line in [
        "# TYPE mlops_serve_ready gauge\nmlops_serve_ready 1\n".to_owned(),
        format!("mlops_serve_requests_total{{model=\"add\",{champion},code=\"200\"}} 1\n"),
        format!("mlops_serve_requests_total{{model=\"busy\",{champion},code=\"409\"}} 1\n"),
        format!("mlops_serve_request_seconds_count{{model=\"add\",{champion}}} 1\n"),
        "mlops_serve_batch_rows_sum{model=\"add\",version=\"1\"} 2\n".to_owned(),
        "mlops_serve_http_responses_total{class=\"2xx\"} 1\n".to_owned(),
        format!("mlops_serve_http_responses_total{{class=\"4xx\"}} {failed}\n"),
        "nv_inference_request_success{model=\"add\",version=\"1\"} 1\n".to_owned(),
        "nv_inference_count{model=\"add\",version=\"1\"} 2\n".to_owned(),
        "nv_inference_request_failure{model=\"busy\",version=\"1\",reason=\"OTHER\"} 1\n".to_owned(),
    ] {
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

/// Keeps the events of the access log, of all tests of this process: whether an event is wanted is found out once, by
/// whichever thread comes first, so a subscriber of one thread alone may miss all of them.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

impl Log {
    fn of_this_process() -> &'static Self {
        static LOG: OnceLock<Log> = OnceLock::new();
        LOG.get_or_init(|| {
            let log = Self::default();
            tracing::subscriber::set_global_default(log.clone()).unwrap();
            log
        })
    }

    /// The lines of requests of this user agent.
    fn of(&self, user_agent: &str) -> Vec<BTreeMap<&'static str, String>> {
        let quoted = format!("{user_agent:?}");
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.get("user_agent") == Some(&quoted)).cloned().collect()
    }
}

struct Line<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "mlops_serve::access"
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = BTreeMap::new();
        event.record(&mut Line(&mut line));
        self.0.lock().unwrap().push(line);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request_and_no_secret() {
    const AGENT: &str = "tester of the access log";
    let log = Log::of_this_process();
    let router = router();
    let add = |secret: &str| {
        let request = Request::post(format!("{}{secret}", ADD.0)).header("user-agent", AGENT);
        request.header("authorization", "Bearer secret").body(Body::from(ADD.1)).unwrap()
    };
    assert_eq!(send(&router, add("?token=secret")).await.0.as_u16(), 200);
    let absent = Request::get("/none").header("user-agent", AGENT).body(Body::empty()).unwrap();
    assert_eq!(send(&router, absent).await.0.as_u16(), 404);
    let quiet = settings(json!({"observe": {"access_log": false}}));
    let quiet = Server::builder(models()).with_settings(quiet).build().unwrap().into_router();
    assert_eq!(send(&quiet, add("")).await.0.as_u16(), 200);
    let lines = log.of(AGENT);
    let of = |line: usize, field: &str| lines[line].get(field).map(String::as_str);
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (field, value) in [
        ("method", "POST"),
        ("path", "\"/v2/models/add/infer\""),
        ("user_agent", "\"tester of the access log\""),
        ("status", "200"),
        ("model", "\"add\""),
        ("version", "1"),
        ("variant", "\"champion\""),
        ("rows", "2"),
    ] {
        assert_eq!(of(0, field), Some(value), "{field}");
    }
    assert_eq!((of(1, "status"), of(1, "path"), of(1, "model")), (Some("404"), Some("\"/none\""), None));
    assert!(!format!("{lines:?}").contains("secret"));
}
