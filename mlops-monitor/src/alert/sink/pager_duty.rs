//! PagerDuty, by its Events API version 2.
//!
//! Invariant: one incident for each group: it is triggered, updated and resolved under one
//! `dedup_key`, so that repeated events do no harm. See
//! <https://developer.pagerduty.com/docs/events-api-v2-overview>.

use async_trait::async_trait;
use mlops_core::{Result, Timestamp};
use serde_json::{Value, json};

use super::{
    AlertSink,
    http::{HttpEndpoint, Message},
    secret::Secret,
};
use crate::alert::{
    labels::cut,
    notification::{Alert, Notification, Status},
};

/// The address of the Events API.
pub const PAGER_DUTY_EVENTS: &str = "https://events.pagerduty.com/v2/enqueue";
/// Longest summary that PagerDuty takes, in characters; bytes are never fewer.
const SUMMARY_BYTES_MAX: usize = 1024;
/// Alerts whose details are sent along; an event has at most 512 kB.
const ALERTS_SHOWN: usize = 5;

/// Triggers and resolves incidents. The routing key is a secret.
///
/// ```no_run
/// use mlops_monitor::alert::{HttpEndpoint, PagerDutySink, Secret};
///
/// let events = HttpEndpoint::new(mlops_monitor::alert::PAGER_DUTY_EVENTS)?;
/// let sink = PagerDutySink::new("pagerduty", events, Secret::new("R0UTINGKEY"));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct PagerDutySink {
    name: String,
    endpoint: HttpEndpoint,
    routing_key: Secret,
}

impl PagerDutySink {
    /// Posts to `endpoint`, usually [`PAGER_DUTY_EVENTS`], for the service of the routing key.
    #[must_use]
    pub fn new(name: impl Into<String>, endpoint: HttpEndpoint, routing_key: Secret) -> Self {
        let endpoint = endpoint.with_secret(routing_key.clone());
        Self { name: name.into(), endpoint, routing_key }
    }

    fn event(&self, notification: &Notification) -> Value {
        let action = match notification.status() {
            Status::Firing => "trigger",
            Status::Resolved => "resolve",
        };
        let source = notification.group_labels.get("model").unwrap_or(&notification.receiver);
        let hidden = notification.alerts.len().saturating_sub(ALERTS_SHOWN);
        let mut event = json!({
            "routing_key": self.routing_key.expose(),
            "event_action": action,
            "dedup_key": notification.incident_key(),
            "client": "mlops",
            "payload": {
                "summary": cut(&notification.title(), SUMMARY_BYTES_MAX),
                "source": source,
                "severity": notification.severity().as_str(),
                "timestamp": notification.at.to_string(),
                "group": notification.group_key(),
                "custom_details": {
                    "alerts": notification.alerts.iter().take(ALERTS_SHOWN).map(details).collect::<Vec<_>>(),
                    "more_alerts": notification.truncated.saturating_add(u64::try_from(hidden).unwrap_or(u64::MAX)),
                },
            },
        });
        if let (false, Some(event)) = (notification.external_url.is_empty(), event.as_object_mut()) {
            event.insert("client_url".to_owned(), json!(notification.external_url));
        }
        event
    }
}

fn details(alert: &Alert) -> Value {
    json!({
        "status": alert.status(),
        "labels": alert.labels,
        "annotations": alert.annotations,
        "starts_at": alert.starts_at.to_string(),
    })
}

#[async_trait]
impl AlertSink for PagerDutySink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, notification: &Notification, now: Timestamp) -> Result<()> {
        let message = Message::json(&self.event(notification), notification.dedup_key())?;
        self.endpoint.post(&self.name, message, now).await.map(drop)
    }
}
