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

/// A refusal on its way to the client: `{"error_code", "message", "error_class", "sqlstate"}` and a status.
#[derive(Debug)]
pub(super) struct Failure(pub(super) Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// Key in the context of an error under which clients read it where that is no code of its kind.
const CODE: &str = "mlflow_code";

/// What MLflow refuses without blaming a parameter.
pub(super) fn bad_request(message: impl Into<String>) -> Error {
    Error::invalid_argument(message).with(CODE, "BAD_REQUEST")
}

/// What MLflow calls a state that does not allow the request, rather than an invalid parameter. It answers 500 then,
/// which its clients would repeat for minutes; the status stays that of a caller's error.
pub(super) fn invalid_state(error: Error) -> Error {
    match error.kind() {
        ErrorKind::FailedPrecondition => error.with(CODE, "INVALID_STATE"),
        _ => error,
    }
}

/// What MLflow adds to a code for those who count errors: a class, and a state in the manner of SQL. Some codes have
/// none.
fn classified(code: &str) -> Option<(&'static str, &'static str)> {
    match code {
        "INVALID_PARAMETER_VALUE" | "BAD_REQUEST" => Some(("INVALID_PARAMETER_VALUE", "KAM00")),
        "RESOURCE_DOES_NOT_EXIST" => Some(("RESOURCE_NOT_FOUND", "KAM00")),
        "RESOURCE_ALREADY_EXISTS" => Some(("RESOURCE_ALREADY_EXISTS", "KAM00")),
        "PERMISSION_DENIED" => Some(("PERMISSION_DENIED", "KAM00")),
        "INTERNAL_ERROR" | "TEMPORARILY_UNAVAILABLE" => Some(("CLIENT_INTERNAL_ERROR", "XXM00")),
        _ => None,
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
        let code = self.0.context().iter().find(|(key, _)| *key == CODE).map_or(code, |(_, given)| given);
        if status >= 500 {
            tracing::error!(error = %self.0.chain(), "a request failed");
        }
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = self.0.message();
        let body = match classified(code) {
            Some((class, state)) => {
                json!({ "error_code": code, "message": message, "error_class": class, "sqlstate": state })
            }
            None => json!({ "error_code": code, "message": message }),
        };
        let mut response = (status, Json(body)).into_response();
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
    use axum::body::to_bytes;
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn a_refusal_is_classified_as_mlflow_does() {
        let response = Failure(Error::not_found("gone")).into_response();
        let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), 1_000).await.unwrap()).unwrap();
        let known = json!({ "error_code": "RESOURCE_DOES_NOT_EXIST", "message": "gone",
            "error_class": "RESOURCE_NOT_FOUND", "sqlstate": "KAM00" });
        assert_eq!(body, known);
    }

    #[tokio::test]
    async fn a_bad_request_has_a_code_of_its_own() {
        let response = Failure(bad_request("no")).into_response();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let body: Value = serde_json::from_slice(&to_bytes(response.into_body(), 1_000).await.unwrap()).unwrap();
        let known = json!({ "error_code": "BAD_REQUEST", "message": "no", "error_class": "INVALID_PARAMETER_VALUE",
            "sqlstate": "KAM00" });
        assert_eq!(body, known);
    }

    #[test]
    fn a_callers_error_is_never_one_that_clients_retry() {
        assert_eq!(code(ErrorKind::AlreadyExists), ("RESOURCE_ALREADY_EXISTS", 400));
        assert_eq!(code(ErrorKind::FailedPrecondition), ("INVALID_PARAMETER_VALUE", 400));
        assert_eq!(code(ErrorKind::NotFound), ("RESOURCE_DOES_NOT_EXIST", 404));
        assert_eq!(code(ErrorKind::Unavailable), ("TEMPORARILY_UNAVAILABLE", 503));
    }
}
