//! Webhooks: other systems are told what changes in the registry.
//!
//! A message is written in the transaction that makes the change ([`SqlWebhookStore`] is a
//! [`ChangeSink`](crate::registry::ChangeSink) of the registry) and delivered by a [`WebhookWorker`] at least once, with
//! the same delivery id each time, signed as MLflow signs.

mod event;
#[cfg(feature = "webhooks-http")]
mod http;
mod record;
mod secret;
mod signature;
mod sql;
mod store;
mod target;
mod worker;

pub use event::WebhookEvent;
#[cfg(feature = "webhooks-http")]
pub use http::HttpWebhookSender;
pub use record::{CreateWebhook, Webhook, WebhookUpdate};
pub use signature::{DELIVERY_ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
pub use sql::{SqlWebhookStore, SqlWebhookStoreBuilder};
pub use store::{Delivery, WebhookStore};
pub use target::{WebhookTargets, is_public};
pub use worker::{Delivered, WebhookAnswer, WebhookRequest, WebhookSender, WebhookSettings, WebhookWorker};
