//! The outermost layer: opens the notes, answers with headers, writes the access log.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, Version, header},
    middleware::Next,
    response::Response,
};
use mlops_core::ErrorKind;
use tracing::{Instrument as _, Level};

use super::{
    notes::{self, Noted, Notes},
    trace::TraceContext,
};
use crate::server::Server;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Watches one request.
pub(crate) async fn watch(State(server): State<Server>, request: Request, next: Next) -> Response {
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
    let notes = Notes::default();
    let _in_flight = inner.traffic.begin();
    let mut response = notes::carry(Some(notes.clone()), next.run(request).instrument(span.clone())).await;
    let took = inner.clock.monotonic().saturating_sub(begun);
    let status = outcome(&response);
    inner.traffic.answered(status);
    notes.with(|noted| {
        add_headers(&server, &mut response, context, noted);
        if let Some(line) = line {
            span.in_scope(|| line.write(status, took, noted));
        }
    });
    if inner.is_draining() && version <= Version::HTTP_11 {
        // Its client then knows that the connection ends with this answer, and sends nothing into the void.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The status that an answer amounts to: gRPC tells its failures beside a 200.
fn outcome(response: &Response) -> StatusCode {
    let code = response.headers().get(GRPC_STATUS).and_then(|code| code.to_str().ok()?.parse().ok());
    let Some(code) = code.filter(|code| *code != 0) else { return response.status() };
    let status = ErrorKind::from_grpc_code(code).map_or(500, ErrorKind::http_status);
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn add_headers(server: &Server, response: &mut Response, context: TraceContext, noted: &Noted) {
    let settings = &server.inner.settings.observe;
    let headers = response.headers_mut();
    if settings.trace_headers
        && let Ok(value) = HeaderValue::try_from(context.to_string())
    {
        headers.insert(TRACEPARENT, value);
    }
    if settings.timing_headers && noted.answered_by.is_some() {
        let (queue, compute) = (millis(noted.queue), millis(noted.compute));
        if let Ok(value) = HeaderValue::try_from(format!("queue;dur={queue:.3}, compute;dur={compute:.3}")) {
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
