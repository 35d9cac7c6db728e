//! Sends metrics to an OpenTelemetry collector over HTTP.
//!
//! Invariant: one call, bounded in attempts, in time and in what is read of an answer; it never loses count, for
//! what it sends is cumulative: the next push carries whatever this one could not.

use std::time::Duration;

use mlops_core::{Error, Result};
use mlops_http::reqwest::{
    self, StatusCode, Url,
    header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MonitorMetrics, OtlpResource};

/// How patiently metrics are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpSettings {
    /// Longest wait for the answer to one attempt, in milliseconds, at least 1.
    pub timeout_ms: u64,
    /// Most attempts, 1 to 20.
    pub attempts_max: u32,
    /// Wait before the second attempt, in milliseconds; it doubles from attempt to attempt.
    pub backoff_ms: u64,
    /// Longest wait between attempts, in milliseconds, also when the collector asks for more.
    pub backoff_ms_max: u64,
}

impl Default for OtlpSettings {
    fn default() -> Self {
        Self { timeout_ms: 10_000, attempts_max: 5, backoff_ms: 500, backoff_ms_max: 30_000 }
    }
}

/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Pushes metrics to one collector.
///
/// ```no_run
/// use mlops_core::SystemClock;
/// use mlops_monitor::export::{MonitorMetrics, OtlpClient, OtlpResource, OtlpSettings};
///
/// # async fn push() -> mlops_core::Result<()> {
/// let metrics = MonitorMetrics::builder(SystemClock::new()).build()?;
/// let client = OtlpClient::new("http://127.0.0.1:4318", OtlpSettings::default())?;
/// client.send(&metrics, &OtlpResource::new("rides", "1.4.0")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct OtlpClient {
    http: reqwest::Client,
    url: Url,
    headers: HeaderMap,
    settings: OtlpSettings,
}

enum Failure {
    /// Another attempt may help, after this time if the collector said so.
    Passing(Error, Option<Duration>),
    Lasting(Error),
}

impl OtlpClient {
    /// For the collector at `endpoint`, such as `http://127.0.0.1:4318`; `/v1/metrics` is added. No proxy is asked and
    /// no redirect followed; `https` is spoken with the feature `alerts-https`.
    ///
    /// # Errors
    /// `InvalidArgument` when the endpoint is no HTTP address or a setting is out of range; `Internal` when TLS cannot be
    /// set up.
    pub fn new(endpoint: &str, settings: OtlpSettings) -> Result<Self> {
        if settings.timeout_ms == 0 || !(1..=20).contains(&settings.attempts_max) {
            return Err(Error::invalid_argument(format!(
                "otlp settings: timeout_ms must be at least 1 and attempts_max from 1 to 20, found {} and {}",
                settings.timeout_ms, settings.attempts_max
            )));
        }
        let wrong = |why: &dyn std::fmt::Display| {
            Error::invalid_argument(format!("otlp endpoint must be an http or https address: {why}"))
        };
        let url =
            Url::parse(&format!("{}/v1/metrics", endpoint.trim_end_matches('/'))).map_err(|error| wrong(&error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(&format!("found scheme {:?}", url.scheme())));
        }
        let http = mlops_http::client_builder(crate::PRODUCT)?
            .timeout(Duration::from_millis(settings.timeout_ms))
            .build()
            .map_err(|error| Error::internal("http client cannot be built").with_source(error))?;
        Ok(Self { http, url, headers: HeaderMap::new(), settings })
    }

    /// Adds a header to every request, such as `authorization`; its value is not logged.
    ///
    /// # Errors
    /// `InvalidArgument` when name or value cannot stand in a header.
    pub fn with_header(mut self, name: &str, value: &str) -> Result<Self> {
        let wrong = || Error::invalid_argument(format!("otlp header {name:?}: name or value cannot stand in a header"));
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        value.set_sensitive(true);
        self.headers.insert(key, value);
        Ok(self)
    }

    /// Sends everything; waits and repeats as OTLP asks for (statuses 429, 502, 503, 504, and no connection).
    ///
    /// Returns how many points the collector took no part of; cancelling the future sends no more.
    ///
    /// # Errors
    /// `Unavailable` when the last attempt found no collector or one too busy; the kind of its status otherwise.
    pub async fn send(&self, metrics: &MonitorMetrics, resource: &OtlpResource) -> Result<u64> {
        let body = metrics.to_otlp(resource);
        let mut wait = self.settings.backoff_ms;
        for attempt in 1.. {
            match self.attempt(&body).await {
                Ok(rejected) => return Ok(rejected),
                Err(Failure::Lasting(error)) => return Err(error),
                Err(Failure::Passing(error, _)) if attempt >= self.settings.attempts_max => return Err(error),
                Err(Failure::Passing(_, asked)) => {
                    let most = Duration::from_millis(self.settings.backoff_ms_max);
                    tokio::time::sleep(asked.unwrap_or(Duration::from_millis(wait)).min(most)).await;
                    wait = wait.saturating_mul(2);
                }
            }
        }
        Err(Error::internal("otlp: attempts ended without a result"))
    }

    async fn attempt(&self, body: &Value) -> Result<u64, Failure> {
        let request = self.http.post(self.url.clone()).headers(self.headers.clone()).json(body);
        let mut response = request.send().await.map_err(|error| {
            Failure::Passing(Error::unavailable("otlp collector cannot be reached").with_source(error), None)
        })?;
        let status = response.status();
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut answer = Vec::new();
        while answer.len() < ANSWER_BYTES_MAX {
            match response.chunk().await {
                Ok(Some(chunk)) => answer.extend_from_slice(&chunk),
                // What came of the answer is enough: its status has decided already.
                Ok(None) | Err(_) => break,
            }
        }
        if status.is_success() {
            return Ok(rejected(&answer));
        }
        let message = format!("otlp collector answered {status}");
        if matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            return Err(Failure::Passing(Error::unavailable(message), seconds.map(Duration::from_secs)));
        }
        Err(Failure::Lasting(Error::new(kind(status), message)))
    }
}

fn kind(status: StatusCode) -> mlops_core::ErrorKind {
    mlops_core::ErrorKind::from_http_status(status.as_u16())
}

/// `partialSuccess.rejectedDataPoints`, a 64-bit integer that JSON carries as text.
fn rejected(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    let points = answer.pointer("/partialSuccess/rejectedDataPoints").unwrap_or(&Value::Null);
    points.as_u64().or_else(|| points.as_str()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread::{self, JoinHandle},
    };

    use mlops_core::ErrorKind;

    use super::*;
    use crate::export::metrics::tests::full;

    /// A collector that gives these answers, one a connection, and returns what it was sent.
    fn collector(answers: &'static [&'static str]) -> (String, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let serve = move || {
            let serve_one = |answer: &&str| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                loop {
                    let text = String::from_utf8_lossy(&request).into_owned();
                    if let Some((head, body)) = text.split_once("\r\n\r\n") {
                        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                        if body.len() >= length.unwrap().parse().unwrap() {
                            break;
                        }
                    }
                    let read = stream.read(&mut buffer).unwrap();
                    request.extend_from_slice(&buffer[..read]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8(request).unwrap()
            };
            answers.iter().map(serve_one).collect()
        };
        (endpoint, thread::spawn(serve))
    }

    fn settings() -> OtlpSettings {
        OtlpSettings { backoff_ms: 1, backoff_ms_max: 2, attempts_max: 3, ..OtlpSettings::default() }
    }

    const BUSY: &str = "HTTP/1.1 503 Busy\r\nretry-after: 9000\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    const PARTLY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 46\r\nconnection: close\r\n\r\n\
                          {\"partialSuccess\":{\"rejectedDataPoints\":\"12\"}}";
    const WRONG: &str = "HTTP/1.1 400 Bad\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

    async fn send(answers: &'static [&'static str]) -> (Result<u64>, Vec<String>) {
        let (endpoint, server) = collector(answers);
        let client = OtlpClient::new(&endpoint, settings()).unwrap().with_header("authorization", "Bearer x").unwrap();
        let sent = client.send(&full(), &OtlpResource::new("s", "1")).await;
        (sent, server.join().unwrap())
    }

    #[tokio::test]
    async fn a_busy_collector_is_asked_again() {
        let (sent, requests) = send(&[BUSY, BUSY, PARTLY]).await;
        assert_eq!(sent.unwrap(), 12);
        assert_eq!(requests.len(), 3);
        let (head, body) = requests[2].split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /v1/metrics HTTP/1.1") && head.contains("authorization: Bearer x"), "{head}");
        assert_eq!(serde_json::from_str::<Value>(body).unwrap(), full().to_otlp(&OtlpResource::new("s", "1")));
    }

    #[tokio::test]
    async fn what_cannot_succeed_is_not_repeated() {
        let (sent, requests) = send(&[WRONG]).await;
        assert_eq!((sent.unwrap_err().kind(), requests.len()), (ErrorKind::InvalidArgument, 1));
        let (sent, requests) = send(&[BUSY, BUSY, BUSY]).await;
        assert_eq!((sent.unwrap_err().kind(), requests.len()), (ErrorKind::Unavailable, 3));
    }

    #[test]
    fn endpoints_and_settings_are_checked() {
        for endpoint in ["", "collector:4318", "ftp://collector"] {
            assert!(OtlpClient::new(endpoint, settings()).is_err(), "{endpoint}");
        }
        assert!(OtlpClient::new("http://c", OtlpSettings { attempts_max: 0, ..settings() }).is_err());
    }
}
