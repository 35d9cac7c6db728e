//! What a request shows of its sender.

use std::fmt;

use axum::http::{HeaderMap, header::AUTHORIZATION};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Longest header that is looked at, bytes.
const HEADER_BYTES_MAX: usize = 8 << 10;

/// Credentials, the strongest that a request has. Their text never shows in logs.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// `Authorization: Bearer ...`, or an API key in `x-api-key`.
    Token(String),
    /// `Authorization: Basic ...`.
    Password {
        /// The user.
        user: String,
        /// The password, or an API key of the user.
        password: String,
    },
    /// The client certificate of a mutual TLS connection, DER.
    Certificate(Vec<u8>),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(..)"),
            Self::Password { user, .. } => f.debug_struct("Password").field("user", user).finish_non_exhaustive(),
            Self::Certificate(der) => write!(f, "Certificate({} bytes)", der.len()),
        }
    }
}

/// The certificate that the other end of the connection showed, put into the extensions of its requests.
#[derive(Debug, Clone)]
pub(crate) struct PeerCertificate(pub(crate) std::sync::Arc<[u8]>);

/// The credentials in the headers; none when there are none that can be read.
pub(super) fn in_headers(headers: &HeaderMap) -> Option<Credentials> {
    let text = |name: &str| headers.get(name)?.to_str().ok().filter(|text| text.len() <= HEADER_BYTES_MAX);
    let Some(authorization) = text(AUTHORIZATION.as_str()) else {
        return text("x-api-key").map(|key| Credentials::Token(key.trim().to_owned()));
    };
    let (scheme, rest) = authorization.split_once(' ')?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &'static str, value: &str) -> Option<Credentials> {
        in_headers(&HeaderMap::from_iter([(axum::http::HeaderName::from_static(name), value.parse().unwrap())]))
    }

    #[test]
    fn schemes_are_told_apart_and_nonsense_is_none() {
        let token = |text: &str| Some(Credentials::Token(text.into()));
        assert_eq!(read("authorization", "bearer  abc "), token("abc"));
        assert_eq!(read("x-api-key", "abc"), token("abc"));
        // The example of RFC 7617.
        let basic = Credentials::Password { user: "Aladdin".into(), password: "open sesame".into() };
        assert_eq!(read("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Some(basic.clone()));
        let shown = format!("{basic:?} {:?}", token("abc"));
        assert!(!shown.contains("sesame") && !shown.contains("abc"), "secrets stay out of logs: {shown}");
        for bad in ["", "Bearer", "Basic ???", "Basic YQ==", "Digest x=y", &format!("Bearer {}", "a".repeat(9_000))] {
            assert_eq!(read("authorization", bad), None, "{bad:?}");
        }
    }
}
