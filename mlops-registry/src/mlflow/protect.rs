//! What stands before every route: host names, bounds, headers.
//!
//! Invariant: a request that names another host than this server's own is refused, for a page elsewhere may have made
//! its name mean this machine (DNS rebinding); at most a set number of requests are at work at a time, from when they
//! come until their answers have been sent.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, HttpBody as _},
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue, Uri,
        header::{CONTENT_TYPE, HOST, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS},
    },
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use futures::StreamExt as _;
use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::failure::Failure;

/// Names of this machine, by which it may always be asked.
pub(super) const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];
const HEADERS: [(HeaderName, HeaderValue); 2] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN")),
];

/// How much the server takes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerLimits {
    /// Requests at work at the same time; 1 to 100,000. Default 1,024. One more is refused with 503, which MLflow's
    /// clients repeat.
    pub requests_max: usize,
    /// Seconds until an answer must begin, files excepted, and until a client has said what the parts of an upload are; 1
    /// to 3,600. Default 120.
    pub answer_seconds: u64,
    /// Seconds that a client who sends a file may be silent; 1 to 3,600. Default 60.
    pub silence_seconds: u64,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self { requests_max: 1_024, answer_seconds: 120, silence_seconds: 60 }
    }
}

impl ServerLimits {
    pub(super) fn check(&self) -> Result<()> {
        let seconds = |value: u64| (1..=3_600).contains(&value);
        if (1..=100_000).contains(&self.requests_max) && seconds(self.answer_seconds) && seconds(self.silence_seconds) {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "server limits {self:?}: requests_max must be 1 to 100000, answer_seconds and silence_seconds 1 to 3600"
        )))
    }
}

/// The gate of one router.
#[derive(Debug)]
pub(super) struct Gate {
    hosts: Vec<String>,
    answer: Duration,
    turns: Arc<Semaphore>,
}

impl Gate {
    pub(super) fn new(hosts: &[String], limits: &ServerLimits) -> Self {
        let hosts = hosts.iter().map(|host| name_of(host).to_ascii_lowercase()).collect();
        let turns = Arc::new(Semaphore::new(limits.requests_max));
        Self { hosts, answer: Duration::from_secs(limits.answer_seconds), turns }
    }

    /// Whether the server may be asked by this name. A request without one comes from no browser.
    fn admits(&self, request: &Request) -> bool {
        let header = request.headers().get(HOST).map(|host| host.to_str().unwrap_or("?"));
        let Some(host) = header.or_else(|| request.uri().authority().map(|authority| authority.as_str())) else {
            return true;
        };
        let name = name_of(host).to_ascii_lowercase();
        LOOPBACK.contains(&name.as_str())
            || self.hosts.iter().any(|allowed| match allowed.strip_prefix('*') {
                Some("") => true,
                Some(suffix) => suffix.starts_with('.') && name.ends_with(suffix),
                None => *allowed == name,
            })
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

fn is_probe(uri: &Uri) -> bool {
    matches!(uri.path(), "/health" | "/version")
}

/// Files flow for as long as they do, and a store may take long to make one of parts.
fn is_file(uri: &Uri) -> bool {
    ["/mlflow-artifacts/artifacts/", "/mlflow-artifacts/mpu/"].iter().any(|part| uri.path().contains(part))
}

pub(super) async fn protect(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let mut response = admit(&gate, request, next).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

async fn admit(gate: &Gate, request: Request, next: Next) -> Response {
    if is_probe(request.uri()) {
        return next.run(request).await;
    }
    if !gate.admits(&request) {
        let message = "Invalid Host header: this server is not called so; allow the name by with_allowed_hosts";
        return Failure(Error::permission_denied(message)).into_response();
    }
    let Ok(turn) = Arc::clone(&gate.turns).try_acquire_owned() else {
        return Failure(Error::unavailable("the server has too many requests at work; try again")).into_response();
    };
    if is_file(request.uri()) {
        return holding(next.run(request).await, turn);
    }
    match timeout(gate.answer, next.run(request)).await {
        Ok(response) => holding(response, turn),
        Err(_) => Failure(Error::deadline_exceeded("the answer took too long; ask for less at once")).into_response(),
    }
}

/// The answer, with which the turn ends when it has been sent.
fn holding(response: Response, turn: OwnedSemaphorePermit) -> Response {
    // What is whole already is no work any more; whoever watches a run waits most of the time, and is one of a number
    // that is bounded elsewhere.
    if response.body().size_hint().exact().is_some() || is_watching(&response) {
        return response;
    }
    response.map(|body| {
        Body::from_stream(body.into_data_stream().map(move |piece| {
            let _turn = &turn;
            piece
        }))
    })
}

fn is_watching(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/event-stream"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::{
        Router,
        body::to_bytes,
        http::{StatusCode, header::RETRY_AFTER},
        middleware::from_fn_with_state,
        response::sse::{Event, Sse},
        routing::get,
    };
    use futures::stream;
    use tower::ServiceExt as _;

    use super::*;

    const OK: StatusCode = StatusCode::OK;
    const GATEWAY_TIMEOUT: StatusCode = StatusCode::GATEWAY_TIMEOUT;

    #[test]
    fn only_own_names_are_answered() {
        let gate = Gate::new(&["mlflow.corp:5000".to_owned(), "*.lab.example".to_owned()], &ServerLimits::default());
        let admits = |host: &str| gate.admits(&Request::builder().header(HOST, host).body(Body::empty()).unwrap());
        for own in ["localhost:5000", "127.0.0.1", "[::1]:80", "MLflow.corp", "mlflow.corp:81", "a.lab.example"] {
            assert!(admits(own), "{own}");
        }
        for other in
            ["evil.example", "localhost.evil.example", "lab.example", "xlab.example", "127.0.0.1.evil.example:5000", ""]
        {
            assert!(!admits(other), "{other:?}");
        }
        assert!(gate.admits(&Request::new(Body::empty())));
        let any = Gate::new(&["*".to_owned()], &ServerLimits::default());
        assert!(any.admits(&Request::builder().header(HOST, "x").body(Body::empty()).unwrap()));
    }

    #[test]
    fn limits_out_of_range_are_refused() {
        ServerLimits::default().check().unwrap();
        for bad in [
            ServerLimits { requests_max: 0, ..ServerLimits::default() },
            ServerLimits { answer_seconds: 0, ..ServerLimits::default() },
            ServerLimits { silence_seconds: 3_601, ..ServerLimits::default() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }

    const FILES: [&str; 2] = ["/api/2.0/mlflow-artifacts/artifacts/x", "/api/2.0/mlflow-artifacts/mpu/complete/x"];

    /// A router behind a gate with one turn.
    fn gated() -> Router {
        const LONG: Duration = Duration::from_secs(3_600);
        let whole = async || "whole";
        let stream = async || Body::from_stream(stream::iter(["a", "b"].map(Ok::<_, Infallible>)));
        let events = async || Sse::new(stream::pending::<std::result::Result<Event, Infallible>>());
        let long = async || {
            tokio::time::sleep(LONG).await;
            "at last"
        };
        let gate = Gate::new(&[], &ServerLimits { requests_max: 1, ..ServerLimits::default() });
        Router::new()
            .route("/whole", get(whole))
            .route("/stream", get(stream))
            .route("/events", get(events))
            .route("/long", get(long))
            .route(FILES[0], get(long))
            .route(FILES[1], get(long))
            .layer(from_fn_with_state(Arc::new(gate), protect))
    }

    async fn ask(router: &Router, path: &str) -> Response {
        router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn a_turn_lasts_until_the_answer_has_been_sent() {
        let router = gated();
        let ask = async |path: &str| ask(&router, path).await;
        let streaming = ask("/stream").await;
        let refused = ask("/whole").await;
        assert_eq!((refused.status().as_u16(), &refused.headers()[RETRY_AFTER]), (503, &HeaderValue::from_static("1")));
        assert_eq!(to_bytes(streaming.into_body(), 9).await.unwrap(), "ab");
        let (sent, watching) = (ask("/whole").await, ask("/events").await);
        assert_eq!((sent.status(), watching.status(), ask("/whole").await.status()), (OK, OK, OK));
        drop(ask("/stream").await);
        assert_eq!(ask("/whole").await.status(), OK, "the turn of an answer that nobody wants ends too");
    }

    #[tokio::test(start_paused = true)]
    async fn answers_begin_in_time_and_files_take_theirs() {
        let router = gated();
        let status = async |path: &str| ask(&router, path).await.status();
        assert_eq!((status("/long").await, status(FILES[0]).await, status(FILES[1]).await), (GATEWAY_TIMEOUT, OK, OK));
    }
}
