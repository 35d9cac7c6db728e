//! At the door: finds the principal, asks for what the purpose of the route needs.

use std::sync::Arc;

use axum::{extract::Request, response::Response};
use mlops_core::{Action, ErrorKind, Principal, Result};

use super::{
    Access, Credentials,
    credentials::{PeerCertificate, in_headers},
    purpose::Purpose,
    unknown,
};
use crate::{door::Door, metrics::Refusal, observe};

/// Lets a request in, or answers it with a refusal. A [`Principal`] in the extensions, put there by the application, is
/// believed. The request is looked at before the future is polled.
pub(crate) fn enter<'a>(
    door: &'a Door,
    request: &Request,
) -> impl Future<Output = std::result::Result<(), Response>> + Send + use<'a> {
    let inner = &door.server.inner;
    // Nobody is asked for anything where nothing is asked for.
    let asked = inner.access.as_ref().filter(|_| door.purpose != Purpose::Health).map(|access| {
        let known = request.extensions().get::<Principal>().cloned();
        let certificate = request.extensions().get::<PeerCertificate>();
        let shown = in_headers(request.headers())
            .or_else(|| certificate.map(|certificate| Credentials::Certificate(certificate.0.to_vec())));
        (access, known, shown)
    });
    async move {
        let Some((access, known, shown)) = asked else { return Ok(()) };
        // Of its own, for most requests have no room for it where nothing is asked for.
        let admitting = Box::pin(admit(access, &inner.settings.name, door.purpose, known, shown));
        let principal = admitting.await.map_err(|error| {
            let unknown = error.kind() == ErrorKind::Unauthenticated;
            inner.traffic.refused(if unknown { Refusal::Unauthenticated } else { Refusal::PermissionDenied });
            door.wire.refuse(error)
        })?;
        observe::note(|noted| noted.principal = Some(Arc::new(principal)));
        Ok(())
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
