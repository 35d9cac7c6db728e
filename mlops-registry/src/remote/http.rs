//! One call: address, credentials, repetition, and what the server's refusals mean.

use std::time::Duration;

use mlops_core::{Error, ErrorKind, Result};
use mlops_http::reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;

use super::{Credentials, MlflowRemote};

/// Most repetitions of one call.
pub const RETRIES_MAX: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Context of the error about an answer that is too long.
const TOO_LONG: &str = "answer_bytes_max";
/// Context of a refusal.
const STATUS: &str = "status";

/// Whether sending a call twice is the same as sending it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    Repeatable,
    Once,
}

/// An attempt that failed, and whether the server can have seen it.
struct Failed {
    error: Error,
    seen: bool,
}

impl MlflowRemote {
    /// Reads by GET; the fields of `query` that are lists are repeated.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Value> {
        let mut url = self.url(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.send(Sending::Repeatable, || self.client.request(Method::GET, url.clone())).await
    }

    /// Sends a JSON body by POST.
    pub(super) async fn post(&self, path: &str, body: &Value, sending: Sending) -> Result<Value> {
        let url = self.url(path)?;
        self.send(sending, || self.client.request(Method::POST, url.clone()).json(body)).await
    }

    fn url(&self, path: &str) -> Result<Url> {
        // An absolute path names the version of the API.
        let joined = match path.strip_prefix('/') {
            Some(path) => self.base.join(&format!("api/{path}")),
            None => self.base.join(&format!("api/2.0/mlflow/{path}")),
        };
        joined.map_err(|error| Error::internal(format!("{path:?} is no path")).with_source(error))
    }

    async fn send(&self, sending: Sending, request: impl Fn() -> RequestBuilder) -> Result<Value> {
        let mut pause = FIRST_PAUSE;
        for left in (0..=self.retries).rev() {
            let Failed { error, seen } = match self.attempt(request()).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let passing = matches!(
                error.kind(),
                ErrorKind::Unavailable
                    | ErrorKind::ResourceExhausted
                    | ErrorKind::DeadlineExceeded
                    | ErrorKind::Internal
            );
            if left == 0 || !passing || (seen && sending == Sending::Once) {
                return Err(error);
            }
            tracing::debug!(error = %error, pause_ms = pause.as_millis(), "a call to the tracking server is repeated");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(Error::internal("a call was never sent"))
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password)),
            Credentials::Bearer(token) => request.bearer_auth(token),
        }
    }

    /// The answer to a GET whose body is read piece by piece, for as long as it takes; only silence has a limit.
    pub(super) async fn stream(&self, url: Url) -> Result<Response> {
        let mut response = self.patiently(self.signed(self.client.request(Method::GET, url)).send()).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let refusal = tokio::time::timeout(self.timeout, body(&mut response, self.answer_bytes_max))
            .await
            .ok()
            .and_then(Result::ok);
        let refusal = refusal.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Err(refused(status, &refusal.unwrap_or(Value::Null)))
    }

    /// Waits for the server, but not for ever.
    pub(super) async fn patiently<T>(
        &self,
        step: impl Future<Output = Result<T, mlops_http::reqwest::Error>> + Send,
    ) -> Result<T> {
        let said = tokio::time::timeout(self.timeout, step).await;
        let said = said.map_err(|_| {
            let limit = self.timeout.as_millis();
            Error::new(
                ErrorKind::DeadlineExceeded,
                format!("tracking server {} has said nothing for {limit} ms", self.base),
            )
        })?;
        said.map_err(|error| {
            Error::unavailable(format!("tracking server {} does not answer, or broke off", self.base))
                .with_source(error.without_url())
        })
    }

    async fn attempt(&self, request: RequestBuilder) -> Result<Value, Failed> {
        let request = self.signed(request);
        let unreachable = |error: mlops_http::reqwest::Error| {
            let kind = if error.is_timeout() { ErrorKind::DeadlineExceeded } else { ErrorKind::Unavailable };
            let seen = !error.is_connect();
            let message = format!("tracking server {} does not answer", self.base);
            Failed { error: Error::new(kind, message).with_source(error.without_url()), seen }
        };
        let mut response = request.timeout(self.timeout).send().await.map_err(unreachable)?;
        let status = response.status();
        let bytes = body(&mut response, self.answer_bytes_max).await.map_err(|error| match error {
            Body::Broken(error) => unreachable(error),
            Body::TooLong => Failed { error: too_long(self.answer_bytes_max), seen: true },
        })?;
        let answer = serde_json::from_slice::<Value>(&bytes);
        match answer {
            Ok(answer) if status.is_success() => Ok(answer),
            Ok(refusal) => Err(Failed { error: refused(status, &refusal), seen: true }),
            Err(_) if !status.is_success() => Err(Failed { error: refused(status, &Value::Null), seen: true }),
            Err(error) => {
                let message = format!("tracking server {} answers something that is not JSON", self.base);
                Err(Failed { error: Error::data_loss(message).with_source(error), seen: true })
            }
        }
    }
}

enum Body {
    Broken(mlops_http::reqwest::Error),
    TooLong,
}

async fn body(response: &mut Response, bytes_max: usize) -> Result<Vec<u8>, Body> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(Body::Broken)? {
        if bytes_max < bytes.len() + piece.len() {
            return Err(Body::TooLong);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn too_long(bytes_max: usize) -> Error {
    Error::invalid_argument(format!(
        "the answer of the tracking server is over {bytes_max} bytes; ask for a smaller page"
    ))
    .with(TOO_LONG, bytes_max)
}

/// Whether an answer was too long to be read.
pub(super) fn is_too_long(error: &Error) -> bool {
    error.context().iter().any(|(key, _)| *key == TOO_LONG)
}

/// Whether a server may have answered that it has no such call.
pub(super) fn is_unknown_call(error: &Error) -> bool {
    error.context().iter().any(|(key, status)| *key == STATUS && matches!(status.as_str(), "404" | "405" | "501"))
}

/// What a refusal means here. MLflow says INVALID_PARAMETER_VALUE also of writes to something deleted; only its words
/// tell them apart.
fn refused(status: StatusCode, refusal: &Value) -> Error {
    let text = |name: &str| refusal.get(name).and_then(Value::as_str);
    let message = text("message").unwrap_or_default();
    let by_code = text("error_code").and_then(ErrorKind::from_mlflow_code);
    let kind = match by_code {
        Some(ErrorKind::InvalidArgument) if message.contains("'active' state") || message.contains("is deleted") => {
            ErrorKind::FailedPrecondition
        }
        Some(kind) => kind,
        None => ErrorKind::from_http_status(status.as_u16()),
    };
    let message = match message {
        "" => format!("the tracking server answers {status}"),
        message => message.to_owned(),
    };
    Error::new(kind, message).with(STATUS, status.as_u16())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let kind = |status: u16, refusal: Value| refused(StatusCode::from_u16(status).unwrap(), &refusal).kind();
        let refusal = |code: &str, message: &str| json!({ "error_code": code, "message": message });
        assert_eq!(kind(400, refusal("RESOURCE_ALREADY_EXISTS", "taken")), ErrorKind::AlreadyExists);
        assert_eq!(kind(400, refusal("INVALID_PARAMETER_VALUE", "bad")), ErrorKind::InvalidArgument);
        let deleted = "The run abc must be in the 'active' state. Current state is deleted.";
        assert_eq!(kind(400, refusal("INVALID_PARAMETER_VALUE", deleted)), ErrorKind::FailedPrecondition);
        assert_eq!(kind(500, refusal("INVALID_STATE", "x")), ErrorKind::FailedPrecondition);
        assert_eq!(kind(401, Value::Null), ErrorKind::Unauthenticated);
        assert_eq!(kind(503, Value::Null), ErrorKind::Unavailable);
    }
}
