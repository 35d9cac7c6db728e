//! The function in Lambda's own protocol: a process that asks a runtime for events over HTTP and posts answers to it.
//!
//! The runtime API is AWS's, so it is played here; everything that speaks to it is real, in a process of its own with the
//! environment that Lambda gives it.

use std::{
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use mlops_core::{Delivery, ErrorKind, PredictionBatch, PredictionSink, Result};
use mlops_serve::Server;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};

use crate::{
    client,
    support::{Gate, Listening, in_time},
};

/// Counts predictions as they are flushed, in a file that the test reads.
#[derive(Debug)]
struct Flushed {
    path: std::path::PathBuf,
    waiting: AtomicUsize,
}

#[async_trait::async_trait]
impl PredictionSink for Flushed {
    fn append(&self, batch: PredictionBatch) -> Delivery {
        self.waiting.fetch_add(batch.outputs.num_rows(), Ordering::Relaxed);
        Delivery::Accepted
    }
    async fn flush(&self) -> Result<()> {
        std::fs::write(&self.path, self.waiting.load(Ordering::Relaxed).to_string()).unwrap();
        Ok(())
    }
    fn dropped(&self) -> u64 {
        0
    }
}

/// The function itself, when a test starts it as a process of its own.
#[tokio::test]
#[ignore = "run by the tests of this file in a process of its own"]
async fn lambda_function() {
    let Some(path) = std::env::var_os("MLOPS_TEST_FLUSHED") else { return };
    let gated = std::env::var_os("MLOPS_TEST_GATED").is_some();
    let models = if gated { Gate::model().1 } else { client::models() };
    let sink = Flushed { path: path.into(), waiting: AtomicUsize::new(0) };
    let server = Server::builder(models).with_predictions(Arc::new(sink)).build().unwrap();
    server.serve_lambda().await.unwrap();
}

struct Function(Child);

impl Drop for Function {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Function {
    fn start(runtime: &Runtime, flushed: &std::path::Path, gated: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "lambda::lambda_function", "--ignored"]);
        command.env("MLOPS_TEST_FLUSHED", flushed);
        if gated {
            command.env("MLOPS_TEST_GATED", "1");
        }
        for (key, value) in [
            ("AWS_LAMBDA_RUNTIME_API", runtime.listening.address.to_string().as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", "models"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "s"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "g"),
        ] {
            command.env(key, value);
        }
        Self(command.spawn().unwrap())
    }
}

/// An event with the milliseconds it may take.
type Event = (Value, u64);

/// Lambda's runtime API, <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.
struct Runtime {
    listening: Listening,
    events: mpsc::UnboundedSender<Event>,
    answers: mpsc::UnboundedReceiver<(String, Value)>,
}

type Shared = Arc<(Mutex<mpsc::UnboundedReceiver<Event>>, AtomicUsize, mpsc::UnboundedSender<(String, Value)>)>;

async fn next(State(shared): State<Shared>) -> Response {
    // Nobody sends any more when the test is over; Lambda keeps the function waiting then.
    let Some((event, millis)) = shared.0.lock().await.recv().await else { return std::future::pending().await };
    let number = shared.1.fetch_add(1, Ordering::Relaxed);
    let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let mut headers = HeaderMap::new();
    for (key, value) in [
        ("lambda-runtime-aws-request-id", format!("event-{number}")),
        ("lambda-runtime-deadline-ms", (now + millis).to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-central-1:1:function:models".into()),
        ("lambda-runtime-trace-id", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=0".into()),
    ] {
        headers.insert(key, value.parse().unwrap());
    }
    (headers, event.to_string()).into_response()
}

async fn answered(State(shared): State<Shared>, Path((id, kind)): Path<(String, String)>, body: Bytes) -> StatusCode {
    let body =
        serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body).into_owned()));
    shared.2.send((format!("{id} {kind}"), body)).unwrap();
    StatusCode::ACCEPTED
}

impl Runtime {
    async fn start() -> Self {
        let (events, waiting) = mpsc::unbounded_channel();
        let (tell, answers) = mpsc::unbounded_channel();
        let shared: Shared = Arc::new((Mutex::new(waiting), AtomicUsize::new(0), tell));
        let router: Router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/{kind}", post(answered))
            .with_state(shared);
        let listening = Listening::with(|listener, _| async move {
            let served = axum::serve(listener, router).await;
            served.map_err(|error| mlops_core::Error::unavailable("the listener died").with_source(error))
        })
        .await;
        Self { listening, events, answers }
    }

    /// What the function answers to an event.
    async fn invoke(&mut self, event: Value, millis: u64) -> (String, Value) {
        self.events.send((event, millis)).unwrap();
        in_time(self.answers.recv()).await.unwrap()
    }
}

/// An event of a function URL, or of API Gateway's HTTP API.
fn event(method: &str, path: &str, headers: &Value, body: Option<(&str, bool)>) -> Value {
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": headers,
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "a.lambda-url.on.aws", "domainPrefix": "a",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.2.3.4", "userAgent": "t"},
            "requestId": "i", "routeKey": "$default", "stage": "$default", "time": "12/Mar/2024:19:03:58 +0000",
            "timeEpoch": 1_710_270_238_000_u64
        },
        "isBase64Encoded": body.is_some_and(|(_, encoded)| encoded)
    });
    if let Some((body, _)) = body {
        event["body"] = body.into();
    }
    event
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_answers_events_in_text_and_binary_and_flushes_before_it_answers() {
    let root = tempfile::tempdir().unwrap();
    let flushed = root.path().join("flushed");
    let mut runtime = Runtime::start().await;
    let _function = Function::start(&runtime, &flushed, false);

    let live = runtime.invoke(event("GET", "/v2/health/live", &json!({}), None), 60_000).await;
    assert_eq!((live.0.as_str(), &live.1["statusCode"]), ("event-0 response", &json!(200)), "{live:?}");

    let body = r#"{"inputs": [{"name": "a", "shape": [1], "datatype": "FP64", "data": [1.5]},
        {"name": "b", "shape": [1], "datatype": "INT64", "data": [2]}]}"#;
    let (_, answer) =
        runtime.invoke(event("POST", "/v2/models/add/infer", &json!({}), Some((body, false))), 60_000).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let told: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(told["outputs"][0]["data"], json!([3.5]));
    assert_eq!(std::fs::read_to_string(&flushed).unwrap(), "1", "flushed before the answer");

    // Binary tensors both ways.
    let head = r#"{"parameters": {"binary_data_output": true}, "inputs": [{"name": "a", "shape": [1], "datatype": "FP64",
        "parameters": {"binary_data_size": 8}}, {"name": "b", "shape": [1], "datatype": "INT64", "data": [2]}]}"#;
    let binary = [head.as_bytes(), &2.5_f64.to_le_bytes()].concat();
    let headers =
        json!({"inference-header-content-length": head.len().to_string(), "content-type": "application/octet-stream"});
    let encoded = BASE64_STANDARD.encode(&binary);
    let sent = event("POST", "/v2/models/add/infer", &headers, Some((&encoded, true)));
    let (_, answer) = runtime.invoke(sent, 60_000).await;
    assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(200), &json!(true)), "{answer}");
    let bytes = BASE64_STANDARD.decode(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(bytes[bytes.len() - 8..], 4.5_f64.to_le_bytes());

    let (_, answer) =
        runtime.invoke(event("POST", "/v2/models/no/infer", &json!({}), Some(("{}", false))), 60_000).await;
    assert_eq!(answer["statusCode"], 404, "{answer}");
    let balancer = json!({
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu:1:targetgroup/t/1"}},
        "httpMethod": "GET", "path": "/v2/models/add", "queryStringParameters": {}, "headers": {"host": "x"},
        "body": "", "isBase64Encoded": false
    });
    let (_, answer) = runtime.invoke(balancer, 60_000).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_answers_before_its_time_is_over() {
    let root = tempfile::tempdir().unwrap();
    let mut runtime = Runtime::start().await;
    let _function = Function::start(&runtime, &root.path().join("flushed"), true);
    let gated = event("POST", "/v1/models/gate:predict", &json!({}), Some((r#"{"instances": [1.5]}"#, false)));
    let (_, answer) = runtime.invoke(gated, 200).await;
    assert_eq!(answer["statusCode"], 504, "{answer}");
    assert!(answer["body"].as_str().unwrap().contains("time is over"), "{answer}");
}

#[tokio::test]
async fn elsewhere_it_is_no_function() {
    let error = Server::builder(client::models()).build().unwrap().serve_lambda().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
}
