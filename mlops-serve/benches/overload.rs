//! What a server does when five times as much comes as it can do: goodput and the latency of what it accepts.
//!
//! ```text
//! cargo bench -p mlops-serve --bench overload -- [--seconds N] [--millis M]
//! ```
//!
//! The model holds a worker for a fixed time, as an accelerator would, so that the capacity is known and the processor is
//! left to the server and to the load. First the peak: as many clients as keep every worker busy, each asking again as
//! soon as it was answered. Then requests come at five times that rate whether or not those before were answered, from
//! clients that wait half a second. A request that is answered with 200 within that time counts as good, later
//! as late; 429 and 503 must say when to come again. The program fails when goodput falls below 90 % of the peak, or the
//! 99th percentile of the good answers is beyond the deadline.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a bench measures time")]

use std::{
    process::ExitCode,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use futures::future::join_all;
use mlops_core::{DataType, Signature, TensorSpec, Version, arrow_array::RecordBatch};
use mlops_serve::{ClosureModel, ModelConfig, ModelRepository, Server, ServerSettings};
use tokio::{task::JoinSet, time::interval};
use tower::ServiceExt as _;

const WORKERS: usize = 4;
const TIMES: f64 = 5.0;
/// How long a client waits, milliseconds; it says so in its request.
const PATIENCE_MS: u64 = 500;
/// What must be left of the peak.
const GOODPUT_MIN: f64 = 0.9;

/// What became of requests.
#[derive(Debug, Default)]
struct Outcome {
    /// Answers within the client's patience.
    good: Vec<Duration>,
    /// Answers that nobody waits for any more.
    late: usize,
    refused: Vec<Duration>,
    /// Refusals that do not say when to come again, and anything else.
    odd: usize,
}

fn argument(name: &str, default: u64) -> u64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn router(millis: u64) -> Router {
    let spec = TensorSpec::column("x", DataType::Float64);
    let signature = Signature::new([spec.clone()], [spec]).unwrap();
    let model = ClosureModel::new(signature, move |batch: &RecordBatch| {
        std::thread::sleep(Duration::from_millis(millis));
        Ok(batch.clone())
    });
    let repository = Arc::new(ModelRepository::new());
    // Every request costs the same: batching would raise the capacity with the load.
    repository.configure(ModelConfig::new("slow".parse().unwrap()).with_batch_rows_max(1)).unwrap();
    repository.register(&"slow".parse().unwrap(), Version(1), Arc::new(model)).unwrap();
    let settings = ServerSettings { workers: WORKERS, ..ServerSettings::default() };
    Server::builder(repository).with_settings(settings).build().unwrap().into_router()
}

async fn ask(router: Router, outcome: &Mutex<Outcome>) {
    let body = format!(
        r#"{{"parameters":{{"timeout":{}}},"inputs":[{{"name":"x","shape":[1],"datatype":"FP64","data":[1]}}]}}"#,
        PATIENCE_MS * 1_000
    );
    let begun = Instant::now();
    let response =
        router.oneshot(Request::post("/v2/models/slow/infer").body(Body::from(body)).unwrap()).await.unwrap();
    let (status, again) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
    to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let took = begun.elapsed();
    let mut outcome = outcome.lock().unwrap();
    match (status, again) {
        (200, _) if took <= Duration::from_millis(PATIENCE_MS) => outcome.good.push(took),
        (200, _) => outcome.late += 1,
        (429 | 503, true) | (504, _) => outcome.refused.push(took),
        _ => outcome.odd += 1,
    }
}

/// As fast as answers come.
async fn closed(router: &Router, clients: usize, time: Duration) -> Outcome {
    let outcome = Mutex::default();
    let until = Instant::now() + time;
    let client = async || {
        while Instant::now() < until {
            ask(router.clone(), &outcome).await;
        }
    };
    join_all((0..clients).map(|_| client())).await;
    outcome.into_inner().unwrap()
}

/// At a rate, whatever is answered.
async fn open(router: &Router, per_second: f64, time: Duration) -> (Outcome, Duration) {
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let mut clients = JoinSet::new();
    let mut ticks = interval(Duration::from_millis(5));
    let begun = Instant::now();
    let mut sent = 0.0;
    while begun.elapsed() < time {
        ticks.tick().await;
        let due = begun.elapsed().as_secs_f64() * per_second;
        while sent < due {
            let (router, outcome) = (router.clone(), Arc::clone(&outcome));
            clients.spawn(async move { ask(router, &outcome).await });
            sent += 1.0;
        }
    }
    let took = begun.elapsed();
    while clients.join_next().await.is_some() {}
    (Arc::into_inner(outcome).unwrap().into_inner().unwrap(), took)
}

fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let place = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
    times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
}

#[tokio::main]
async fn main() -> ExitCode {
    let (time, millis) = (Duration::from_secs(argument("--seconds", 20)), argument("--millis", 5));
    let router = router(millis);
    closed(&router, WORKERS, Duration::from_secs(1)).await;
    let mut peak = closed(&router, WORKERS * 4, time / 2).await;
    let peak_rate = peak.good.len() as f64 / (time / 2).as_secs_f64();
    println!(
        "peak: {peak_rate:.0} answers/s of {} possible, p50 {:.1} ms, p99 {:.1} ms",
        WORKERS as u64 * 1_000 / millis,
        percentile(&mut peak.good, 0.5),
        percentile(&mut peak.good, 0.99)
    );
    let (mut over, took) = open(&router, peak_rate * TIMES, time).await;
    let goodput = over.good.len() as f64 / took.as_secs_f64();
    let (share, p99) = (goodput / peak_rate, percentile(&mut over.good, 0.99));
    println!(
        "at {TIMES} times the peak: {goodput:.0} good answers/s ({:.1} % of the peak), p50 {:.1} ms, p99 {p99:.1} ms; \
         {} late, {} refused (p99 {:.1} ms), {} odd",
        share * 100.0,
        percentile(&mut over.good, 0.5),
        over.late,
        over.refused.len(),
        percentile(&mut over.refused, 0.99),
        over.odd
    );
    let mut after = closed(&router, WORKERS, Duration::from_secs(2)).await;
    println!(
        "after it: p50 {:.1} ms, p99 {:.1} ms",
        percentile(&mut after.good, 0.5),
        percentile(&mut after.good, 0.99)
    );
    let holds = share >= GOODPUT_MIN && p99 <= PATIENCE_MS as f64 && over.odd == 0 && after.refused.is_empty();
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
