//! Counts requests in and out, and tells of bodies that did not come in time.

#[cfg(feature = "grpc")]
use std::sync::Arc;
use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use mlops_core::{Digest, Error, Result};

use super::tenants::Place;
#[cfg(feature = "grpc")]
use super::timed::timed;
use crate::{
    access::Purpose,
    door::{Door, Wire},
    metrics::Refusal,
    observe,
    protocol::too_slow,
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
    let response = run(prepared(door.wire, request, limit)).await;
    drop(place);
    if observe::is_body_late() {
        inner.traffic.refused(Refusal::BodyTimeout);
        return refuse_slow(door.wire, limit);
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

/// The request as its handler needs it: those over HTTP keep the time of a body themselves where they read it.
#[cfg(feature = "grpc")]
fn prepared(wire: Wire, request: Request, limit: Duration) -> Request {
    match wire {
        Wire::Http => request,
        Wire::Call => timed(request, limit),
        Wire::Stream => with_tenant(request),
    }
}

/// Without gRPC there is nothing to prepare.
#[cfg(not(feature = "grpc"))]
fn prepared(_: Wire, request: Request, _: Duration) -> Request {
    request
}

#[cfg(feature = "grpc")]
fn with_tenant(mut request: Request) -> Request {
    let tenant = Tenant(tenant(request.headers()).into());
    request.extensions_mut().insert(tenant);
    request
}

fn refuse_slow(wire: Wire, limit: Duration) -> Response {
    let failure = too_slow(limit);
    if wire != Wire::Http {
        return wire.refuse(Error::deadline_exceeded(failure.text));
    }
    let mut response = failure.into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
