//! Notifications as `tracing` events, for services whose logs are watched.

use async_trait::async_trait;
use mlops_core::{Result, Timestamp};

use super::AlertSink;
use crate::alert::notification::{Notification, Status};

/// Writes one event for each alert of a notification: a warning when it fires, an information when
/// it is over, with the target `mlops::alert`.
///
/// ```
/// use mlops_monitor::alert::{AlertSink, TracingSink};
///
/// assert_eq!(TracingSink.name(), "tracing");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingSink;

#[async_trait]
impl AlertSink for TracingSink {
    fn name(&self) -> &str {
        "tracing"
    }

    async fn send(&self, notification: &Notification, _: Timestamp) -> Result<()> {
        for alert in &notification.alerts {
            let (labels, summary) = (&alert.labels, alert.annotations.summary());
            let (severity, since) = (alert.severity().as_str(), alert.starts_at);
            match alert.status() {
                Status::Firing => {
                    tracing::warn!(target: "mlops::alert", %labels, severity, %since, "alert fires: {summary}");
                }
                Status::Resolved => {
                    tracing::info!(target: "mlops::alert", %labels, severity, %since, "alert is over: {summary}");
                }
            }
        }
        Ok(())
    }
}
