//! Delivers what waits in the outbox.
//!
//! Invariant: a message is settled only after the receiver took it, refused it for good, or the last attempt failed; so it
//! is delivered at least once, and a worker that dies leaves it to the next when its lease has passed.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use mlops_core::{Clock, Error, ErrorKind, Result, Retry, SystemClock, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    DELIVERY_ID_HEADER, Delivery, SIGNATURE_HEADER, TIMESTAMP_HEADER, WebhookEvent, WebhookStore, signature::sign,
};

/// How far the clocks of workers may be apart.
const CLOCKS_APART: Duration = Duration::from_secs(60);

/// One post.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookRequest {
    /// Where to.
    pub url: String,
    /// Headers beside the content type, which is JSON.
    pub headers: Vec<(&'static str, String)>,
    /// The text.
    pub body: String,
}

/// Shows neither address nor signature.
impl fmt::Debug for WebhookRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookRequest").field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The beginning of the text.
    pub body: String,
}

/// Posts messages.
#[async_trait]
pub trait WebhookSender: fmt::Debug + Send + Sync + 'static {
    /// Posts once, without following redirects, in bounded time.
    ///
    /// # Errors
    /// `PermissionDenied` or `InvalidArgument` when the target is not allowed; `Unavailable` or `DeadlineExceeded` when
    /// there is no answer. No error says the address.
    async fn send(&self, request: WebhookRequest) -> Result<WebhookAnswer>;
}

#[async_trait]
impl<T: WebhookSender + ?Sized> WebhookSender for Arc<T> {
    async fn send(&self, request: WebhookRequest) -> Result<WebhookAnswer> {
        (**self).send(request).await
    }
}

/// How patiently messages are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebhookSettings {
    /// Most attempts, 1 to 100.
    pub attempts_max: u32,
    /// Wait before the second attempt, in milliseconds; it doubles from attempt to attempt.
    pub backoff_ms: u64,
    /// Longest wait between attempts, in milliseconds.
    pub backoff_ms_max: u64,
    /// How long a claimed message is left alone, in milliseconds; longer than the sender's time-out.
    pub lease_ms: u64,
    /// Most messages claimed at once, 1 to 1,000.
    pub batch_max: usize,
    /// Most posts at the same time, 1 to 64.
    pub concurrent_max: usize,
    /// Wait between looks at an empty outbox, in milliseconds, at least 1.
    pub poll_ms: u64,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            attempts_max: 10,
            backoff_ms: 1_000,
            backoff_ms_max: 600_000,
            lease_ms: 60_000,
            batch_max: 64,
            concurrent_max: 8,
            poll_ms: 500,
        }
    }
}

impl WebhookSettings {
    fn check(&self) -> Result<()> {
        let faults: Vec<&str> = [
            (!(1..=100).contains(&self.attempts_max), "attempts_max must be from 1 to 100"),
            (self.backoff_ms_max < self.backoff_ms, "backoff_ms_max must be at least backoff_ms"),
            (self.lease_ms == 0, "lease_ms must be at least 1"),
            (!(1..=1_000).contains(&self.batch_max), "batch_max must be from 1 to 1000"),
            (!(1..=64).contains(&self.concurrent_max), "concurrent_max must be from 1 to 64"),
            (self.poll_ms == 0, "poll_ms must be at least 1"),
        ]
        .into_iter()
        .filter_map(|(wrong, fault)| wrong.then_some(fault))
        .collect();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid_argument(format!("webhook settings: {}", faults.join("; ")))),
        }
    }
}

/// What became of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Taken by their receivers.
    pub sent: u64,
    /// To be tried again.
    pub deferred: u64,
    /// Given up.
    pub dropped: u64,
}

/// Delivers messages until it is told to stop.
#[derive(Debug)]
pub struct WebhookWorker {
    store: Arc<dyn WebhookStore>,
    sender: Arc<dyn WebhookSender>,
    clock: Arc<dyn Clock>,
    settings: WebhookSettings,
}

impl WebhookWorker {
    /// Delivers what waits in a store.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting that is out of range.
    pub fn new(
        store: Arc<dyn WebhookStore>,
        sender: Arc<dyn WebhookSender>,
        settings: WebhookSettings,
    ) -> Result<Self> {
        settings.check()?;
        Ok(Self { store, sender, clock: Arc::new(SystemClock::new()), settings })
    }

    /// Tells the time. Default: the clock of the operating system.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The store whose messages it delivers.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn WebhookStore> {
        &self.store
    }

    /// Delivers until `stop` is ready; what is on its way then is finished first. An outbox that cannot be read is tried
    /// again.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let busy = match self.deliver_due().await {
                Ok(delivered) => delivered != Delivered::default(),
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "the outbox of webhooks cannot be read");
                    false
                }
            };
            let pause = if busy { Duration::ZERO } else { Duration::from_millis(self.settings.poll_ms) };
            tokio::select! {
                biased;
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tries every message that is due now, up to a batch.
    ///
    /// # Errors
    /// `Unavailable` when the outbox cannot be read.
    pub async fn deliver_due(&self) -> Result<Delivered> {
        let lease = Duration::from_millis(self.settings.lease_ms);
        // Far beyond what any worker waits, whatever its settings and its clock: what is due later is of a clock that was
        // set back.
        let wait_max = lease.max(Duration::from_millis(self.settings.backoff_ms_max)).saturating_mul(2);
        let wait_max = wait_max.saturating_add(CLOCKS_APART);
        let due = self.store.claim(self.clock.now(), lease, wait_max, self.settings.batch_max).await?;
        let outcomes = stream::iter(due.into_iter().map(|delivery| self.deliver(delivery)));
        let outcomes: Vec<Result<Delivered>> = outcomes.buffer_unordered(self.settings.concurrent_max).collect().await;
        outcomes.into_iter().try_fold(Delivered::default(), |sum, outcome| {
            let one = outcome?;
            Ok(Delivered {
                sent: sum.sent + one.sent,
                deferred: sum.deferred + one.deferred,
                dropped: sum.dropped + one.dropped,
            })
        })
    }

    async fn deliver(&self, delivery: Delivery) -> Result<Delivered> {
        let why = match self.post(&delivery.webhook.id, &delivery.webhook.url, &delivery.id, &delivery.body).await {
            Ok(answer) => match refusal(&answer) {
                None => {
                    self.store.settle(&delivery.id).await?;
                    return Ok(Delivered { sent: 1, ..Delivered::default() });
                }
                Some(error) => error,
            },
            Err(error) => error,
        };
        let tried = delivery.attempts + 1;
        if why.retry() == Retry::AfterBackoff && tried < self.settings.attempts_max {
            self.store.defer(&delivery.id, self.next_attempt(tried)).await?;
            return Ok(Delivered { deferred: 1, ..Delivered::default() });
        }
        let (webhook, event) = (&delivery.webhook.id, &delivery.event);
        tracing::warn!(webhook, %event, tried, error = %why.message(), "a webhook message is given up");
        self.store.settle(&delivery.id).await?;
        Ok(Delivered { dropped: 1, ..Delivered::default() })
    }

    fn next_attempt(&self, tried: u32) -> Timestamp {
        let doubled = self.settings.backoff_ms.saturating_mul(1_u64 << (tried - 1).min(40));
        self.clock.now() + Duration::from_millis(doubled.min(self.settings.backoff_ms_max))
    }

    async fn post(&self, webhook: &str, url: &str, delivery: &str, body: &str) -> Result<WebhookAnswer> {
        let timestamp = self.clock.now().as_millis().div_euclid(1_000);
        let mut headers = vec![(DELIVERY_ID_HEADER, delivery.to_owned()), (TIMESTAMP_HEADER, timestamp.to_string())];
        if let Some(secret) = self.store.secret(webhook).await? {
            headers.push((SIGNATURE_HEADER, sign(&secret, delivery, timestamp, body)?));
        }
        self.sender.send(WebhookRequest { url: url.to_owned(), headers, body: body.to_owned() }).await
    }

    /// Posts an example of an event, by default of the first that the webhook is told, once.
    ///
    /// # Errors
    /// `NotFound` when there is no such webhook; else as [`WebhookSender::send`].
    pub async fn test(&self, id: &str, event: Option<&WebhookEvent>) -> Result<WebhookAnswer> {
        let webhook = self.store.webhook(id).await?;
        let event = event.or(webhook.events.first());
        let event = event.ok_or_else(|| Error::failed_precondition("the webhook has no events"))?;
        let now = self.clock.now();
        self.post(id, &webhook.url, &format!("test-{}", now.as_micros()), &event.body(now, event.example())).await
    }
}

/// Why an answer is no success: 408, 425, 429 and 5xx may pass, others will not.
fn refusal(answer: &WebhookAnswer) -> Option<Error> {
    let kind = match answer.status {
        200..300 => return None,
        408 | 425 | 500.. => ErrorKind::Unavailable,
        429 => ErrorKind::ResourceExhausted,
        _ => ErrorKind::FailedPrecondition,
    };
    Some(Error::new(kind, format!("the receiver answered {}", answer.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let retry = |status| refusal(&WebhookAnswer { status, body: String::new() }).map(|error| error.retry());
        assert_eq!((retry(200), retry(204)), (None, None));
        for status in [408, 425, 429, 500, 503] {
            assert_eq!(retry(status), Some(Retry::AfterBackoff), "{status}");
        }
        for status in [100, 301, 400, 401, 404, 410] {
            assert_eq!(retry(status), Some(Retry::Never), "{status}");
        }
    }

    #[test]
    fn settings_name_every_fault() {
        let wrong = WebhookSettings { attempts_max: 0, poll_ms: 0, ..WebhookSettings::default() };
        let error = wrong.check().unwrap_err();
        assert!(error.message().contains("attempts_max") && error.message().contains("poll_ms"), "{error}");
        WebhookSettings::default().check().unwrap();
    }
}
