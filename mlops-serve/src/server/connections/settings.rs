//! Bounds of connections as plain data.

use serde::{Deserialize, Serialize};

/// Bounds of the connections of a server that listens itself.
///
/// ```
/// let settings: mlops_serve::ConnectionSettings = serde_json::from_str(r#"{"connections_max": 100}"#)?;
/// assert_eq!(settings.header_timeout_ms, 30_000);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionSettings {
    /// Open connections; more wait in the operating system's queue.
    pub connections_max: usize,
    /// How long the headers of a request may take to come on HTTP/1, counted from the answer before, so that it bounds
    /// idle connections too; and how long a TLS handshake may take. Milliseconds.
    pub header_timeout_ms: u64,
    /// Largest head of a request, bytes; at least 8192.
    pub header_bytes_max: u32,
    /// Calls in progress on one HTTP/2 connection.
    pub streams_max: u32,
    /// How often a silent HTTP/2 connection is asked whether it lives, milliseconds; it is closed when it does not say
    /// so within [`ConnectionSettings::ping_timeout_ms`].
    pub ping_every_ms: u64,
    /// See [`ConnectionSettings::ping_every_ms`].
    pub ping_timeout_ms: u64,
    /// How long connections are accepted after a shutdown began, milliseconds: for load balancers that take a while to
    /// see that the server is not ready.
    pub shutdown_delay_ms: u64,
    /// How long a connection without a request stays open then, milliseconds: for requests that are on their way.
    pub linger_ms: u64,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            connections_max: 16_384,
            header_timeout_ms: 30_000,
            header_bytes_max: 64 << 10,
            streams_max: 256,
            ping_every_ms: 20_000,
            ping_timeout_ms: 20_000,
            shutdown_delay_ms: 0,
            linger_ms: 250,
        }
    }
}

impl ConnectionSettings {
    pub(crate) fn faults(&self) -> Vec<String> {
        let least = [
            ("connections_max", self.connections_max as u64, 1),
            ("header_timeout_ms", self.header_timeout_ms, 1),
            ("header_bytes_max", u64::from(self.header_bytes_max), 8192),
            ("streams_max", u64::from(self.streams_max), 1),
            ("ping_every_ms", self.ping_every_ms, 1),
            ("ping_timeout_ms", self.ping_timeout_ms, 1),
        ];
        let below = least.iter().filter(|(_, value, least)| value < least);
        below.map(|(name, value, least)| format!("connections.{name} is {value}; at least {least}")).collect()
    }
}
