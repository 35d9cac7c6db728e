//! CloudEvents 1.0: JSON in structured mode over HTTP.
//!
//! Invariant: `source` and `id` together are unique to a notification and the same each time it is
//! sent, so that consumers can drop what comes twice. See
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>.

use async_trait::async_trait;
use mlops_core::{Result, Timestamp};
use serde_json::json;

use super::{
    AlertSink,
    http::{HttpEndpoint, Message},
    webhook::WebhookPayload,
};
use crate::alert::notification::Notification;

const CONTENT_TYPE: &str = "application/cloudevents+json; charset=utf-8";

/// Posts each notification as a CloudEvent of the type `org.mlops.alert.firing` or
/// `org.mlops.alert.resolved`, whose data is a [`WebhookPayload`].
///
/// ```
/// use mlops_monitor::alert::{CloudEventsSink, HttpEndpoint};
///
/// let sink = CloudEventsSink::new("events", HttpEndpoint::new("http://127.0.0.1:8080/")?, "/mlops/production");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CloudEventsSink {
    name: String,
    endpoint: HttpEndpoint,
    source: String,
}

impl CloudEventsSink {
    /// Posts to `endpoint`; `source` is a URI reference that names this system.
    #[must_use]
    pub fn new(name: impl Into<String>, endpoint: HttpEndpoint, source: impl Into<String>) -> Self {
        Self { name: name.into(), endpoint, source: source.into() }
    }
}

#[async_trait]
impl AlertSink for CloudEventsSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, notification: &Notification, now: Timestamp) -> Result<()> {
        let event = json!({
            "specversion": "1.0",
            "id": notification.dedup_key(),
            "source": self.source,
            "type": format!("org.mlops.alert.{}", notification.status().as_str()),
            "subject": notification.group_key(),
            "time": notification.at.to_string(),
            "datacontenttype": "application/json",
            "data": WebhookPayload::from(notification),
        });
        let message = Message { content_type: CONTENT_TYPE, ..Message::json(&event, notification.dedup_key())? };
        self.endpoint.post(&self.name, message, now).await.map(drop)
    }
}
