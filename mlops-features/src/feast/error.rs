//! Failures as Feast's clients read them: a JSON string that holds JSON with the Python class to raise.
//!
//! Requests that are not of the right shape get pydantic's body instead, as from Feast.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mlops_core::{Error, ErrorKind};
use serde_json::{Value, json};

/// A refusal with its body.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    body: Value,
}

/// What a handler gives.
pub(super) type Answer<T> = Result<T, Failure>;

impl Failure {
    /// Raises `class` of the module `feast.errors` in the client.
    pub(super) fn raising(status: StatusCode, class: &str, message: &str) -> Self {
        let detail = json!({ "module": "feast.errors", "class": class, "message": message });
        Self { status, body: Value::String(detail.to_string()) }
    }

    /// `error` as an exception of `class`, with the status of its kind.
    pub(super) fn of(error: &Error, class: &str) -> Self {
        let status = StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::raising(status, class, error.message())
    }

    /// The request does not have the shape of the route.
    pub(super) fn shape(message: &str) -> Self {
        let detail = json!({ "detail": [{ "type": "value_error", "loc": ["body"], "msg": message, "input": null }] });
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, body: detail }
    }

    /// An answer of another shape that is no success.
    pub(super) fn plain(status: StatusCode, body: Value) -> Self {
        Self { status, body }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let class = match error.kind() {
            ErrorKind::NotFound => "FeastObjectNotFoundException",
            ErrorKind::PermissionDenied | ErrorKind::Unauthenticated => "FeastPermissionError",
            ErrorKind::Unimplemented => "FeastProviderNotImplementedError",
            _ => "FeastError",
        };
        if Self::of(&error, class).status.is_server_error() {
            tracing::error!(error = %error.chain(), "a feature request failed");
        }
        Self::of(&error, class)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_a_string_that_holds_json() {
        let failure = Failure::from(Error::invalid_argument("no"));
        assert_eq!(failure.status, StatusCode::BAD_REQUEST);
        let detail: Value = serde_json::from_str(failure.body.as_str().unwrap()).unwrap();
        assert_eq!(detail, json!({ "module": "feast.errors", "class": "FeastError", "message": "no" }));
    }
}
