//! Errors in TorchServe's words.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mlops_core::Error;
use serde_json::json;

use crate::protocol::Failure;

/// A failure that is told with its code and the name of TorchServe's exception.
#[derive(Debug)]
pub(super) struct Told(Failure);

impl From<Failure> for Told {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<Error> for Told {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}

/// What there is no route for.
pub(crate) fn nowhere(failure: &Failure) -> Response {
    match failure.status {
        StatusCode::METHOD_NOT_ALLOWED => told_as(failure, "MethodNotAllowedException"),
        _ => told_as(failure, "ResourceNotFoundException"),
    }
}

fn told_as(failure: &Failure, name: &str) -> Response {
    let code = failure.status.as_u16();
    failure.told_as(&json!({ "code": code, "type": name, "message": failure.text }))
}

impl IntoResponse for Told {
    fn into_response(self) -> Response {
        let Self(mut failure) = self;
        // A full queue is the same to its clients as a missing worker.
        if failure.status == StatusCode::TOO_MANY_REQUESTS {
            failure.status = StatusCode::SERVICE_UNAVAILABLE;
        }
        let name = match failure.status {
            StatusCode::NOT_FOUND => "ModelNotFoundException",
            StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableException",
            StatusCode::CONFLICT => "ConflictStatusException",
            StatusCode::PAYLOAD_TOO_LARGE => "RequestEntityTooLargeException",
            status if status.is_client_error() => "BadRequestException",
            _ => "InternalServerException",
        };
        told_as(&failure, name)
    }
}
