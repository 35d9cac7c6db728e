//! The layer at the door: finds the principal, asks for what the purpose of the route needs.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use mlops_core::{Action, ErrorKind, Principal, Result};

use super::{
    Access, Credentials,
    credentials::{PeerCertificate, in_headers},
    purpose::Purpose,
    unknown,
};
use crate::{door::Door, metrics::Refusal, observe};

/// Lets a request in, or refuses it. A [`Principal`] in the extensions, put there by the application, is believed.
pub(crate) async fn enter(State(door): State<Door>, request: Request, next: Next) -> Response {
    let inner = &door.server.inner;
    let Some(access) = inner.access.as_ref().filter(|_| door.purpose != Purpose::Health) else {
        return next.run(request).await;
    };
    let known = request.extensions().get::<Principal>().cloned();
    let certificate = request.extensions().get::<PeerCertificate>();
    let shown = in_headers(request.headers())
        .or_else(|| certificate.map(|certificate| Credentials::Certificate(certificate.0.to_vec())));
    match admit(access, &inner.settings.name, door.purpose, known, shown).await {
        Ok(principal) => {
            if let Some(notes) = observe::current() {
                notes.write(|noted| noted.principal = Some(Arc::new(principal)));
            }
            next.run(request).await
        }
        Err(error) => {
            let unknown = error.kind() == ErrorKind::Unauthenticated;
            inner.traffic.refused(if unknown { Refusal::Unauthenticated } else { Refusal::PermissionDenied });
            door.wire.refuse(error)
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
