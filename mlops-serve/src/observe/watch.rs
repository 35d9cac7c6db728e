//! The outermost layer: opens the notes, answers with headers, writes the access log.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, Version, header},
    response::Response,
};
use tracing::{Instrument as _, Level, Span};

use super::{
    notes::{self, Noted, Notes},
    trace::TraceContext,
    trailers,
};
use crate::server::Server;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Watches one request that `run` answers.
pub(crate) async fn watch<F: Future<Output = Response>>(
    server: &Server,
    request: Request,
    run: impl FnOnce(Request) -> F,
) -> Response {
    let inner = &server.inner;
    let begun = inner.clock.monotonic();
    let parent = request.headers().get(TRACEPARENT).and_then(|value| TraceContext::parse(value.to_str().ok()?));
    let context = inner.span_ids.span(parent);
    let version = request.version();
    let logs = inner.settings.observe.access_log && tracing::enabled!(target: "mlops_serve::access", Level::INFO);
    let line = logs.then(|| Line::of(&request));
    let span = tracing::info_span!(
        "request",
        trace_id = %format_args!("{:032x}", context.trace),
        span_id = %format_args!("{:016x}", context.span),
        parent_id = parent.map(|parent| tracing::field::display(format!("{:016x}", parent.span))),
    );
    let notes = Notes::begun(context);
    let _in_flight = inner.traffic.begin();
    let mut response = notes::carry(Some(notes.clone()), run(request).instrument(span.clone())).await;
    notes.with(|noted| add_headers(server, &mut response, noted));
    if inner.is_draining() && version <= Version::HTTP_11 {
        // Its client then knows that the connection ends with this answer, and sends nothing into the void.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if trailers::is_open(&response) {
        let server = server.clone();
        return trailers::when_ended(response, move |status| {
            let took = server.inner.clock.monotonic().saturating_sub(begun);
            ended(&server, status, took, line, &notes, &span);
        });
    }
    let took = inner.clock.monotonic().saturating_sub(begun);
    // gRPC tells a failure without messages beside a 200.
    let status = trailers::status_in(response.headers()).unwrap_or_else(|| response.status());
    ended(server, status, took, line, &notes, &span);
    response
}

/// Counts an answer and writes its line.
fn ended(server: &Server, status: StatusCode, took: Duration, line: Option<Line>, notes: &Notes, span: &Span) {
    server.inner.traffic.answered(status);
    if let Some(line) = line {
        notes.with(|noted| span.in_scope(|| line.write(status, took, noted)));
    }
}

fn add_headers(server: &Server, response: &mut Response, noted: &Noted) {
    let settings = &server.inner.settings.observe;
    let headers = response.headers_mut();
    if settings.trace_headers
        && let Some(context) = noted.trace
        && let Ok(value) = HeaderValue::from_bytes(&context.text())
    {
        headers.insert(TRACEPARENT, value);
    }
    if settings.timing_headers && noted.answered_by.is_some() {
        let (queue, compute) = (noted.queue.as_micros(), noted.compute.as_micros());
        let text = format!(
            "queue;dur={}.{:03}, compute;dur={}.{:03}",
            queue / 1_000,
            queue % 1_000,
            compute / 1_000,
            compute % 1_000
        );
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(SERVER_TIMING, value);
        }
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What the access log says of a request besides the answer; queries are left out, for they may hold secrets.
struct Line {
    method: axum::http::Method,
    path: String,
    user_agent: Option<HeaderValue>,
}

impl Line {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
        }
    }

    fn write(&self, status: StatusCode, took: Duration, noted: &Noted) {
        let answered_by = noted.answered_by.as_ref();
        tracing::info!(
            target: "mlops_serve::access",
            method = %self.method,
            path = self.path,
            user_agent = self.user_agent.as_ref().and_then(|value| value.to_str().ok()),
            status = status.as_u16(),
            principal = noted.principal.as_ref().map(|principal| principal.name.as_str()),
            model = answered_by.map(|(model, ..)| model.as_str()),
            version = answered_by.map(|(_, version, _)| version.0),
            variant = answered_by.map(|(.., variant)| variant.as_str()),
            rows = noted.rows,
            ms = millis(took),
            queue_ms = millis(noted.queue),
            compute_ms = millis(noted.compute),
            "answered"
        );
    }
}
