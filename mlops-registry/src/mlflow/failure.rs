//! Errors as MLflow's clients read them.

use axum::{
    Json,
    http::{
        HeaderValue, StatusCode,
        header::{RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use mlops_core::{Error, ErrorKind};
use serde_json::json;

/// A refusal on its way to the client: `{"error_code", "message"}` and a status.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// The code and status of an error. MLflow answers 400 when a name is taken, and calls a write to something deleted an
/// invalid parameter.
fn code(kind: ErrorKind) -> (&'static str, u16) {
    match kind {
        ErrorKind::AlreadyExists => (kind.mlflow_code(), 400),
        ErrorKind::FailedPrecondition => (ErrorKind::InvalidArgument.mlflow_code(), 400),
        _ => (kind.mlflow_code(), kind.http_status()),
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (code, status) = code(self.0.kind());
        if status >= 500 {
            tracing::error!(error = %self.0.chain(), "a request failed");
        }
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(json!({ "error_code": code, "message": self.0.message() }))).into_response();
        let header = match self.0.kind() {
            ErrorKind::Unauthenticated => Some((WWW_AUTHENTICATE, "Basic realm=\"mlflow\", charset=\"UTF-8\"")),
            ErrorKind::ResourceExhausted => Some((RETRY_AFTER, "60")),
            ErrorKind::Unavailable => Some((RETRY_AFTER, "1")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_error_is_never_one_that_clients_retry() {
        assert_eq!(code(ErrorKind::AlreadyExists), ("RESOURCE_ALREADY_EXISTS", 400));
        assert_eq!(code(ErrorKind::FailedPrecondition), ("INVALID_PARAMETER_VALUE", 400));
        assert_eq!(code(ErrorKind::NotFound), ("RESOURCE_DOES_NOT_EXIST", 404));
        assert_eq!(code(ErrorKind::Unavailable), ("TEMPORARILY_UNAVAILABLE", 503));
    }
}
