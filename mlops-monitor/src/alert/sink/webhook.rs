//! Alertmanager's webhook, version 4, so that its receivers work without it.
//!
//! Invariant: the fields, their order and their types are those of Alertmanager 0.25; a recorded
//! payload of the real one is compared in the tests. See
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mlops_core::{Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    AlertSink,
    http::{HttpEndpoint, Message},
};
use crate::alert::{
    labels::{Fingerprint, Labels},
    notification::{Alert, Notification, Status},
};

/// What Alertmanager posts to a webhook; also what to read it with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookPayload {
    /// Name of the receiver.
    pub receiver: String,
    /// Firing as long as one alert does.
    pub status: Status,
    /// The alerts.
    pub alerts: Vec<WebhookAlert>,
    /// The labels by which the alerts are grouped.
    pub group_labels: Labels,
    /// The labels that all have in common.
    pub common_labels: Labels,
    /// The annotations that all have in common.
    pub common_annotations: BTreeMap<String, String>,
    /// Where the sender can be looked at.
    #[serde(rename = "externalURL")]
    pub external_url: String,
    /// Always 4.
    pub version: String,
    /// Identity of the group.
    pub group_key: String,
    /// How many alerts were left out.
    pub truncated_alerts: u64,
}

/// One alert of a [`WebhookPayload`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookAlert {
    /// Whether it goes on.
    pub status: Status,
    /// Its identity.
    pub labels: Labels,
    /// What is known about it.
    pub annotations: BTreeMap<String, String>,
    /// When it began, RFC 3339.
    pub starts_at: String,
    /// When it was over, RFC 3339; the first instant of the year 1 while it fires.
    pub ends_at: String,
    /// Where the evidence can be looked at.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// Hash of the labels.
    pub fingerprint: Fingerprint,
}

/// Go's zero time, which stands for no end.
const NO_END: &str = "0001-01-01T00:00:00Z";

impl From<&Alert> for WebhookAlert {
    fn from(alert: &Alert) -> Self {
        Self {
            status: alert.status(),
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone().into(),
            starts_at: alert.starts_at.to_string(),
            ends_at: alert.ends_at.map_or_else(|| NO_END.to_owned(), |end| end.to_string()),
            generator_url: alert.generator_url.clone(),
            fingerprint: alert.labels.fingerprint(),
        }
    }
}

impl From<&Notification> for WebhookPayload {
    fn from(notification: &Notification) -> Self {
        let common = notification.common_annotations().into_iter();
        Self {
            receiver: notification.receiver.clone(),
            status: notification.status(),
            alerts: notification.alerts.iter().map(WebhookAlert::from).collect(),
            group_labels: notification.group_labels.clone(),
            common_labels: notification.common_labels(),
            common_annotations: common.map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
            external_url: notification.external_url.clone(),
            version: "4".to_owned(),
            group_key: notification.group_key(),
            truncated_alerts: notification.truncated,
        }
    }
}

/// Posts each notification as Alertmanager's webhook, with the header `Idempotency-Key`.
///
/// ```
/// use mlops_monitor::alert::{AlertSink, HttpEndpoint, WebhookSink};
///
/// let sink = WebhookSink::new("on-call", HttpEndpoint::new("http://127.0.0.1:8080/alerts")?);
/// assert_eq!(sink.name(), "on-call");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WebhookSink {
    name: String,
    endpoint: HttpEndpoint,
}

impl WebhookSink {
    /// Posts to `endpoint`.
    #[must_use]
    pub fn new(name: impl Into<String>, endpoint: HttpEndpoint) -> Self {
        Self { name: name.into(), endpoint }
    }
}

#[async_trait]
impl AlertSink for WebhookSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, notification: &Notification, now: Timestamp) -> Result<()> {
        let message = Message::json(&WebhookPayload::from(notification), notification.dedup_key())?;
        self.endpoint.post(&self.name, message, now).await.map(drop)
    }
}
