//! Where notifications go.
//!
//! Invariant: a sink is told each notification at least once and takes the same one twice without
//! harm; it never shows a secret, in errors or otherwise. Sinks that speak HTTP are there with the
//! feature `alerts-http`, over TLS with `alerts-https`.

#[cfg(feature = "alerts-http")]
mod alertmanager;
#[cfg(feature = "alerts-http")]
mod cloud_events;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(feature = "alerts-http")]
mod http;
#[cfg(feature = "alerts-http")]
mod pager_duty;
#[cfg(feature = "alerts-http")]
mod secret;
#[cfg(feature = "alerts-http")]
mod slack;
mod trace;
#[cfg(feature = "alerts-http")]
mod webhook;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{Error, Result, Timestamp};

#[cfg(feature = "alerts-http")]
pub use alertmanager::AlertmanagerSink;
#[cfg(feature = "alerts-http")]
pub use cloud_events::CloudEventsSink;
#[cfg(feature = "alerts-http")]
pub use http::HttpEndpoint;
#[cfg(feature = "alerts-http")]
pub use pager_duty::{PAGER_DUTY_EVENTS, PagerDutySink};
#[cfg(feature = "alerts-http")]
pub use secret::Secret;
#[cfg(feature = "alerts-http")]
pub use slack::SlackSink;
pub use trace::TracingSink;
#[cfg(feature = "alerts-http")]
pub use webhook::{WebhookAlert, WebhookPayload, WebhookSink};

use super::notification::Notification;

/// The context key of an [`Error`] with which a sink says how many milliseconds to wait before the
/// next attempt.
pub const RETRY_AFTER_MS: &str = "retry_after_ms";

/// What a sink needs beyond being told of news.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SinkCapabilities {
    /// Wants to be told of all alerts that fire again and again, this often, because it takes an
    /// alert that nobody mentions any more to be over.
    pub resend: Option<Duration>,
}

/// Takes notifications.
#[async_trait]
pub trait AlertSink: fmt::Debug + Send + Sync + 'static {
    /// A stable name, its own within an [`super::AlertCenter`]: what is pending across a restart
    /// belongs to the sink of the same name.
    fn name(&self) -> &str;

    /// What it needs.
    fn capabilities(&self) -> SinkCapabilities {
        SinkCapabilities::default()
    }

    /// Hands a notification over; `now` is the time of day. When this returns, the receiver has
    /// acknowledged all of it. The same notification may come again, and does no harm then.
    ///
    /// # Errors
    /// Errors that [`mlops_core::Retry::AfterBackoff`] advises to repeat are repeated, no sooner
    /// than after the context value [`RETRY_AFTER_MS`], where there is one; any other makes the
    /// notification a dead letter. No error shows a secret.
    async fn send(&self, notification: &Notification, now: Timestamp) -> Result<()>;
}

#[async_trait]
impl<T: AlertSink + ?Sized> AlertSink for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn capabilities(&self) -> SinkCapabilities {
        (**self).capabilities()
    }
    async fn send(&self, notification: &Notification, now: Timestamp) -> Result<()> {
        (**self).send(notification, now).await
    }
}

#[async_trait]
impl<T: AlertSink + ?Sized> AlertSink for Box<T> {
    fn name(&self) -> &str {
        (**self).name()
    }
    fn capabilities(&self) -> SinkCapabilities {
        (**self).capabilities()
    }
    async fn send(&self, notification: &Notification, now: Timestamp) -> Result<()> {
        (**self).send(notification, now).await
    }
}

/// How long the receiver asked to be left alone.
pub(super) fn retry_after_ms(error: &Error) -> Option<u64> {
    let mut pairs = error.context().iter();
    pairs.find_map(|(key, value)| if *key == RETRY_AFTER_MS { value.parse().ok() } else { None })
}
