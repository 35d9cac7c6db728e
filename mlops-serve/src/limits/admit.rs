//! The layer that counts requests in and out, and bounds the time of a body.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body::{Frame, SizeHint};
use mlops_core::Digest;
use tokio::time::{Sleep, sleep};

use crate::{access::refuse, metrics::Refusal, observe, protocol::Failure, server::Server};

/// Lets a request in as far as the limits go, and holds its place until the answer has begun.
pub(crate) async fn admit(State(server): State<Server>, request: Request, next: Next) -> Response {
    let inner = &server.inner;
    if request.uri().path().starts_with("/v2/health/") || request.uri().path().starts_with("/grpc.health.") {
        return next.run(request).await;
    }
    let place = match inner.tenants.enter(|| tenant(request.headers()), inner.clock.monotonic()) {
        Ok(place) => place,
        Err((reason, error)) => {
            inner.traffic.refused(reason);
            return refuse(request.headers(), error);
        }
    };
    let limit = Duration::from_millis(inner.settings.limits.body_timeout_ms);
    let late = Arc::new(AtomicBool::new(false));
    let response = next.run(bounded(request, limit, &late)).await;
    drop(place);
    if late.load(Ordering::Relaxed) && response.status().is_client_error() {
        inner.traffic.refused(Refusal::BodyTimeout);
        return too_slow(limit);
    }
    response
}

/// Whose request it is; keys are named by their digest.
fn tenant(headers: &HeaderMap) -> String {
    if let Some(principal) = observe::current().and_then(|notes| notes.read().principal) {
        return principal.name.clone();
    }
    let shown = headers.get(header::AUTHORIZATION).or_else(|| headers.get("x-api-key"));
    shown.map(|value| Digest::of(value.as_bytes()).short()).unwrap_or_default()
}

fn too_slow(limit: Duration) -> Response {
    let text = format!("the body did not come within {} ms", limit.as_millis());
    let mut response = Failure::new(StatusCode::REQUEST_TIMEOUT, text).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The request with a body that fails when it takes too long. Bodies that are there already need no watching, and
/// those of gRPC may be streams without an end.
fn bounded(request: Request, limit: Duration, late: &Arc<AtomicBool>) -> Request {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if request.body().is_end_stream() || kind.starts_with("application/grpc") {
        return request;
    }
    let late = Arc::clone(late);
    request.map(|body| Body::new(Timed { body, limit, sleep: None, late }))
}

/// A body that must be there in time.
struct Timed {
    body: Body,
    limit: Duration,
    /// Set when the body makes its reader wait for the first time.
    sleep: Option<Pin<Box<Sleep>>>,
    late: Arc<AtomicBool>,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep(this.limit)));
        if sleep.as_mut().poll(context).is_ready() {
            this.late.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(std::io::ErrorKind::TimedOut)))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
