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
        Self::broken_off(server, source.is_connect(), source.without_url())
    }

    fn broken_off(server: &str, unreached: bool, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let what = if unreached { "cannot be reached" } else { "broke off" };
        let error = Error::unavailable(format!("the server of the model {what}"));
        Self { error: error.with(SERVER, server).with_source(source), again: true, after: Duration::ZERO }
    }

    /// The answer is no success.
    pub(super) fn of_status(server: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let told = serde_json::from_slice::<Told>(body);
        let words = words(told.as_ref().map_or("", |told| &told.error));
        let kind = ours(ErrorKind::from_http_status(status.as_u16()));
        let error = Error::new(kind, format!("the server of the model answered {}: {words}", status.as_u16()));
        let error = error.with(SERVER, server);
        let again = matches!(status.as_u16(), 429 | 502 | 503);
        let seconds = headers.get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Self { error, again, after: seconds.map_or(Duration::ZERO, Duration::from_secs).min(AGAIN_MAX) }
    }

    /// The answer has more than `bytes_max` bytes.
    pub(super) fn too_long(server: &str, bytes_max: usize) -> Self {
        let text = format!("the answer of the model's server has more than {bytes_max} bytes");
        Self::lasting(Error::resource_exhausted(text).with(SERVER, server))
    }

    /// The call did not succeed: it was refused there, did not come through, or its answer has more than `bytes_max` bytes.
    #[cfg(feature = "grpc")]
    pub(super) fn of_call(server: &str, bytes_max: usize, status: tonic::Status) -> Self {
        let mut sources = std::iter::successors(std::error::Error::source(&status), |error| error.source());
        if let Some(carrier) = sources.find_map(|error| error.downcast_ref::<reqwest::Error>()) {
            return Self::broken_off(server, carrier.is_connect(), status);
        }
        let code = status.code();
        let kind = match code {
            // So says tonic when it has read the length of the answer. With another limit it is the other server that says
            // so, of what was sent.
            tonic::Code::OutOfRange
                if status.message().contains("decoded message length too large")
                    && status.message().ends_with(&format!("the limit is: {bytes_max} bytes")) =>
            {
                return Self::too_long(server, bytes_max);
            }
            tonic::Code::OutOfRange => ErrorKind::InvalidArgument,
            _ => ours(ErrorKind::from_grpc_code(code as i32).unwrap_or(ErrorKind::Internal)),
        };
        let text = format!("the server of the model answered {code:?}: {}", words(status.message()));
        let again = matches!(code, tonic::Code::Unavailable | tonic::Code::ResourceExhausted);
        Self { error: Error::new(kind, text).with(SERVER, server), again, after: Duration::ZERO }
    }
}

/// The kind of a failure there as a failure here.
fn ours(kind: ErrorKind) -> ErrorKind {
    match kind {
        // Who we are there, and what is there, is our business, not the client's.
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => ErrorKind::FailedPrecondition,
        // Nor is whom it gave up, or what it was in conflict with: our request was neither.
        ErrorKind::NotFound | ErrorKind::Cancelled | ErrorKind::Conflict | ErrorKind::AlreadyExists => {
            ErrorKind::Unavailable
        }
        ErrorKind::Internal | ErrorKind::DataLoss | ErrorKind::Unimplemented => ErrorKind::Internal,
        kind => kind,
    }
}

/// As much of the other server's own words as is told.
fn words(told: &str) -> String {
    let words: String = told.chars().filter(|char| !char.is_control()).take(WORDS_MAX).collect();
    if words.is_empty() { "it does not say why".into() } else { words }
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
            (409, ErrorKind::Unavailable, false),
            (499, ErrorKind::Unavailable, false),
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

    #[cfg(feature = "grpc")]
    #[test]
    fn a_call_fails_in_the_kinds_in_which_a_request_does() {
        use tonic::Code;

        let of = |code, text: &str| Fault::of_call("grpc://there", 7, tonic::Status::new(code, text));
        for (code, kind, again) in [
            (Code::InvalidArgument, ErrorKind::InvalidArgument, false),
            (Code::OutOfRange, ErrorKind::InvalidArgument, false),
            (Code::Unauthenticated, ErrorKind::FailedPrecondition, false),
            (Code::NotFound, ErrorKind::Unavailable, false),
            (Code::Cancelled, ErrorKind::Unavailable, false),
            (Code::Aborted, ErrorKind::Unavailable, false),
            (Code::AlreadyExists, ErrorKind::Unavailable, false),
            (Code::ResourceExhausted, ErrorKind::ResourceExhausted, true),
            (Code::Internal, ErrorKind::Internal, false),
            (Code::Unknown, ErrorKind::Internal, false),
            (Code::Unimplemented, ErrorKind::Internal, false),
            (Code::Unavailable, ErrorKind::Unavailable, true),
            (Code::DeadlineExceeded, ErrorKind::DeadlineExceeded, false),
        ] {
            let fault = of(code, "because");
            assert_eq!((fault.error.kind(), fault.again), (kind, again), "{code:?}");
            assert!(fault.error.message().ends_with(": because"), "{}", fault.error);
            assert_eq!(fault.error.context(), [(SERVER, "grpc://there".to_owned())]);
        }
        let long =
            of(Code::OutOfRange, "Error, decoded message length too large: found 8 bytes, the limit is: 7 bytes");
        assert!(long.error.message().contains("more than 7 bytes"), "{}", long.error);
        assert_eq!(long.error.kind(), ErrorKind::ResourceExhausted);
        let sent =
            of(Code::OutOfRange, "Error, decoded message length too large: found 80 bytes, the limit is: 77 bytes");
        assert!(sent.error.message().contains("answered OutOfRange"), "{}", sent.error);
        assert_eq!((sent.error.kind(), sent.again), (ErrorKind::InvalidArgument, false));
    }
}
