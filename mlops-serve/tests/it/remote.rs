//! A server in front of another: what it answers, what it passes on, and what becomes of it when the other fails.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use mlops_core::{
    DataType, ErrorKind, Model, ModelName, ModelPackage, Signature, TensorSpec, Version,
    arrow_array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, cast::AsArray, types::Float64Type,
    },
};
use mlops_serve::{
    Ensemble, IdentityModel, InferOptions, ModelRepository, Peers, REMOTE_FILE, REMOTE_FLAVOR, RemoteModel,
    RemoteRuntime, RemoteSettings, Runtimes, Server, ServerSettings, Step, TensorType,
};
use serde_json::{Value, json};

use crate::{
    client::{self, call, post},
    support::{Gate, Listening, in_time},
};

fn name(name: &str) -> ModelName {
    name.parse().unwrap()
}

/// What came to the other server, and what is answered in place of its own answers, the first first.
#[derive(Debug, Clone, Default)]
struct Wire {
    seen: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
    faults: Arc<Mutex<VecDeque<StatusCode>>>,
}

impl Wire {
    fn inferences(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|(path, ..)| path.ends_with("/infer")).count()
    }

    fn fail(&self, status: StatusCode, times: usize) {
        self.faults.lock().unwrap().extend(std::iter::repeat_n(status, times));
    }
}

async fn tap(State(wire): State<Wire>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let is_inference = path.ends_with("/infer");
    wire.seen.lock().unwrap().push((path, parts.headers.clone(), body.clone()));
    if is_inference && let Some(status) = wire.faults.lock().unwrap().pop_front() {
        return (status, json!({ "error": "made up" }).to_string()).into_response();
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// The other server, which really listens.
async fn other(server: Server) -> (Listening, Wire, String) {
    let wire = Wire::default();
    let router: Router = server.into_router().layer(from_fn_with_state(wire.clone(), tap));
    let listening = Listening::with(|listener, shutdown| async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(shutdown).await;
        served.map_err(|error| mlops_core::Error::unavailable("the listener died").with_source(error))
    })
    .await;
    let url = format!("http://{}", listening.address);
    (listening, wire, url)
}

async fn others() -> (Listening, Wire, String) {
    other(Server::builder(client::models()).build().unwrap()).await
}

fn quick(url: &str, model: &str) -> RemoteSettings {
    RemoteSettings { backoff_ms: 0, ..RemoteSettings::new(url, model) }
}

/// A server of `model` under its own name, in front of the other.
fn front(model: RemoteModel, at: &str) -> Server {
    let repository = Arc::new(ModelRepository::new());
    repository.register_remote(&name(at), Version(7), Arc::new(model)).unwrap();
    Server::builder(repository).build().unwrap()
}

const ADD: &str = r#"{"id": "r-1", "inputs": [{"name": "a", "shape": [2], "datatype": "FP64", "data": [1.5, 2]},
    {"name": "b", "shape": [2], "datatype": "INT64", "data": [10, 20]}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_what_the_other_answers_in_binary_and_in_json() {
    let (_listening, _, url) = others().await;
    for binary in [true, false] {
        let connect = |model: &str| RemoteModel::connect(RemoteSettings { binary, ..quick(&url, model) }).unwrap();
        let router = front(connect("add"), "sum").into_router();
        let answer = post(&router, "/v2/models/sum/infer", ADD).await;
        assert_eq!((&answer["outputs"][0]["data"], &answer["model_version"]), (&json!([11.5, 22.0]), &json!("7")));

        let batch = |column: &str, values: ArrayRef| RecordBatch::try_from_iter([(column, values)]).unwrap();
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["", "grün", "a\"b"]));
        assert_eq!(&connect("word").predict(&batch("text", Arc::clone(&texts))).unwrap()["text"], &texts);
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
        assert_eq!(&connect("flag").predict(&batch("flag", Arc::clone(&flags))).unwrap()["flag"], &flags);
        let pair = connect("pair");
        let signature = pair.signature().clone();
        assert_eq!(signature.inputs(), [TensorSpec::tensor("X", DataType::Float32, [2])]);
        let empty = pair.predict(&RecordBatch::new_empty(signature.input_schema())).unwrap();
        assert_eq!(empty.num_rows(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_the_id_and_the_time_left_go_with_the_call() {
    let (_listening, wire, url) = others().await;
    let router = front(RemoteModel::connect(quick(&url, "add")).unwrap(), "add").into_router();
    let request = Request::post("/v2/models/add/infer")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .body(Body::from(ADD.replacen('{', r#"{"parameters": {"timeout": 3000000}, "#, 1)))
        .unwrap();
    let (status, headers, answer) = client::send(&router, request).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let seen = wire.seen.lock().unwrap();
    let (path, sent, body) = seen.last().unwrap();
    assert_eq!(path, "/v2/models/add/infer");
    // The span of the server in front, in the trace of its client.
    let trace = sent["traceparent"].to_str().unwrap();
    assert_eq!(trace, headers["traceparent"].to_str().unwrap());
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace.ends_with("-01"), "{trace}");
    let length: usize = sent["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let json: Value = serde_json::from_slice(&body[..length]).unwrap();
    assert_eq!(json["id"], "r-1");
    let left = json["parameters"]["timeout"].as_u64().unwrap();
    assert!(0 < left && left <= 3_000_000, "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_answered_is_asked_again_within_bounds() {
    let (_listening, wire, url) = others().await;
    let model = RemoteModel::connect(quick(&url, "add")).unwrap();
    let row = || {
        let a = Arc::new(Float64Array::from(vec![1.0])) as ArrayRef;
        let b = Arc::new(Int64Array::from(vec![2])) as ArrayRef;
        RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap()
    };
    wire.fail(StatusCode::SERVICE_UNAVAILABLE, 2);
    assert_eq!(model.predict(&row()).unwrap()["y"].as_primitive::<Float64Type>().values(), &[3.0]);
    assert_eq!(wire.inferences(), 3);
    // Attempts of one call are bounded.
    wire.fail(StatusCode::BAD_GATEWAY, 3);
    let error = model.predict(&row()).unwrap_err();
    assert_eq!((error.kind(), wire.inferences()), (ErrorKind::Unavailable, 6));
    assert!(!error.message().contains(&url) && error.message().ends_with("answered 502: made up"), "{error}");
    assert!(error.context().iter().any(|(key, value)| *key == "server" && *value == url), "{error:?}");
    // What the request is at fault for, and what may have been done already, is not repeated.
    for (status, kind) in [
        (StatusCode::BAD_REQUEST, ErrorKind::InvalidArgument),
        (StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Internal),
        (StatusCode::UNAUTHORIZED, ErrorKind::FailedPrecondition),
    ] {
        wire.fail(status, 1);
        let before = wire.inferences();
        assert_eq!(model.predict(&row()).unwrap_err().kind(), kind);
        assert_eq!(wire.inferences(), before + 1, "{status}");
    }
    // Without a budget nothing is.
    let thrifty = RemoteModel::connect(RemoteSettings { retry_ratio: 0.0, ..quick(&url, "add") }).unwrap();
    wire.fail(StatusCode::SERVICE_UNAVAILABLE, 1);
    let before = wire.inferences();
    assert_eq!(thrifty.predict(&row()).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(wire.inferences(), before + 1);
    // An outage does not multiply calls for ever: what is saved up is ten retries, and one more for every ten calls.
    let before = wire.inferences();
    wire.fail(StatusCode::SERVICE_UNAVAILABLE, 1_000);
    for _ in 0..100 {
        assert!(model.predict(&row()).is_err());
    }
    let made = wire.inferences() - before;
    assert!((100..=100 + 10 + 10).contains(&made), "{made} attempts of 100 calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_with_the_time_of_its_request() {
    let (gate, models) = Gate::model();
    let (_listening, _, url) = other(Server::builder(models).build().unwrap()).await;
    // The row that the server in front warms it up with.
    gate.open();
    let server = front(RemoteModel::connect(quick(&url, "gate")).unwrap(), "gate");
    gate.started().await;
    let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let options = InferOptions { timeout: Some(Duration::from_millis(20)), ..InferOptions::default() };
    let row = RecordBatch::try_from_iter([("x", x)]).unwrap();
    let error = in_time(server.infer(&name("gate"), row, options)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_makes_the_one_in_front_unready() {
    let (listening, _, url) = others().await;
    let server = front(RemoteModel::connect(quick(&url, "add")).unwrap(), "add");
    server.check_readiness().await.unwrap();
    assert!(server.is_ready());
    let router = server.clone().into_router();
    in_time(listening.stop()).await.unwrap().unwrap();
    let error = server.check_readiness().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().starts_with("model \"add\": the server of the model cannot be reached"), "{error}");
    let (ready, _) = call(&router, "GET", "/v2/health/ready", "").await;
    let (asked, answer) = call(&router, "POST", "/v2/models/add/infer", ADD).await;
    assert_eq!((ready, asked), (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE));
    assert!(answer["error"].as_str().unwrap().contains("cannot be reached"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_names_a_server_that_is_allowed_and_a_model_that_fits() {
    let (_listening, wire, url) = others().await;
    let package = |server: &str, inputs: Vec<TensorSpec>| {
        let signature = Signature::new(inputs, [TensorSpec::column("y", DataType::Float64)]).unwrap();
        let settings = serde_json::to_vec(&RemoteSettings::new(server, "add")).unwrap();
        ModelPackage::new(REMOTE_FLAVOR, signature).with_file(REMOTE_FILE, settings)
    };
    let (a, b) = (TensorSpec::column("a", DataType::Float64), TensorSpec::column("b", DataType::Int64));
    let runtime = RemoteRuntime::new().unwrap().with_server(&url, Some("secret")).unwrap();
    let runtimes = Runtimes::new().with_runtime(Arc::new(runtime));
    let load = |package: &ModelPackage| runtimes.load(package, &Peers::default());
    load(&package(&url, vec![a.clone(), b.clone()])).unwrap();
    assert_eq!(wire.seen.lock().unwrap()[0].1["authorization"], "Bearer secret");
    for (server, inputs, text) in [
        (url.as_str(), vec![a.clone()], "needs the input \"b\""),
        (
            &url,
            vec![a.clone(), TensorSpec::column("b", DataType::Float64)],
            "has input \"b\" as INT64 [-1]; the package says FP64",
        ),
        (&url, vec![a.clone(), b.clone(), TensorSpec::column("c", DataType::Bool)], "has no input \"c\""),
        (&url, vec![a.clone(), b.clone().nullable()], "cannot be sent the nulls that input \"b\""),
        ("http://127.0.0.1:1", vec![a.clone(), b.clone()], "127.0.0.1:1, which is not allowed"),
    ] {
        let error = load(&package(server, inputs)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.message().contains(text), "{error}");
    }
    let missing = RemoteModel::connect(quick(&url, "nobody")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Unavailable, "{missing}");
    let identity = Arc::new(ModelRepository::new());
    identity.register_tensors(&name("raw"), Version(1), Arc::new(IdentityModel::new(TensorType::Fp32))).unwrap();
    let (_listening, _, url) = other(Server::builder(identity).build().unwrap()).await;
    let error = RemoteModel::connect(quick(&url, "raw")).unwrap_err();
    assert!(error.message().contains("the rows, and only they, may vary"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_beyond_the_bound_is_refused_and_an_ensemble_can_ask_there() {
    let (_listening, _, url) = others().await;
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1_000)]));
    let row = RecordBatch::try_from_iter([("text", texts)]).unwrap();
    let narrow = RemoteModel::connect(RemoteSettings { answer_bytes_max: 900, ..quick(&url, "word") }).unwrap();
    assert_eq!(narrow.predict(&row).unwrap_err().kind(), ErrorKind::ResourceExhausted);
    let repository = Arc::new(ModelRepository::new());
    let there = Arc::new(RemoteModel::connect(quick(&url, "word")).unwrap());
    repository.register_remote(&name("there"), Version(1), there).unwrap();
    let signature =
        Signature::new([TensorSpec::column("text", DataType::String)], [TensorSpec::column("out", DataType::String)]);
    let twice = Ensemble::builder(signature.unwrap())
        .with_step(Step::served("one", name("there"), None).with_output("text", "once"))
        .with_step(Step::served("two", name("there"), None).with_input("text", "once").with_output("text", "out"))
        .build(&repository.peers())
        .unwrap();
    repository.register_ensemble(&name("twice"), Version(1), Arc::new(twice)).unwrap();
    let settings = ServerSettings { workers: 1, ..ServerSettings::default() };
    let server = Server::builder(repository).with_settings(settings).build().unwrap();
    let reply = server.infer(&name("twice"), row.clone(), InferOptions::default()).await.unwrap();
    assert_eq!(&reply.outputs["out"], &row["text"]);
}
