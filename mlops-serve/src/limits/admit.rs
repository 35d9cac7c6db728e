//! Counts requests in and out, and bounds the time of a body.

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
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use http_body::{Frame, SizeHint};
use mlops_core::{Digest, Error, Result};
use tokio::time::{Sleep, sleep};

use super::tenants::Place;
use crate::{
    access::Purpose,
    door::{Door, Wire},
    metrics::Refusal,
    observe,
    protocol::Failure,
    server::Server,
};

/// Who sent a stream, in the extensions of its request: each of its messages is admitted like a request.
#[cfg(feature = "grpc")]
#[derive(Debug, Clone)]
pub(crate) struct Tenant(Arc<str>);

impl Server {
    fn admit(&self, tenant: impl FnOnce() -> String) -> Result<Place> {
        let admitted = self.inner.tenants.enter(tenant, self.inner.clock.monotonic());
        admitted.map_err(|(reason, error)| {
            self.inner.traffic.refused(reason);
            error
        })
    }

    /// Lets one more message of a stream in; its place is held until it is answered.
    ///
    /// # Errors
    /// `Unavailable` when the server has enough to do, `ResourceExhausted` when the tenant has.
    #[cfg(feature = "grpc")]
    pub(crate) fn admit_message(&self, Tenant(tenant): &Tenant) -> Result<Place> {
        self.admit(|| tenant.as_ref().to_owned())
    }
}

/// Lets a request in as far as the limits go, and holds its place until the answer has begun. Health checks always find
/// a place.
pub(crate) async fn admit<F: Future<Output = Response>>(
    door: &Door,
    request: Request,
    run: impl FnOnce(Request) -> F,
) -> Response {
    let place = match door.purpose {
        Purpose::Health => None,
        _ => match door.server.admit(|| tenant(request.headers())) {
            Ok(place) => Some(place),
            Err(error) => return door.wire.refuse(error),
        },
    };
    let inner = &door.server.inner;
    let limit = Duration::from_millis(inner.settings.limits.body_timeout_ms);
    let late = Arc::new(AtomicBool::new(false));
    let request = if door.wire.is_stream() { with_tenant(request) } else { bounded(request, limit, &late) };
    let response = run(request).await;
    drop(place);
    if late.load(Ordering::Relaxed) {
        inner.traffic.refused(Refusal::BodyTimeout);
        return too_slow(door.wire, limit);
    }
    response
}

/// Whose request it is; keys are named by their digest.
fn tenant(headers: &HeaderMap) -> String {
    let known = |notes: observe::Notes| notes.with(|noted| noted.principal.as_ref().map(|known| known.name.clone()));
    if let Some(name) = observe::current().and_then(known) {
        return name;
    }
    let shown = headers.get(header::AUTHORIZATION).or_else(|| headers.get("x-api-key"));
    shown.map(|value| Digest::of(value.as_bytes()).short()).unwrap_or_default()
}

#[cfg(feature = "grpc")]
fn with_tenant(mut request: Request) -> Request {
    let tenant = Tenant(tenant(request.headers()).into());
    request.extensions_mut().insert(tenant);
    request
}

/// Without gRPC there are no streams.
#[cfg(not(feature = "grpc"))]
fn with_tenant(request: Request) -> Request {
    request
}

fn too_slow(wire: Wire, limit: Duration) -> Response {
    let text = format!("the body did not come within {} ms", limit.as_millis());
    if wire != Wire::Http {
        return wire.refuse(Error::deadline_exceeded(text));
    }
    let mut response = Failure::new(StatusCode::REQUEST_TIMEOUT, text).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The request with a body that fails when it takes too long; one that is there already needs no watching.
fn bounded(request: Request, limit: Duration, late: &Arc<AtomicBool>) -> Request {
    if request.body().is_end_stream() {
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
