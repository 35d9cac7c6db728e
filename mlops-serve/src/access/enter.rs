//! The layer at the door: finds the principal, asks for what the purpose of the request needs.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use mlops_core::{Action, Error, ErrorKind, Principal, Result};

use super::{
    Access, Credentials,
    credentials::{PeerCertificate, in_headers},
    purpose::Purpose,
    unknown,
};
use crate::{metrics::Refusal, observe, protocol::Failure, server::Server};

/// Lets a request in, or refuses it. A [`Principal`] in the extensions, put there by the application, is believed.
pub(crate) async fn enter(State(server): State<Server>, request: Request, next: Next) -> Response {
    let Some(access) = &server.inner.access else { return next.run(request).await };
    let vertex = server.inner.settings.protocols.vertex.as_ref();
    let (health, predict) = (vertex.map(|own| own.health_route.as_str()), vertex.map(|own| own.predict_route.as_str()));
    let purpose = Purpose::of(request.method(), request.uri().path(), health, predict);
    if purpose == Purpose::Health {
        return next.run(request).await;
    }
    let known = request.extensions().get::<Principal>().cloned();
    let certificate = request.extensions().get::<PeerCertificate>();
    let shown = in_headers(request.headers())
        .or_else(|| certificate.map(|certificate| Credentials::Certificate(certificate.0.to_vec())));
    let headers = request.headers().clone();
    match admit(access, &server.inner.settings.name, purpose, known, shown).await {
        Ok(principal) => {
            if let Some(notes) = observe::current() {
                notes.write(|noted| noted.principal = Some(Arc::new(principal)));
            }
            next.run(request).await
        }
        Err(error) => {
            let unknown = error.kind() == ErrorKind::Unauthenticated;
            server.inner.traffic.refused(if unknown { Refusal::Unauthenticated } else { Refusal::PermissionDenied });
            refuse(&headers, error)
        }
    }
}

async fn admit(
    access: &Access,
    server: &str,
    purpose: Purpose,
    known: Option<Principal>,
    shown: Option<Credentials>,
) -> Result<Principal> {
    let principal = match (known, shown) {
        (Some(principal), _) => principal,
        (None, Some(credentials)) => access.principal(credentials).await?,
        (None, None) => return Err(unknown()),
    };
    match purpose {
        Purpose::Manage => access.permit(&principal, Action::Administer, server).await?,
        Purpose::Read => access.permit(&principal, Action::Read, server).await?,
        Purpose::Predict | Purpose::Health => {}
    }
    Ok(principal)
}

/// A refusal in the form that the client understands: a status of HTTP, or one of gRPC.
pub(crate) fn refuse(headers: &HeaderMap, error: Error) -> Response {
    const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("application/grpc") {
        let unknown = error.kind() == ErrorKind::Unauthenticated;
        let mut response = Failure::from(error).into_response();
        if unknown {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer, Basic"));
        }
        return response;
    }
    let mut response = StatusCode::OK.into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    answer.insert(GRPC_STATUS, HeaderValue::from(error.kind().grpc_code()));
    // The protocol percent-encodes what is not printable ASCII; nothing else is in the messages of this server.
    let printable = |c: char| if (' '..='~').contains(&c) && c != '%' { c } else { '?' };
    let message: String = error.message().chars().map(printable).collect();
    if let Ok(message) = HeaderValue::try_from(message) {
        answer.insert(GRPC_MESSAGE, message);
    }
    response
}
