//! Every bound and switch of the server as plain data, with defaults fit for production.

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{limits::LimitSettings, observe::ObserveSettings, protocol::ProtocolSettings, server::ConnectionSettings};

/// Settings of a [`Server`](crate::Server).
///
/// ```
/// let settings: mlops_serve::ServerSettings = serde_json::from_str(r#"{"workers": 4}"#)?;
/// assert_eq!((settings.workers, settings.queue_max), (4, 256));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Name in the server metadata.
    pub name: String,
    /// Threads that predict, decode and encode.
    pub workers: usize,
    /// Jobs that may wait for a worker; one more is refused with `ResourceExhausted` (429).
    pub queue_max: usize,
    /// Rows that may wait for a worker, of all models together; a request that would make it more is refused with
    /// `ResourceExhausted` (429) unless nothing else waits.
    pub queue_rows_max: usize,
    /// How long a job may wait for a worker before it is refused with `Unavailable` (503), milliseconds.
    pub queue_timeout_ms: u64,
    /// How long a request may take in all, feature lookup included, before `DeadlineExceeded` (504),
    /// milliseconds. A request can only shorten it.
    pub timeout_ms: u64,
    /// A model whose recent calls of at most [`ServerSettings::inline_rows_max`] rows stayed below this on average runs
    /// on the runtime thread, saving two thread switches; microseconds, 0 sends every call to the workers.
    pub inline_below_us: u64,
    /// Most rows of a call that may run on the runtime thread.
    pub inline_rows_max: usize,
    /// Largest request body, before and after decompression, bytes; and the most that the tensors of a gRPC message may
    /// take once they are read.
    pub body_bytes_max: usize,
    /// Bodies above this are decoded and encoded by the workers, bytes.
    pub offload_bytes: usize,
    /// Most labels, or outcomes, in one request of feedback.
    pub feedback_labels_max: usize,
    /// Answers below this are not compressed even when the client accepts it, bytes.
    pub compress_bytes_min: usize,
    /// How long a graceful shutdown waits for requests in flight, milliseconds.
    pub drain_timeout_ms: u64,
    /// How often a server that listens lets each model predict an example, so that it is ready only while they do,
    /// milliseconds; 0 never.
    pub readiness_check_ms: u64,
    /// Whether clients may load and unload models over the protocol.
    pub repository_api: bool,
    /// Whether clients may tell what came of answers, by which rollouts are judged and bandits learn.
    pub outcomes_api: bool,
    /// The protocols that are spoken beside Open Inference.
    pub protocols: ProtocolSettings,
    /// What one tenant and all together may do.
    pub limits: LimitSettings,
    /// What is said about requests: metrics, log, headers.
    pub observe: ObserveSettings,
    /// Bounds of connections, for a server that listens itself.
    pub connections: ConnectionSettings,
    /// Prefix of the request ids that the server makes, unique per replica; empty takes the start time.
    pub instance: String,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            name: "mlops".into(),
            workers: 2,
            queue_max: 256,
            queue_rows_max: 1 << 18,
            queue_timeout_ms: 5_000,
            timeout_ms: 30_000,
            inline_below_us: 100,
            inline_rows_max: 16,
            body_bytes_max: 64 << 20,
            offload_bytes: 64 << 10,
            feedback_labels_max: 10_000,
            compress_bytes_min: 1 << 10,
            drain_timeout_ms: 30_000,
            readiness_check_ms: 0,
            repository_api: false,
            outcomes_api: false,
            protocols: ProtocolSettings::default(),
            limits: LimitSettings::default(),
            observe: ObserveSettings::default(),
            connections: ConnectionSettings::default(),
            instance: String::new(),
        }
    }
}

impl ServerSettings {
    /// Checks every bound.
    ///
    /// # Errors
    /// `InvalidArgument` naming all settings at fault.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("workers", self.workers as u64),
            ("queue_max", self.queue_max as u64),
            ("queue_rows_max", self.queue_rows_max as u64),
            ("queue_timeout_ms", self.queue_timeout_ms),
            ("timeout_ms", self.timeout_ms),
            ("body_bytes_max", self.body_bytes_max as u64),
            ("feedback_labels_max", self.feedback_labels_max as u64),
            ("drain_timeout_ms", self.drain_timeout_ms),
        ];
        let mut faults: Vec<String> =
            positive.iter().filter(|(_, value)| *value == 0).map(|(name, _)| format!("{name} is 0")).collect();
        if self.workers > 1024 {
            faults.push(format!("workers is {}; at most 1024", self.workers));
        }
        faults.extend(self.protocols.validate().err().map(|error| error.message().to_owned()));
        faults.extend(self.limits.faults());
        faults.extend(self.connections.faults());
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("server settings: {}", faults.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_at_once() {
        ServerSettings::default().validate().unwrap();
        let error = ServerSettings { workers: 0, timeout_ms: 0, ..Default::default() }.validate().unwrap_err();
        assert!(error.message().contains("workers is 0, timeout_ms is 0"), "{error}");
    }
}
