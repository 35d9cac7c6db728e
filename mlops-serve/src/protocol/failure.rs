//! A failure on its way to the client: a status and `{"error": text}`, the form of most protocols here.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mlops_core::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::executor::RETRY_AFTER;

/// An answer that is not 2xx.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// When to come again, seconds.
    pub(crate) retry_after_s: u64,
}

pub(crate) type Answer = Result<Response, Failure>;

impl Failure {
    pub(crate) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_after_s: 1 }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = StatusCode::from_u16(error.kind().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if error.kind() == ErrorKind::Internal {
            tracing::error!(error = %error.chain(), "request failed");
        }
        let told = error.context().iter().find(|(key, _)| *key == RETRY_AFTER);
        let retry_after_s = told.and_then(|(_, seconds)| seconds.parse().ok()).unwrap_or(1);
        Self { retry_after_s, ..Self::new(status, error.message()) }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.text });
        self.told_as(&body)
    }
}

impl Failure {
    /// The answer with a protocol's own body.
    pub(crate) fn told_as(&self, body: &Value) -> Response {
        let mut response = (self.status, Json(body)).into_response();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after_s));
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, deflate"));
            }
            _ => {}
        }
        response
    }
}
