//! A real Alertmanager, by its API v2 (`POST /api/v2/alerts`).
//!
//! Invariant: an alert that fires is mentioned again before Alertmanager takes it to be over: it is
//! posted with an end a few intervals ahead, which each reminder moves on, as Prometheus does. When
//! this process dies, its alerts end by themselves.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use mlops_core::{Result, Timestamp};
use serde::Serialize;

use super::{
    AlertSink, SinkCapabilities,
    http::{HttpEndpoint, Message},
};
use crate::alert::{
    labels::Labels,
    notification::{Alert, Notification},
};

/// How often Prometheus reminds.
const RESEND: Duration = Duration::from_secs(60);
/// How many reminders may fail before an alert counts as over.
const RESENDS_TO_EXPIRY: u32 = 4;

/// Hands alerts to an Alertmanager, which groups, silences and delivers them by its own settings.
///
/// Group by `...` without waiting ([`crate::alert::RouterSettings::without_delay`]) when
/// Alertmanager is the only sink.
///
/// ```
/// use mlops_monitor::alert::{AlertSink, AlertmanagerSink, HttpEndpoint};
///
/// let sink = AlertmanagerSink::new("alertmanager", HttpEndpoint::new("http://127.0.0.1:9093")?);
/// assert!(sink.capabilities().resend.is_some());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AlertmanagerSink {
    name: String,
    endpoint: HttpEndpoint,
    resend: Duration,
}

impl AlertmanagerSink {
    /// Posts to the Alertmanager at `endpoint` (without `/api/v2`); reminds every minute.
    #[must_use]
    pub fn new(name: impl Into<String>, endpoint: HttpEndpoint) -> Self {
        Self { name: name.into(), endpoint: endpoint.at("/api/v2/alerts"), resend: RESEND }
    }

    /// Reminds this often; an alert ends by itself after four times as long.
    #[must_use]
    pub fn with_resend(mut self, every: Duration) -> Self {
        self.resend = every;
        self
    }
}

/// `postableAlert` of Alertmanager's `openapi.yaml`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PostableAlert<'a> {
    labels: &'a Labels,
    annotations: BTreeMap<&'a str, &'a str>,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
}

impl<'a> PostableAlert<'a> {
    /// An end ahead of Alertmanager's own clock would mean that it fires, so a resolved alert ends
    /// when it did, never later than now.
    fn new(alert: &'a Alert, now: Timestamp, lifetime: Duration) -> Self {
        let ends_at = alert.ends_at.map_or_else(|| now + lifetime, |end| end.min(now));
        Self {
            labels: &alert.labels,
            annotations: alert.annotations.iter().collect(),
            starts_at: alert.starts_at.min(ends_at).to_string(),
            ends_at: ends_at.to_string(),
            generator_url: &alert.generator_url,
        }
    }
}

#[async_trait]
impl AlertSink for AlertmanagerSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities { resend: Some(self.resend) }
    }

    async fn send(&self, notification: &Notification, now: Timestamp) -> Result<()> {
        let lifetime = self.resend.saturating_mul(RESENDS_TO_EXPIRY);
        let alerts: Vec<_> = notification.alerts.iter().map(|alert| PostableAlert::new(alert, now, lifetime)).collect();
        let message = Message::json(&alerts, notification.dedup_key())?;
        self.endpoint.post(&self.name, message, now).await.map(drop)
    }
}
