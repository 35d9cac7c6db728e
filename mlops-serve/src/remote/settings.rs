//! Where a remote model is and how long it may take, as plain data.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::address::{Address, Protocol};

/// Settings of a [`RemoteModel`](crate::RemoteModel).
///
/// ```
/// let settings: mlops_serve::RemoteSettings =
///     serde_json::from_str(r#"{"url": "http://models:8000", "model": "fraud", "version": "3"}"#)?;
/// assert_eq!((settings.timeout_ms, settings.attempts_max), (5_000, 3));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteSettings {
    /// The server, such as `http://models:8000`, where a path goes before `/v2`, or `grpc://models:8001`; `https` and `grpcs`
    /// with TLS.
    pub url: String,
    /// The model there.
    pub model: String,
    /// Its version, in that server's words; what it has in service otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How long a call may take with all its attempts, milliseconds. A request's own deadline may shorten it.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// Most attempts of one call, the first included.
    #[serde(default = "attempts_max")]
    pub attempts_max: u32,
    /// Retries per call that are allowed in the long run; up to 10 are saved for a bad moment.
    #[serde(default = "retry_ratio")]
    pub retry_ratio: f64,
    /// The wait before the second attempt, milliseconds; it doubles for each one after, and is spread by up to a half.
    #[serde(default = "backoff_ms")]
    pub backoff_ms: u64,
    /// After so many attempts in a row without an answer calls fail at once for a while; 0 for never.
    #[serde(default = "breaker_failures")]
    pub breaker_failures: u32,
    /// How long, milliseconds, up to 30,000. Then one attempt is made; while that fails, each pause is twice as long as the
    /// one before, up to half a minute.
    #[serde(default = "breaker_pause_ms")]
    pub breaker_pause_ms: u64,
    /// Most calls at a time; more wait for their turn, as long as their deadline lets them.
    #[serde(default = "in_flight_max")]
    pub in_flight_max: usize,
    /// Largest answer, bytes.
    #[serde(default = "answer_bytes_max")]
    pub answer_bytes_max: usize,
    /// Whether tensors travel in binary. Over REST, servers without Triton's extension take JSON alone; over gRPC they
    /// always do.
    #[serde(default = "binary")]
    pub binary: bool,
}

fn timeout_ms() -> u64 {
    5_000
}
fn attempts_max() -> u32 {
    3
}
fn retry_ratio() -> f64 {
    0.1
}
fn backoff_ms() -> u64 {
    20
}
fn breaker_failures() -> u32 {
    10
}
fn breaker_pause_ms() -> u64 {
    1_000
}
fn in_flight_max() -> usize {
    256
}
fn answer_bytes_max() -> usize {
    64 << 20
}
fn binary() -> bool {
    true
}

impl RemoteSettings {
    /// The model `model` of the server at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            model: model.into(),
            version: None,
            timeout_ms: timeout_ms(),
            attempts_max: attempts_max(),
            retry_ratio: retry_ratio(),
            backoff_ms: backoff_ms(),
            breaker_failures: breaker_failures(),
            breaker_pause_ms: breaker_pause_ms(),
            in_flight_max: in_flight_max(),
            answer_bytes_max: answer_bytes_max(),
            binary: binary(),
        }
    }

    /// Checks every bound, and gives the server's address.
    ///
    /// # Errors
    /// `InvalidArgument` naming all settings at fault.
    pub(super) fn validate(&self) -> Result<Address> {
        let mut faults = Vec::new();
        let address = Address::parse(&self.url);
        match &address {
            None => {
                let text = "url must be http://HOST[:PORT][/PATH] or grpc://HOST[:PORT] without user or query";
                faults.push(text.to_owned());
            }
            Some(address) if address.protocol == Protocol::Grpc && !self.binary => {
                faults.push("binary must be true over grpc".to_owned());
            }
            Some(_) => {}
        }
        if self.model.is_empty() {
            faults.push("model is empty".into());
        }
        let least = [
            ("timeout_ms", self.timeout_ms),
            ("attempts_max", u64::from(self.attempts_max)),
            ("in_flight_max", self.in_flight_max as u64),
            ("answer_bytes_max", self.answer_bytes_max as u64),
        ];
        faults.extend(least.iter().filter(|(_, value)| *value == 0).map(|(name, _)| format!("{name} is 0")));
        if !(0.0..=1.0).contains(&self.retry_ratio) {
            faults.push(format!("retry_ratio {} must be 0 to 1", self.retry_ratio));
        }
        if self.breaker_pause_ms > 30_000 {
            faults.push(format!("breaker_pause_ms {} must be at most 30000", self.breaker_pause_ms));
        }
        match address {
            Some(address) if faults.is_empty() => Ok(address),
            _ => Err(Error::invalid_argument(format!("remote settings: {}", faults.join(", ")))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_and_no_secret_hides_in_an_address() {
        RemoteSettings::new("https://models.example/serve", "m").validate().unwrap();
        RemoteSettings::new("grpcs://models.example:8001", "m").validate().unwrap();
        for url in ["", "models:8000", "ftp://m", "http://user:secret@m", "http://m?key=1", "grpc://m/v2"] {
            let error = RemoteSettings { timeout_ms: 0, ..RemoteSettings::new(url, "") }.validate().unwrap_err();
            for fault in ["url must be", "model is empty", "timeout_ms is 0"] {
                assert!(error.message().contains(fault), "{url}: {error}");
            }
            assert!(!error.message().contains("secret"));
        }
    }
}
