//! What the server says about its requests, as plain data.

use serde::{Deserialize, Serialize};

/// Switches of logs, headers and metrics.
///
/// ```
/// let settings: mlops_serve::ObserveSettings = serde_json::from_str(r#"{"access_log": false}"#)?;
/// assert!(settings.metrics && settings.timing_headers && !settings.access_log);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObserveSettings {
    /// Measurements at `GET /metrics`, in the text format of Prometheus.
    pub metrics: bool,
    /// Whether these include Triton's names (`nv_inference_*`), for dashboards that were made for it.
    pub triton_metrics: bool,
    /// One `tracing` event for each request, target `mlops_serve::access`, level info.
    pub access_log: bool,
    /// `server-timing` in the answers: milliseconds in the queue and in the model.
    pub timing_headers: bool,
    /// `traceparent` of W3C Trace Context in the answers: the trace of the request, or a new one.
    pub trace_headers: bool,
}

impl Default for ObserveSettings {
    fn default() -> Self {
        Self { metrics: true, triton_metrics: true, access_log: true, timing_headers: true, trace_headers: true }
    }
}
