//! One worker for each sink: takes the oldest pending notification, sends it until the sink took
//! it or the budget is spent, and goes on to the next.
//!
//! Invariant: notifications reach a sink in the order in which they were made.

use std::{sync::Arc, time::Duration};

use mlops_core::{Error, Result, Retry};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Shared, settings::chance};
use crate::alert::{
    labels::Labels,
    notification::Notification,
    sink::{AlertSink, retry_after_ms},
};

#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    sink: Arc<dyn AlertSink>,
    index: usize,
}

impl Worker {
    pub(super) fn all(shared: &Arc<Shared>) -> impl Iterator<Item = Self> {
        let sinks = shared.sinks.iter().enumerate();
        sinks.map(|(index, sink)| Self { shared: Arc::clone(shared), sink: Arc::clone(sink), index })
    }

    /// Delivers until the center stops.
    pub(super) async fn run(self) {
        let mut resend_at = self.next_resend();
        while !self.shared.stopping() {
            let name = self.sink.name().to_owned();
            match self.shared.with_ledger(move |ledger| Ok(ledger.next(&name))).await {
                Ok(Some((id, notification))) => self.deliver(id, &notification).await,
                Ok(None) => self.sleep_until(resend_at).await,
                Err(error) => {
                    tracing::error!(sink = self.sink.name(), error = %error.chain(), "pending alerts cannot be looked up");
                    self.pause().await;
                }
            }
            if resend_at.is_some_and(|at| at <= Instant::now()) {
                self.resend().await;
                resend_at = self.next_resend();
            }
        }
    }

    fn next_resend(&self) -> Option<Instant> {
        self.sink.capabilities().resend.and_then(|every| Instant::now().checked_add(every))
    }

    /// Until woken, or until a moment.
    async fn sleep_until(&self, moment: Option<Instant>) {
        let Some(wake) = self.shared.wakes.get(self.index) else { return };
        match moment {
            // Whichever comes first; both lead on.
            Some(moment) => drop(timeout_at(moment, wake.notified()).await),
            None => wake.notified().await,
        }
    }

    /// One tick, so that a broken journal does not make a busy loop.
    async fn pause(&self) {
        self.wait(Duration::from_millis(self.shared.settings.tick_ms)).await;
    }

    /// The whole duration, unless the center stops: news does not cut a wait between attempts short.
    async fn wait(&self, duration: Duration) {
        let Some(end) = Instant::now().checked_add(duration) else { return };
        while Instant::now() < end && !self.shared.stopping() {
            self.sleep_until(Some(end)).await;
        }
    }

    async fn send(&self, notification: &Notification) -> Result<()> {
        let limit = Duration::from_millis(self.shared.settings.send_timeout_ms);
        let sending = self.sink.send(notification, self.shared.clock.now());
        timeout(limit, sending).await.unwrap_or_else(|_| {
            Err(Error::deadline_exceeded(format!("sink {:?} did not answer within {limit:?}", self.sink.name())))
        })
    }

    fn count(&self, outcome: &str) {
        let labels = [("sink", self.sink.name()), ("outcome", outcome)];
        self.shared.meter.count("mlops_alert_notifications_total", &labels, 1);
    }

    async fn deliver(&self, id: u64, notification: &Notification) {
        let retry = &self.shared.settings.retry;
        for attempt in 1..=retry.attempts_max {
            let error = match self.send(notification).await {
                Ok(()) => {
                    self.count("delivered");
                    return self.settle(id, None).await;
                }
                Err(error) => error,
            };
            if attempt == retry.attempts_max || error.retry() == Retry::Never {
                self.count("dead");
                tracing::error!(sink = self.sink.name(), attempt, error = %error.chain(), "an alert became a dead letter");
                return self.settle(id, Some(error)).await;
            }
            self.count("failed");
            tracing::warn!(sink = self.sink.name(), attempt, error = %error.chain(), "an alert could not be delivered yet");
            self.wait(retry.wait(attempt, chance(self.shared.seed, id, attempt), retry_after_ms(&error))).await;
            if self.shared.stopping() {
                return;
            }
        }
    }

    async fn settle(&self, id: u64, error: Option<Error>) {
        let (name, now) = (self.sink.name().to_owned(), self.shared.clock.now());
        let settled = self.shared.with_ledger(move |ledger| match error {
            None => ledger.settle(id, &name),
            Some(error) => ledger.bury(id, &name, &error, now),
        });
        if let Err(error) = settled.await {
            tracing::error!(sink = self.sink.name(), error = %error.chain(), "a delivery could not be written down; it will be repeated");
            self.pause().await;
        }
    }

    /// Tells the sink of all that fires; what fails is repeated next time.
    async fn resend(&self) {
        let alerts = match self.shared.with_ledger(|ledger| Ok(ledger.told_firing())).await {
            Ok(alerts) if !alerts.is_empty() => alerts,
            _ => return,
        };
        let reminder = Notification {
            receiver: String::new(),
            group_labels: Labels::default(),
            alerts,
            truncated: 0,
            at: self.shared.clock.now(),
            external_url: String::new(),
        };
        if let Err(error) = self.send(&reminder).await {
            tracing::warn!(sink = self.sink.name(), error = %error.chain(), "alerts that fire could not be sent again");
        }
    }
}
