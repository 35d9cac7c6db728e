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
        let admitted = self.inner.tenants.enter(tenant, || self.inner.clock.monotonic());
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

/// Lets a request in as far as the limits go; its place is held until the answer has begun. Health checks always find a
/// place.
///
/// # Errors
/// `Unavailable` when the server has enough to do, `ResourceExhausted` when the tenant has.
pub(crate) fn admit(door: &Door, request: &Request) -> Result<Option<Place>> {
    match door.purpose {
        Purpose::Health => Ok(None),
        _ => door.server.admit(|| tenant(request.headers())).map(Some),
    }
}

/// What is told of an answer: where the body of its request did not come in time, that.
pub(crate) fn answered(door: &Door, response: Response) -> Response {
    if observe::is_body_late() {
        door.server.inner.traffic.refused(Refusal::BodyTimeout);
        return refuse_slow(door.wire, body_time(door));
    }
    response
}

fn body_time(door: &Door) -> Duration {
    Duration::from_millis(door.server.inner.settings.limits.body_timeout_ms)
}

/// Whose request it is; keys are named by their digest.
fn tenant(headers: &HeaderMap) -> String {
    let known = observe::noted(|noted| noted.principal.as_ref().map(|known| known.name.clone()));
    if let Some(name) = known.flatten() {
        return name;
    }
    let shown = headers.get(header::AUTHORIZATION).or_else(|| headers.get("x-api-key"));
    shown.map(|value| Digest::of(value.as_bytes()).short()).unwrap_or_default()
}

/// The request as its handler needs it: those over HTTP keep the time of a body themselves where they read it.
#[cfg(feature = "grpc")]
pub(crate) fn prepared(door: &Door, request: Request) -> Request {
    match door.wire {
        Wire::Http => request,
        Wire::Call => timed(request, body_time(door)),
        Wire::Stream => with_tenant(request),
    }
}

/// Without gRPC there is nothing to prepare.
#[cfg(not(feature = "grpc"))]
pub(crate) fn prepared(_: &Door, request: Request) -> Request {
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
