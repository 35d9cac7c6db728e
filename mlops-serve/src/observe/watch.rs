//! The outermost layer: opens the notes, answers with headers, writes the access log.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, StatusCode, Version, header},
    response::Response,
};
use tracing::{Instrument as _, Level, Span};

#[cfg(feature = "grpc")]
use super::trailers;
use super::{
    notes::{self, Noted, Notes},
    trace::TraceContext,
};
use crate::{door::Wire, server::Server};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Watches one request that `run` answers.
///
/// The request is looked at, and given to `run`, before the future is polled: so the future has no room for it.
pub(crate) fn watch<F: Future<Output = Response>>(
    server: Server,
    wire: Wire,
    request: Request,
    run: impl FnOnce(Request) -> F,
) -> impl Future<Output = Response> {
    let inner = &server.inner;
    let parent = request.headers().get(TRACEPARENT).and_then(|value| TraceContext::parse(value.to_str().ok()?));
    let context = inner.span_ids.span(parent);
    let version = request.version();
    let logs = inner.settings.observe.access_log && tracing::enabled!(target: "mlops_serve::access", Level::INFO);
    let line = logs.then(|| Line::of(&request, inner.clock.monotonic()));
    let span = tracing::info_span!(
        "request",
        trace_id = %format_args!("{:032x}", context.trace),
        span_id = %format_args!("{:016x}", context.span),
        parent_id = parent.map(|parent| tracing::field::display(format!("{:016x}", parent.span))),
    );
    // Whoever wraps a future moves all of it, and this is a large one.
    let answer = Box::pin(run(request)).instrument(span.clone());
    let watched = Watched { server, wire, version, line, notes: Notes::begun(context), span };
    async move {
        let response = {
            let _in_flight = watched.server.inner.traffic.begin();
            notes::carry(Some(watched.notes.clone()), answer).await
        };
        watched.answered(response)
    }
}

/// A request that is being answered.
struct Watched {
    server: Server,
    wire: Wire,
    version: Version,
    line: Option<Line>,
    notes: Notes,
    span: Span,
}

impl Watched {
    /// Completes the answer, and counts it once its status is known.
    fn answered(self, mut response: Response) -> Response {
        let Self { server, wire, version, line, notes, span } = self;
        notes.with(|noted| add_headers(&server, &mut response, noted));
        if server.inner.is_draining() && version <= Version::HTTP_11 {
            // Its client then knows that the connection ends with this answer, and sends nothing into the void.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let status = match wire {
            Wire::Http => response.status(),
            #[cfg(feature = "grpc")]
            Wire::Call | Wire::Stream => {
                if trailers::is_open(&response) {
                    return trailers::when_ended(response, move |status| ended(&server, status, line, &notes, &span));
                }
                // gRPC tells a failure without messages beside a 200.
                trailers::status_in(response.headers()).unwrap_or_else(|| response.status())
            }
        };
        ended(&server, status, line, &notes, &span);
        response
    }
}

/// Counts an answer and writes its line.
fn ended(server: &Server, status: StatusCode, line: Option<Line>, notes: &Notes, span: &Span) {
    server.inner.traffic.answered(status);
    if let Some(line) = line {
        let took = server.inner.clock.monotonic().saturating_sub(line.begun);
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
    if settings.timing_headers
        && noted.answered_by.is_some()
        && let Ok(value) = HeaderValue::from_bytes(&timing(noted.queue, noted.compute))
    {
        headers.insert(SERVER_TIMING, value);
    }
}

/// The header of a request that waited and was computed for so long, in milliseconds. Written by hand, for every answer has
/// it and the formatter takes longer than the model.
fn timing(queue: Duration, compute: Duration) -> Vec<u8> {
    let mut text = Vec::with_capacity(64);
    for (name, took) in [("queue;dur=", queue), (", compute;dur=", compute)] {
        text.extend_from_slice(name.as_bytes());
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        push_decimal(micros / 1_000, 1, &mut text);
        text.push(b'.');
        push_decimal(micros % 1_000, 3, &mut text);
    }
    text
}

/// A number of at least so many digits.
fn push_decimal(number: u64, digits: u32, text: &mut Vec<u8>) {
    if number >= 10 || digits > 1 {
        push_decimal(number / 10, digits.saturating_sub(1), text);
    }
    text.push(b"0123456789".get((number % 10) as usize).copied().unwrap_or(b'0'));
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// What the access log says of a request besides the answer; queries are left out, for they may hold secrets.
struct Line {
    begun: Duration,
    method: axum::http::Method,
    path: String,
    user_agent: Option<HeaderValue>,
}

impl Line {
    fn of(request: &Request, begun: Duration) -> Self {
        Self {
            begun,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_with_three_places() {
        let micros = Duration::from_micros;
        let text = |queue, compute| String::from_utf8(timing(micros(queue), micros(compute))).unwrap();
        assert_eq!(text(0, 7), "queue;dur=0.000, compute;dur=0.007");
        assert_eq!(text(1_050, 12_345_600), "queue;dur=1.050, compute;dur=12345.600");
        assert!(text(u64::MAX, 0).starts_with("queue;dur=18446744073709551.615, "));
    }
}
