//! A server in front of another: what it answers, what it passes on, and what becomes of it when the other fails. Every
//! protocol between the two passes the same tests.

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
    ClosureModel, Ensemble, IdentityModel, InferOptions, ModelRepository, Peers, REMOTE_FILE, REMOTE_FLAVOR,
    RemoteModel, RemoteRuntime, RemoteSettings, Runtimes, Server, ServerSettings, Step, TensorType,
    rollout::{RolloutSettings, Strategy},
};
use serde_json::{Value, json};

use crate::{
    client::{self, call, post},
    support::{Gate, Listening, in_time},
};

fn name(name: &str) -> ModelName {
    name.parse().unwrap()
}

/// What the two servers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Rest,
    #[cfg(feature = "grpc")]
    Grpc,
}

macro_rules! over_each {
    ($($promise:ident),* $(,)?) => {
        mod rest {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                super::$promise(super::Over::Rest).await;
            })*
        }
        #[cfg(feature = "grpc")]
        mod grpc {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $promise() {
                super::$promise(super::Over::Grpc).await;
            })*
        }
    };
}

over_each!(
    it_answers_what_the_other_answers,
    the_trace_the_id_and_the_time_left_go_with_the_call,
    what_was_not_answered_is_asked_again_within_bounds,
    a_server_that_does_not_answer_is_left_alone_and_then_tried,
    a_call_ends_with_the_time_of_its_request,
    a_server_that_hangs_is_left_alone_too,
    a_step_that_hangs_there_ends_with_the_time_of_its_request,
    a_step_that_hangs_there_is_given_up_when_the_caller_goes,
    a_shadow_that_hangs_there_ends_with_the_time_of_its_request,
    a_server_that_is_away_makes_the_one_in_front_unready,
    a_package_names_a_server_that_is_allowed_and_a_model_that_fits,
    an_answer_beyond_the_bound_is_refused_and_an_ensemble_can_ask_there,
);

impl Over {
    /// The answer of a server that fails.
    fn failure(self, status: StatusCode) -> Response {
        match self {
            Self::Rest => (status, json!({ "error": "made up" }).to_string()).into_response(),
            #[cfg(feature = "grpc")]
            Self::Grpc => {
                let code = ErrorKind::from_http_status(status.as_u16()).grpc_code().to_string();
                let kind = "application/grpc";
                [("content-type", kind), ("grpc-status", &code), ("grpc-message", "made up")].into_response()
            }
        }
    }

    /// The id that a call told.
    fn id(self, (_, headers, body): &Seen) -> String {
        match self {
            Self::Rest => json_of(headers, body)["id"].as_str().unwrap().to_owned(),
            #[cfg(feature = "grpc")]
            // `id` is the third field of the message, which has five bytes before it.
            Self::Grpc => {
                let at = body.windows(2).skip(5).position(|window| window == [3 << 3 | 2, 3]).unwrap() + 7;
                String::from_utf8(body[at..at + 3].to_vec()).unwrap()
            }
        }
    }

    /// How much time a call said was left, microseconds.
    fn left_us(self, (_, headers, body): &Seen) -> u64 {
        match self {
            Self::Rest => json_of(headers, body)["parameters"]["timeout"].as_u64().unwrap(),
            #[cfg(feature = "grpc")]
            Self::Grpc => {
                let text = headers["grpc-timeout"].to_str().unwrap();
                let (digits, unit) = text.split_at(text.len() - 1);
                let count: u64 = digits.parse().unwrap();
                match unit {
                    "n" => count / 1_000,
                    "u" => count,
                    "m" => count * 1_000,
                    _ => count * 1_000_000,
                }
            }
        }
    }
}

fn json_of(headers: &HeaderMap, body: &Bytes) -> Value {
    let length: usize = headers["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    serde_json::from_slice(&body[..length]).unwrap()
}

type Seen = (String, HeaderMap, Bytes);

/// What came to the other server, and what is answered in place of its own answers, the first first.
#[derive(Debug, Clone)]
struct Wire {
    over: Over,
    seen: Arc<Mutex<Vec<Seen>>>,
    faults: Arc<Mutex<VecDeque<StatusCode>>>,
}

impl Wire {
    fn inferences(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|(path, ..)| infers(path)).count()
    }

    fn fail(&self, status: StatusCode, times: usize) {
        self.faults.lock().unwrap().extend(std::iter::repeat_n(status, times));
    }
}

fn infers(path: &str) -> bool {
    path.ends_with("/infer") || path.ends_with("/ModelInfer")
}

async fn tap(State(wire): State<Wire>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let is_inference = infers(&path);
    wire.seen.lock().unwrap().push((path, parts.headers.clone(), body.clone()));
    if is_inference && let Some(status) = wire.faults.lock().unwrap().pop_front() {
        return wire.over.failure(status);
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}

/// The other server, which really listens.
async fn other(over: Over, server: Server) -> (Listening, Wire, String) {
    let wire = Wire { over, seen: Arc::default(), faults: Arc::default() };
    let router: Router = server.into_router().layer(from_fn_with_state(wire.clone(), tap));
    let listening = Listening::with(|listener, shutdown| async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(shutdown).await;
        served.map_err(|error| mlops_core::Error::unavailable("the listener died").with_source(error))
    })
    .await;
    let scheme = if over == Over::Rest { "http" } else { "grpc" };
    let url = format!("{scheme}://{}", listening.address);
    (listening, wire, url)
}

async fn others(over: Over) -> (Listening, Wire, String) {
    other(over, Server::builder(client::models()).build().unwrap()).await
}

fn quick(url: &str, model: &str) -> RemoteSettings {
    RemoteSettings { backoff_ms: 0, breaker_failures: 0, ..RemoteSettings::new(url, model) }
}

/// A server of `model` under its own name, in front of the other.
fn front(model: RemoteModel, at: &str) -> Server {
    let repository = Arc::new(ModelRepository::new());
    repository.register_remote(&name(at), Version(7), Arc::new(model)).unwrap();
    Server::builder(repository).build().unwrap()
}

fn summands() -> RecordBatch {
    let a = Arc::new(Float64Array::from(vec![1.0])) as ArrayRef;
    let b = Arc::new(Int64Array::from(vec![2])) as ArrayRef;
    RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap()
}

const ADD: &str = r#"{"id": "r-1", "inputs": [{"name": "a", "shape": [2], "datatype": "FP64", "data": [1.5, 2]},
    {"name": "b", "shape": [2], "datatype": "INT64", "data": [10, 20]}]}"#;

async fn it_answers_what_the_other_answers(over: Over) {
    let (_listening, _, url) = others(over).await;
    // In binary, and over REST in JSON.
    for binary in [true, false].into_iter().filter(|binary| *binary || over == Over::Rest) {
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

async fn the_trace_the_id_and_the_time_left_go_with_the_call(over: Over) {
    let (_listening, wire, url) = others(over).await;
    let router = front(RemoteModel::connect(quick(&url, "add")).unwrap(), "add").into_router();
    let request = Request::post("/v2/models/add/infer")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .body(Body::from(ADD.replacen('{', r#"{"parameters": {"timeout": 3000000}, "#, 1)))
        .unwrap();
    let (status, headers, answer) = client::send(&router, request).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let seen = wire.seen.lock().unwrap();
    let call = seen.last().unwrap();
    let (path, sent, _) = call;
    assert!(infers(path), "{path}");
    // The span of the server in front, in the trace of its client.
    let trace = sent["traceparent"].to_str().unwrap();
    assert_eq!(trace, headers["traceparent"].to_str().unwrap());
    assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace.ends_with("-01"), "{trace}");
    assert_eq!(over.id(call), "r-1");
    let left = over.left_us(call);
    assert!(0 < left && left <= 3_000_000, "{left}");
}

async fn what_was_not_answered_is_asked_again_within_bounds(over: Over) {
    let (_listening, wire, url) = others(over).await;
    let model = RemoteModel::connect(quick(&url, "add")).unwrap();
    wire.fail(StatusCode::SERVICE_UNAVAILABLE, 2);
    assert_eq!(model.predict(&summands()).unwrap()["y"].as_primitive::<Float64Type>().values(), &[3.0]);
    assert_eq!(wire.inferences(), 3);
    // Attempts of one call are bounded.
    wire.fail(StatusCode::BAD_GATEWAY, 3);
    let error = model.predict(&summands()).unwrap_err();
    assert_eq!((error.kind(), wire.inferences()), (ErrorKind::Unavailable, 6));
    assert!(!error.message().contains(&url) && error.message().ends_with(": made up"), "{error}");
    assert!(error.context().iter().any(|(key, value)| *key == "server" && *value == url), "{error:?}");
    // What the request is at fault for, and what may have been done already, is not repeated.
    for (status, kind) in [
        (StatusCode::BAD_REQUEST, ErrorKind::InvalidArgument),
        (StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::Internal),
        (StatusCode::UNAUTHORIZED, ErrorKind::FailedPrecondition),
    ] {
        wire.fail(status, 1);
        let before = wire.inferences();
        assert_eq!(model.predict(&summands()).unwrap_err().kind(), kind);
        assert_eq!(wire.inferences(), before + 1, "{status}");
    }
    // Without a budget nothing is.
    let thrifty = RemoteModel::connect(RemoteSettings { retry_ratio: 0.0, ..quick(&url, "add") }).unwrap();
    wire.fail(StatusCode::SERVICE_UNAVAILABLE, 1);
    let before = wire.inferences();
    assert_eq!(thrifty.predict(&summands()).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(wire.inferences(), before + 1);
    // An outage does not multiply calls for ever: what is saved up is ten retries, and one more for every ten calls.
    let before = wire.inferences();
    wire.fail(StatusCode::SERVICE_UNAVAILABLE, 1_000);
    for _ in 0..100 {
        assert!(model.predict(&summands()).is_err());
    }
    let made = wire.inferences() - before;
    assert!((100..=100 + 10 + 10).contains(&made), "{made} attempts of 100 calls");
}

async fn a_server_that_does_not_answer_is_left_alone_and_then_tried(over: Over) {
    let (_listening, wire, url) = others(over).await;
    let connect = |breaker_pause_ms| {
        let settings = RemoteSettings { attempts_max: 1, breaker_failures: 3, breaker_pause_ms, ..quick(&url, "add") };
        RemoteModel::connect(settings).unwrap()
    };
    let model = connect(30_000);
    // A refusal is an answer.
    for status in [503, 503, 400, 503, 503, 503] {
        wire.fail(StatusCode::from_u16(status).unwrap(), 1);
        assert!(model.predict(&summands()).is_err());
    }
    let made = wire.inferences();
    let error = model.predict(&summands()).unwrap_err();
    assert_eq!((error.kind(), wire.inferences()), (ErrorKind::Unavailable, made), "{error}");
    assert!(error.message().contains("does not answer; ask again in"), "{error}");
    assert!(error.context().iter().any(|(key, _)| *key == "retry_after_s"), "{error:?}");

    let impatient = connect(0);
    wire.fail(StatusCode::SERVICE_UNAVAILABLE, 4);
    for _ in 0..4 {
        assert!(impatient.predict(&summands()).is_err());
    }
    assert_eq!(wire.inferences(), made + 4, "when its pause is over, calls try again");
    assert_eq!(impatient.predict(&summands()).unwrap()["y"].as_primitive::<Float64Type>().values(), &[3.0]);
}

async fn a_call_ends_with_the_time_of_its_request(over: Over) {
    let (gate, models) = Gate::model();
    let (_listening, _, url) = other(over, Server::builder(models).build().unwrap()).await;
    // The row that the server in front warms it up with.
    gate.open();
    let server = front(RemoteModel::connect(quick(&url, "gate")).unwrap(), "gate");
    gate.started().await;
    let options = InferOptions { timeout: Some(Duration::from_millis(20)), ..InferOptions::default() };
    let error = in_time(server.infer(&name("gate"), row(), options)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    gate.open();
}

async fn a_server_that_hangs_is_left_alone_too(over: Over) {
    let (gate, models) = Gate::model();
    let (_listening, _, url) = other(over, Server::builder(models).build().unwrap()).await;
    gate.open();
    let settings = RemoteSettings { breaker_failures: 1, breaker_pause_ms: 30_000, ..quick(&url, "gate") };
    let server = front(RemoteModel::connect(settings).unwrap(), "gate");
    gate.started().await;
    let ask = async || {
        let options = InferOptions { timeout: Some(Duration::from_millis(50)), ..InferOptions::default() };
        in_time(server.infer(&name("gate"), row(), options)).await
    };
    // On a slow machine a request may have no time left for a call.
    let mut errors = Vec::new();
    while errors.len() < 100 && errors.last() != Some(&ErrorKind::Unavailable) {
        errors.push(ask().await.unwrap_err().kind());
    }
    assert_eq!((errors[0], *errors.last().unwrap()), (ErrorKind::DeadlineExceeded, ErrorKind::Unavailable));
    let error = ask().await.unwrap_err();
    assert!(error.message().contains("does not answer; ask again in"), "{error}");
    gate.open();
}

/// A server with one worker and the models `local`, `hangs` (an ensemble that asks the gated model of the other server) and
/// `shadowed` (whose version 2 is that model). Nothing but the time of a request ends a call.
struct Hanging {
    _other: Listening,
    wire: Wire,
    gate: Gate,
    server: Server,
}

impl Hanging {
    async fn new(over: Over) -> Self {
        let (gate, models) = Gate::model();
        let (listening, wire, url) = other(over, Server::builder(models).build().unwrap()).await;
        let there = || {
            // The row that it is warmed up with.
            gate.open();
            let settings = RemoteSettings { timeout_ms: 3_600_000, ..quick(&url, "gate") };
            Arc::new(RemoteModel::connect(settings).unwrap())
        };
        let repository = Arc::new(ModelRepository::new());
        repository.register_remote(&name("there"), Version(1), there()).unwrap();
        let (spec, signature) = column();
        for model in ["local", "shadowed"] {
            let same = ClosureModel::new(signature.clone(), |batch| Ok(batch.clone()));
            repository.register(&name(model), Version(1), Arc::new(same)).unwrap();
        }
        repository.register_remote(&name("shadowed"), Version(2), there()).unwrap();
        gate.open();
        let signature = Signature::new([spec], [TensorSpec::column("y", DataType::Float64)]).unwrap();
        let ensemble = Ensemble::builder(signature)
            .with_step(Step::served("asks", name("there"), None).with_output("x", "y"))
            .build(&repository.peers())
            .unwrap();
        repository.register_ensemble(&name("hangs"), Version(1), Arc::new(ensemble)).unwrap();
        for _ in 0..3 {
            gate.started().await;
        }
        let settings = ServerSettings { workers: 1, inline_below_us: 0, ..ServerSettings::default() };
        let server = Server::builder(repository).with_settings(settings).build().unwrap();
        Self { _other: listening, wire, gate, server }
    }

    async fn ask(&self, model: &str, timeout: Duration) -> mlops_core::Result<mlops_serve::InferReply> {
        let options = InferOptions { timeout: Some(timeout), ..InferOptions::default() };
        self.server.infer(&name(model), row(), options).await
    }

    /// The worker has nothing left to wait for, although the other server still hangs.
    async fn is_free(&self) {
        in_time(self.ask("local", Duration::from_secs(300))).await.unwrap();
        self.gate.open();
    }
}

fn column() -> (TensorSpec, Signature) {
    let spec = TensorSpec::column("x", DataType::Float64);
    (spec.clone(), Signature::new([spec.clone()], [spec]).unwrap())
}

fn row() -> RecordBatch {
    let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    RecordBatch::try_from_iter([("x", x)]).unwrap()
}

async fn a_step_that_hangs_there_ends_with_the_time_of_its_request(over: Over) {
    let hanging = Hanging::new(over).await;
    let limit = Duration::from_secs(2);
    let (asked, ()) = futures::join!(in_time(hanging.ask("hangs", limit)), hanging.gate.started());
    assert_eq!(asked.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    let left = over.left_us(hanging.wire.seen.lock().unwrap().last().unwrap());
    assert!(0 < left && left <= 2_000_000, "{left}");
    hanging.is_free().await;
}

async fn a_step_that_hangs_there_is_given_up_when_the_caller_goes(over: Over) {
    let hanging = Hanging::new(over).await;
    tokio::select! {
        answer = hanging.ask("hangs", Duration::from_secs(3_600)) => panic!("{answer:?}"),
        () = hanging.gate.started() => {}
    }
    hanging.is_free().await;
}

async fn a_shadow_that_hangs_there_ends_with_the_time_of_its_request(over: Over) {
    let hanging = Hanging::new(over).await;
    hanging
        .server
        .start_rollout(&name("shadowed"), Version(2), RolloutSettings::new(Strategy::Shadow { mirror: 1.0 }))
        .await
        .unwrap();
    let reply = in_time(hanging.ask("shadowed", Duration::from_secs(2))).await.unwrap();
    assert_eq!(reply.version, Version(1));
    hanging.gate.started().await;
    let left = over.left_us(hanging.wire.seen.lock().unwrap().last().unwrap());
    assert!(0 < left && left <= 2_000_000, "{left}");
    hanging.is_free().await;
    let stats = hanging.server.rollout_stats(&name("shadowed")).unwrap();
    assert_eq!(stats.candidates[0].requests, 0, "the request had no more time: that is no error of the candidate");
}

async fn a_server_that_is_away_makes_the_one_in_front_unready(over: Over) {
    let (listening, _, url) = others(over).await;
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

async fn a_package_names_a_server_that_is_allowed_and_a_model_that_fits(over: Over) {
    let (_listening, wire, url) = others(over).await;
    let elsewhere = if over == Over::Rest { "http://127.0.0.1:1" } else { "grpc://127.0.0.1:1" };
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
        (elsewhere, vec![a.clone(), b.clone()], "127.0.0.1:1, which is not allowed"),
    ] {
        let error = load(&package(server, inputs)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
        assert!(error.message().contains(text), "{error}");
    }
    let missing = RemoteModel::connect(quick(&url, "nobody")).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Unavailable, "{missing}");
    let identity = Arc::new(ModelRepository::new());
    identity.register_tensors(&name("raw"), Version(1), Arc::new(IdentityModel::new(TensorType::Fp32))).unwrap();
    let (_listening, _, url) = other(over, Server::builder(identity).build().unwrap()).await;
    let error = RemoteModel::connect(quick(&url, "raw")).unwrap_err();
    assert!(error.message().contains("the rows, and only they, may vary"), "{error}");
}

async fn an_answer_beyond_the_bound_is_refused_and_an_ensemble_can_ask_there(over: Over) {
    let (_listening, _, url) = others(over).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_load_says_nothing_of_batches_where_another_server_predicts() {
    let (_listening, _, url) = others(Over::Rest).await;
    let repository = Arc::new(ModelRepository::new());
    let model = RemoteModel::connect(quick(&url, "add")).unwrap();
    repository.register_remote(&name("add"), Version(1), Arc::new(model)).unwrap();
    let settings = ServerSettings { repository_api: true, ..ServerSettings::default() };
    let router = Server::builder(repository).with_settings(settings).build().unwrap().into_router();
    let own = call(&router, "GET", "/v2/models/add/config", "").await.1;
    for (config, status) in [
        (own, StatusCode::OK),
        (json!({"max_batch_size": 1}), StatusCode::OK),
        (json!({"max_batch_size": 2}), StatusCode::BAD_REQUEST),
        (json!({"dynamic_batching": {"max_queue_delay_microseconds": 1}}), StatusCode::BAD_REQUEST),
    ] {
        let body = json!({"parameters": {"config": config.to_string()}}).to_string();
        let answer = call(&router, "POST", "/v2/repository/models/add/load", body).await;
        assert_eq!(answer.0, status, "{config}: {}", answer.1);
    }
}
