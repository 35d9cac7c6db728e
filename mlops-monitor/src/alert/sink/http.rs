//! Posting JSON to a receiver: limits, status codes, and nothing secret in what is said about it.
//!
//! Invariant: an address may be a secret (Slack's is), so neither it nor a header value is ever in
//! an error or in `Debug`. Redirects are not followed: they would carry secrets elsewhere.

use std::{fmt, time::Duration};

use chrono::DateTime;
use mlops_core::{Error, ErrorKind, Result, Timestamp};
use mlops_http::reqwest::{
    self, Client, Response, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};

use super::{RETRY_AFTER_MS, secret::Secret};
use crate::alert::labels::cut;

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Most bytes of an answer that an error repeats.
const ANSWER_BYTES_SHOWN: usize = 200;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where to post, and with which headers.
///
/// ```
/// use mlops_monitor::alert::HttpEndpoint;
///
/// let endpoint = HttpEndpoint::new("http://127.0.0.1:9093/hooks/T0/secret")?.with_bearer("token")?;
/// assert!(!format!("{endpoint:?}").contains("secret"));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Clone)]
pub struct HttpEndpoint {
    client: Client,
    url: Url,
    headers: HeaderMap,
    secrets: Vec<Secret>,
    timeout: Duration,
}

impl fmt::Debug for HttpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpEndpoint").field("scheme", &self.url.scheme()).finish_non_exhaustive()
    }
}

impl HttpEndpoint {
    /// An address to post to; ten seconds for an answer, five to connect, no proxy.
    ///
    /// # Errors
    /// `InvalidArgument` when it is no `http` or `https` address, or is `https` without the feature
    /// `alerts-https`; `Internal` when TLS cannot be set up.
    pub fn new(url: impl AsRef<str>) -> Result<Self> {
        let endpoint = Self::over(client()?, url)?;
        if endpoint.url.scheme() == "https" && !cfg!(feature = "alerts-https") {
            return Err(Error::invalid_argument(
                "an https receiver needs the feature alerts-https of mlops-monitor, or a client of your own (HttpEndpoint::over)",
            ));
        }
        Ok(endpoint)
    }

    /// An address to post to with a client of your own: its proxies, certificates and TLS. It
    /// should not follow redirects.
    ///
    /// # Errors
    /// `InvalidArgument` when it is no `http` or `https` address.
    pub fn over(client: Client, url: impl AsRef<str>) -> Result<Self> {
        let url = Url::parse(url.as_ref())
            .map_err(|error| Error::invalid_argument(format!("the address of an alert receiver is no url: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            let found = url.scheme();
            return Err(Error::invalid_argument(format!("an alert receiver speaks http or https, found {found:?}")));
        }
        // The path alone may be the secret, and receivers like to repeat it.
        let secrets = [url.as_str(), url.path()].into_iter().filter(|text| text.len() > 1).map(Secret::new).collect();
        Ok(Self { client, url, headers: HeaderMap::new(), secrets, timeout: TIMEOUT })
    }

    /// Longest wait for an answer.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a header each time; its value is a secret.
    ///
    /// # Errors
    /// `InvalidArgument` when name or value cannot be a header's.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        let Some((header, mut content)) = parsed else {
            return Err(Error::invalid_argument(format!("header {name:?} of an alert receiver is no valid header")));
        };
        content.set_sensitive(true);
        self.headers.insert(header, content);
        self.secrets.push(Secret::new(value));
        Ok(self)
    }

    /// Sends `Authorization: Bearer ...`.
    ///
    /// # Errors
    /// `InvalidArgument` when the token cannot be in a header.
    pub fn with_bearer(self, token: &str) -> Result<Self> {
        let mut endpoint = self.with_header("authorization", &format!("Bearer {token}"))?;
        endpoint.secrets.push(Secret::new(token));
        Ok(endpoint)
    }

    /// Keeps more text out of errors.
    pub(super) fn with_secret(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// The same receiver at another path below this one.
    pub(super) fn at(mut self, path: &str) -> Self {
        let base = self.url.path().trim_end_matches('/').to_owned();
        self.url.set_path(&format!("{base}{path}"));
        self
    }

    /// Posts `body`, and gives the answer's text when the status is a success.
    ///
    /// # Errors
    /// See [`status_error`]; `Unavailable` and `DeadlineExceeded` when there is no answer.
    pub(super) async fn post(&self, sink: &str, message: Message, now: Timestamp) -> Result<String> {
        let Message { content_type, body, dedup_key } = message;
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, content_type)
            .header("idempotency-key", dedup_key)
            .timeout(self.timeout)
            .body(body);
        let response = request.send().await.map_err(|error| transport_error(sink, error))?;
        let (status, retry_after) = (response.status(), retry_after(response.headers(), now));
        let answer = read(response).await;
        if status.is_success() {
            return Ok(answer);
        }
        let shown = self.secrets.iter().fold(answer, |answer, secret| secret.redact(&answer));
        Err(status_error(sink, status, retry_after, cut(shown.trim(), ANSWER_BYTES_SHOWN)))
    }
}

/// What to post.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
    /// The same each time the same thing is posted.
    pub(super) dedup_key: String,
}

impl Message {
    pub(super) fn json(body: &impl serde::Serialize, dedup_key: String) -> Result<Self> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Error::internal("a notification cannot be written as JSON").with_source(error))?;
        Ok(Self { content_type: "application/json", body, dedup_key })
    }
}

fn client() -> Result<Client> {
    let built = mlops_http::client_builder(crate::PRODUCT)?.build();
    built.map_err(|error| Error::internal("the http client of alerts cannot be made").with_source(error))
}

/// At most so much of an answer as is of use; an answer cut short is still an answer.
async fn read(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() >= ANSWER_BYTES_MAX {
            bytes.truncate(ANSWER_BYTES_MAX);
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn transport_error(sink: &str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    if error.is_timeout() {
        return Error::deadline_exceeded(format!("sink {sink:?}: the receiver did not answer in time"))
            .with_source(error);
    }
    if error.is_builder() || error.is_request() && !error.is_connect() && error.is_body() {
        return Error::internal(format!("sink {sink:?}: the request cannot be made")).with_source(error);
    }
    Error::unavailable(format!("sink {sink:?}: the receiver cannot be reached")).with_source(error)
}

/// 429 is `ResourceExhausted`, 408, 425 and 5xx are `Unavailable`: these can be repeated. Other
/// statuses cannot; 401 and 403 keep their kinds, the rest is `InvalidArgument`.
fn status_error(sink: &str, status: StatusCode, retry_after: Option<Duration>, answer: &str) -> Error {
    let kind = match status.as_u16() {
        429 => ErrorKind::ResourceExhausted,
        408 | 425 | 500.. => ErrorKind::Unavailable,
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        _ => ErrorKind::InvalidArgument,
    };
    let said = if answer.is_empty() { String::new() } else { format!(": {answer:?}") };
    let error = Error::new(kind, format!("sink {sink:?}: the receiver answered {status}{said}"));
    match retry_after {
        Some(wait) => error.with(RETRY_AFTER_MS, wait.as_millis()),
        None => error,
    }
}

/// Seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = DateTime::parse_from_rfc2822(text).ok()?;
    Some(Timestamp::from_micros(date.timestamp_micros()).duration_since(now))
}

#[cfg(test)]
mod tests {
    use mlops_core::Retry;

    use super::*;

    #[test]
    fn statuses_say_whether_repeating_helps() {
        let check = |status: u16, retry: Retry| {
            let error = status_error("hook", StatusCode::from_u16(status).unwrap(), None, "why");
            assert_eq!(error.retry(), retry, "{status}");
            assert!(error.message().contains(&status.to_string()), "{error}");
        };
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            check(status, Retry::AfterBackoff);
        }
        for status in [301, 400, 401, 403, 404, 405, 409, 410, 413, 422] {
            check(status, Retry::Never);
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = "2015-10-21T07:28:00Z".parse().unwrap();
        let check = |text: &'static str, expected: Option<u64>| {
            let headers = [(RETRY_AFTER, HeaderValue::from_static(text))].into_iter().collect();
            assert_eq!(retry_after(&headers, now).map(|wait| wait.as_secs()), expected, "{text}");
        };
        check("120", Some(120));
        check("Wed, 21 Oct 2015 07:29:00 GMT", Some(60));
        check("Wed, 21 Oct 2015 07:00:00 GMT", Some(0));
        check("soon", None);
        check("-1", None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn addresses_are_checked_and_never_shown() {
        for url in ["hooks.example.com/SECRET", "ftp://example.com/SECRET", "not a url SECRET"] {
            let error = HttpEndpoint::new(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
        }
        let endpoint = HttpEndpoint::new("http://user:SECRET@example.com/SECRET").unwrap();
        let endpoint = endpoint.with_header("x-key", "SECRET").unwrap().with_bearer("SECRET").unwrap();
        assert!(!format!("{endpoint:?}").contains("SECRET"));
        assert!(endpoint.with_header("x y", "SECRET").is_err_and(|error| !error.message().contains("SECRET")));
        let https = HttpEndpoint::new("https://example.com");
        assert_eq!(https.is_ok(), cfg!(feature = "alerts-https"));
    }
}
