//! From a request to the principal who sent it, and to stores that ask for that principal.
//!
//! Invariant: a request of nobody reaches no store; a family of routes that the guarded stores do not cover is for
//! administrators.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    http::{HeaderMap, header::AUTHORIZATION, request::Parts as RequestParts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use mlops_core::{Digest, Error, Principal, Result};

use super::{Auth, Guard, Parts, address::counted};
use crate::{
    access::{ADMIN_ROLE, Standing},
    mlflow::{Api, failure::Failure},
};

/// Families of routes whose every store is guarded or whose handlers ask themselves. A new family is for administrators
/// until it is guarded and named here.
const GUARDED: [&str; 16] = [
    "artifacts",
    "datasets",
    "experiments",
    "gateway",
    "get-trace-artifact",
    "issues",
    "logged-models",
    "metrics",
    "model-versions",
    "registered-models",
    "roles",
    "runs",
    "scorers",
    "traces",
    "upload-artifact",
    "users",
];
/// The same of single paths.
const GUARDED_WHOLE: [&str; 9] = [
    "/",
    "/ui",
    "/ajax-api/2.0mlflow/experiments/search-datasets",
    "/api/2.0mlflow/experiments/search-datasets",
    "/get-artifact",
    "/graphql",
    "/model-versions/get-artifact",
    "//model-versions/get-artifact",
    "/v1/traces",
];
/// Longest header by which somebody signs in, in bytes.
const HEADER_BYTES_MAX: usize = 4_096;

/// The stores for the principal of the request; without [`Auth`], for everybody.
#[derive(Debug)]
pub(in crate::mlflow) struct Caller(pub(in crate::mlflow) Api);

impl FromRequestParts<Api> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut RequestParts, state: &Api) -> std::result::Result<Self, Infallible> {
        Ok(Self(Arc::clone(parts.extensions.get::<Api>().unwrap_or(state))))
    }
}

/// Signs in and goes on, or refuses.
pub(in crate::mlflow) async fn sign_in(
    State((auth, open)): State<(Auth, Api)>,
    mut request: Request,
    next: Next,
) -> Response {
    if matches!(request.uri().path(), "/health" | "/version") {
        return next.run(request).await;
    }
    // A body cannot be shared, so nothing of the request may be borrowed while the store is asked.
    let (known, credentials) = (request.extensions().get().cloned(), credentials(request.headers()));
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let address = counted(peer, request.headers(), &auth.parts.settings.trusted_proxies);
    let path = request.uri().path().to_owned();
    match enter(&auth, &open, (known, credentials, address), &path).await {
        Ok(api) => {
            request.extensions_mut().insert(api);
            next.run(request).await
        }
        Err(error) => Failure(error).into_response(),
    }
}

async fn enter(
    auth: &Auth,
    open: &Api,
    (known, credentials, address): (Option<Principal>, Option<Credentials>, Option<IpAddr>),
    path: &str,
) -> Result<Api> {
    let guard = Arc::new(match known {
        Some(principal) => Guard::new(auth, Some(principal)),
        None => {
            let Standing { user, mut roles } = auth.parts.standing(credentials, address).await?;
            roles.extend(user.admin.then(|| ADMIN_ROLE.to_owned()));
            Guard::of_user(auth, Principal { name: user.name.clone(), roles }, user)
        }
    });
    if !is_guarded(path) {
        guard.check_admin().await?;
    }
    Ok(Arc::new(open.guarded(guard)))
}

fn is_guarded(path: &str) -> bool {
    // What is below `/gateway` reaches no store: it says that requests are not forwarded.
    if GUARDED_WHOLE.contains(&path) || path.starts_with("/ui/") || path.starts_with("/gateway/") {
        return true;
    }
    let mut parts = path.trim_start_matches('/').split('/');
    let (api, _, part, family) = (parts.next(), parts.next(), parts.next(), parts.next().unwrap_or_default());
    let known = match part {
        Some("mlflow") => GUARDED.contains(&family) || family == "server-info",
        Some("mlflow-artifacts") => true,
        Some("mlops") => family == "runs",
        _ => false,
    };
    known && matches!(api, Some("api" | "ajax-api"))
}

enum Credentials {
    Password { user: String, password: String },
    Token(String),
}

fn unknown() -> Error {
    Error::unauthenticated(
        "You are not authenticated. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    )
}

fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let header = headers.get(AUTHORIZATION)?.to_str().ok().filter(|header| header.len() <= HEADER_BYTES_MAX)?;
    let (scheme, rest) = header.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Credentials::Token(rest.to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() })
}

impl Parts {
    async fn standing(&self, credentials: Option<Credentials>, address: Option<IpAddr>) -> Result<Standing> {
        let Some(users) = &self.users else { return Err(unknown()) };
        match credentials.ok_or_else(unknown)? {
            Credentials::Token(token) => {
                let found = users.token(&Digest::of(token.as_bytes())).await?;
                let now = self.clock.now();
                let valid = found.filter(|(token, _)| token.expires.is_none_or(|expires| now < expires));
                let (_, user) = valid.ok_or_else(unknown)?;
                users.standing(&user.name).await?.ok_or_else(unknown)
            }
            Credentials::Password { user, password } => {
                let found = users.standing(&user).await?;
                let hash = found.as_ref().map(|found| found.user.password_hash.as_str());
                let right = self.is_right(&user, &password, hash, address).await?;
                found.filter(|_| right).ok_or_else(unknown)
            }
        }
    }

    /// Whether the password of a user is right, as far as any is tried; `hash` is absent for a user who does not exist.
    pub(super) async fn is_right(
        &self,
        name: &str,
        password: &str,
        hash: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<bool> {
        let now = self.clock.monotonic();
        let keys: Vec<String> = std::iter::once(format!("user {name}"))
            .chain(address.map(|address| format!("address {address}")))
            .collect();
        let attempt = loop {
            let ended = self.throttle.ended();
            // Whoever is remembered keeps working while somebody else guesses.
            if hash.is_some_and(|hash| self.passwords.remembers(name, password, hash, now)) {
                return Ok(true);
            }
            match self.throttle.begin(&keys, now)? {
                Some(attempt) => break attempt,
                None => ended.await,
            }
        };
        let right = self.passwords.verify(name, password, hash, now).await?;
        if !right {
            attempt.fail();
        }
        Ok(right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_standard_says() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, text.parse().unwrap());
            match credentials(&headers) {
                Some(Credentials::Password { user, password }) => format!("{user}|{password}"),
                Some(Credentials::Token(token)) => token,
                None => "nobody".to_owned(),
            }
        };
        // RFC 7617, section 2.
        assert_eq!(read("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "Aladdin|open sesame");
        assert_eq!(read("basic YTpiOmM="), "a|b:c");
        assert_eq!(read("Bearer abc"), "abc");
        for bad in ["Basic", "Basic ???", "Basic YQ==", "Digest x=y", "QWxhZGRpbjpvcGVuIHNlc2FtZQ=="] {
            assert_eq!(read(bad), "nobody", "{bad}");
        }
        assert_eq!(read(&format!("Bearer {}", "a".repeat(5_000))), "nobody");
    }

    #[test]
    fn what_is_not_guarded_is_for_administrators() {
        for open in [
            "/api/2.0/mlflow/runs/get",
            "/ajax-api/2.0/mlflow/experiments/search",
            "/api/2.0/mlflow-artifacts/artifacts/0/x",
            "/api/3.0/mlflow/server-info",
            "/api/3.0/mlflow/traces/x",
            "/ajax-api/3.0/mlflow/gateway/secrets/config",
            "/gateway/e/mlflow/invocations",
            "/get-artifact",
            "/graphql",
            "/v1/traces",
            "/api/2.0mlflow/experiments/search-datasets",
            "/ajax-api/2.0mlflow/experiments/search-datasets",
        ] {
            assert!(is_guarded(open), "{open}");
        }
        for closed in
            ["/uix", "/gateway", "/api/2.0/mlflow/webhooks", "/graphql/x", "/x/2.0/mlflow/runs/get", "/v1/traces/x"]
        {
            assert!(!is_guarded(closed), "{closed}");
        }
    }
}
