//! The port behind which webhooks and the messages to them are kept.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{Result, Timestamp};

use super::{CreateWebhook, Webhook, WebhookEvent, WebhookUpdate};
use crate::search::{Page, PageRequest};

/// A message that is due, claimed by whoever got it.
#[derive(Clone, PartialEq)]
pub struct Delivery {
    /// Its id, the same in every attempt.
    pub id: String,
    /// The receiver.
    pub webhook: Webhook,
    /// What it is told about.
    pub event: WebhookEvent,
    /// The text.
    pub body: String,
    /// How often it was tried before.
    pub attempts: u32,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery").field("id", &self.id).field("event", &self.event).finish_non_exhaustive()
    }
}

/// Keeps webhooks. Every write is durable when it returns and either happens whole or not at all.
///
/// Errors common to all calls: `Unavailable` when the store cannot be reached, `NotFound` for a webhook that does not
/// exist.
#[async_trait]
pub trait WebhookStore: fmt::Debug + Send + Sync + 'static {
    /// Creates a webhook.
    ///
    /// # Errors
    /// `InvalidArgument` as [`CreateWebhook::check`], or when the target is not allowed; `ResourceExhausted` when there
    /// are too many.
    async fn create(&self, webhook: CreateWebhook) -> Result<Webhook>;

    /// One webhook.
    ///
    /// # Errors
    /// Only the common ones.
    async fn webhook(&self, id: &str) -> Result<Webhook>;

    /// Webhooks, newest first.
    ///
    /// # Errors
    /// `InvalidArgument` for a page token that is not ours.
    async fn list(&self, page: &PageRequest) -> Result<Page<Webhook>>;

    /// Changes a webhook; messages that wait go to the new address.
    ///
    /// # Errors
    /// As [`WebhookStore::create`].
    async fn update(&self, id: &str, update: WebhookUpdate) -> Result<Webhook>;

    /// Deletes a webhook and the messages that wait for it.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete(&self, id: &str) -> Result<()>;

    /// The secret of a webhook, for signing; none when it has none.
    ///
    /// # Errors
    /// `DataLoss` when it cannot be unsealed.
    async fn secret(&self, id: &str) -> Result<Option<String>>;

    /// Claims messages that are due at `now`, at most `max`: until `lease` has passed nobody else gets them. They
    /// come as they are due, and in their order where that is the same. `wait_max` is longer than any worker waits, and more
    /// than clocks are apart. No message is ever put off for longer than `wait_max`: one that is due later than
    /// that was, by a clock that has gone back since, and is due.
    ///
    /// # Errors
    /// Only the common ones.
    async fn claim(&self, now: Timestamp, lease: Duration, wait_max: Duration, max: usize) -> Result<Vec<Delivery>>;

    /// Forgets a message that was delivered, or that nobody will ever take.
    ///
    /// # Errors
    /// Only the common ones.
    async fn settle(&self, delivery: &str) -> Result<()>;

    /// Puts a message that was not delivered off until `due`.
    ///
    /// # Errors
    /// Only the common ones.
    async fn defer(&self, delivery: &str, due: Timestamp) -> Result<()>;
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl<T: WebhookStore + ?Sized> WebhookStore for Arc<T> {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                (**self).$name($($arg),*).await
            })*
        }
    };
}

forward! {
    create(webhook: CreateWebhook) -> Webhook;
    webhook(id: &str) -> Webhook;
    list(page: &PageRequest) -> Page<Webhook>;
    update(id: &str, update: WebhookUpdate) -> Webhook;
    delete(id: &str) -> ();
    secret(id: &str) -> Option<String>;
    claim(now: Timestamp, lease: Duration, wait_max: Duration, max: usize) -> Vec<Delivery>;
    settle(delivery: &str) -> ();
    defer(delivery: &str, due: Timestamp) -> ();
}
