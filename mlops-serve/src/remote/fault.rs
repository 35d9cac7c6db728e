//! How a call to another server failed, in our words, and whether it may be sent again.
//!
//! A prediction changes no model, so a call may be repeated whenever it was not answered; what broke off may be counted
//! twice there. What was answered with a fault of the request is not repeated.
//!
//! Clients read messages: the address of the other server is in the context and in the log.

use std::time::Duration;

use mlops_core::{Error, ErrorKind};
use mlops_http::reqwest::{self, StatusCode, header::HeaderMap};
use serde::Deserialize;

/// Most characters of the other server's own words that are told.
const WORDS_MAX: usize = 300;
/// Longest wait that the other server may ask for.
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// Key of the error context that says which server it was.
pub(super) const SERVER: &str = "server";

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: Error,
    /// Whether another attempt may end otherwise.
    pub(super) again: bool,
    /// How long the other server wants to be left alone.
    pub(super) after: Duration,
}

#[derive(Deserialize)]
struct Told {
    error: String,
}

impl Fault {
    /// A fault that the next attempt would meet, too.
    pub(super) fn lasting(error: Error) -> Self {
        Self { error, again: false, after: Duration::ZERO }
    }

    /// The answer did not come, or not whole.
    pub(super) fn of_transport(server: &str, source: reqwest::Error) -> Self {
        let what = if source.is_connect() { "cannot be reached" } else { "broke off" };
        let error = Error::unavailable(format!("the server of the model {what}"));
        let error = error.with(SERVER, server).with_source(source.without_url());
        Self { error, again: true, after: Duration::ZERO }
    }

    /// The answer is no success.
    pub(super) fn of_status(server: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let words: String = match serde_json::from_slice::<Told>(body) {
            Ok(Told { error }) => error.chars().filter(|char| !char.is_control()).take(WORDS_MAX).collect(),
            Err(_) => "it does not say why".into(),
        };
        let kind = match ErrorKind::from_http_status(status.as_u16()) {
            // Who we are there, and what is there, is our business, not the client's.
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => ErrorKind::FailedPrecondition,
            ErrorKind::NotFound => ErrorKind::Unavailable,
            ErrorKind::Internal | ErrorKind::DataLoss | ErrorKind::Unimplemented => ErrorKind::Internal,
            kind => kind,
        };
        let error = Error::new(kind, format!("the server of the model answered {}: {words}", status.as_u16()));
        let error = error.with(SERVER, server);
        let again = matches!(status.as_u16(), 429 | 502 | 503);
        let seconds = headers.get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self { error, again, after: seconds.map_or(Duration::ZERO, Duration::from_secs).min(AGAIN_MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_end_otherwise_is_sent_again() {
        let of = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            Fault::of_status("http://there", status, &HeaderMap::new(), body.as_bytes())
        };
        for (status, kind, again) in [
            (400, ErrorKind::InvalidArgument, false),
            (401, ErrorKind::FailedPrecondition, false),
            (404, ErrorKind::Unavailable, false),
            (429, ErrorKind::ResourceExhausted, true),
            (500, ErrorKind::Internal, false),
            (502, ErrorKind::Unavailable, true),
            (503, ErrorKind::Unavailable, true),
            (504, ErrorKind::DeadlineExceeded, false),
        ] {
            let fault = of(status, r#"{"error": "because"}"#);
            assert_eq!((fault.error.kind(), fault.again), (kind, again), "{status}");
            assert!(fault.error.message().ends_with(&format!("answered {status}: because")), "{}", fault.error);
            assert!(!fault.error.message().contains("there"), "clients do not learn the address");
            assert_eq!(fault.error.context(), [(SERVER, "http://there".to_owned())]);
        }
        assert!(of(500, "<html>").error.message().ends_with("it does not say why"));
        let long = format!(r#"{{"error": "{}"}}"#, "x".repeat(10_000));
        assert!(of(400, &long).error.message().len() < 400);
    }
}
