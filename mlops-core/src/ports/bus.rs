//! Announcing events, and the bus for everything in one process.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{
    error::Result,
    event::{Event, FactKind},
};

/// Which events a subscriber wants.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    kinds: Option<Vec<FactKind>>,
}

impl EventFilter {
    /// Every event.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only events of these kinds.
    #[must_use]
    pub fn kinds(kinds: impl Into<Vec<FactKind>>) -> Self {
        Self { kinds: Some(kinds.into()) }
    }

    /// Whether `event` is wanted.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.fact.kind()))
    }
}

/// Reacts to events.
#[async_trait]
pub trait EventHandler: fmt::Debug + Send + Sync + 'static {
    /// Takes one event. An event may be delivered again after an error or restart.
    ///
    /// # Errors
    /// Whatever kept the handler from taking it; the publisher learns of it.
    async fn handle(&self, event: &Event) -> Result<()>;
}

/// Carries events from whoever made a fact durable to whoever cares.
#[async_trait]
pub trait EventBus: fmt::Debug + Send + Sync + 'static {
    /// Delivers `event` to the subscribers whose filter matches. The fact is durable already; an
    /// error here never undoes it.
    ///
    /// # Errors
    /// The first error of a handler, after all handlers were called; `Unavailable` when a remote
    /// bus cannot be reached.
    async fn publish(&self, event: Event) -> Result<()>;

    /// Adds a subscriber; it sees events published from now on.
    fn subscribe(&self, filter: EventFilter, handler: Arc<dyn EventHandler>);
}

#[async_trait]
impl<T: EventBus + ?Sized> EventBus for Arc<T> {
    async fn publish(&self, event: Event) -> Result<()> {
        (**self).publish(event).await
    }
    fn subscribe(&self, filter: EventFilter, handler: Arc<dyn EventHandler>) {
        (**self).subscribe(filter, handler);
    }
}

/// A bus within one process: `publish` calls the handlers one after another, in order of
/// subscription, and returns when all have seen the event.
#[derive(Debug, Default)]
pub struct InProcessBus {
    subscribers: Mutex<Vec<(EventFilter, Arc<dyn EventHandler>)>>,
}

#[async_trait]
impl EventBus for InProcessBus {
    async fn publish(&self, event: Event) -> Result<()> {
        let wanted: Vec<_> = {
            let subscribers = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            let matching = subscribers.iter().filter(|(filter, _)| filter.matches(&event));
            matching.map(|(_, handler)| Arc::clone(handler)).collect()
        };
        let mut first = Ok(());
        for handler in wanted {
            let outcome = handler.handle(&event).await;
            if first.is_ok() {
                first = outcome;
            }
        }
        first
    }

    fn subscribe(&self, filter: EventFilter, handler: Arc<dyn EventHandler>) {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner).push((filter, handler));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Timestamp, error::Error, event::Fact};

    #[derive(Debug, Default)]
    struct Seen(Mutex<Vec<FactKind>>, bool);

    #[async_trait]
    impl EventHandler for Seen {
        async fn handle(&self, event: &Event) -> Result<()> {
            self.0.lock().unwrap().push(event.fact.kind());
            if self.1 { Err(Error::unavailable("handler down")) } else { Ok(()) }
        }
    }

    #[tokio::test]
    async fn all_matching_handlers_see_the_event_even_after_one_fails() {
        let bus = InProcessBus::default();
        let (failing, other) = (Arc::new(Seen(Mutex::default(), true)), Arc::new(Seen::default()));
        bus.subscribe(EventFilter::all(), Arc::<Seen>::clone(&failing));
        bus.subscribe(EventFilter::kinds([FactKind::AlertRaised]), Arc::<Seen>::clone(&other));
        let alert = Fact::AlertRaised { alert: "a".into(), message: "m".into() };
        let error = bus.publish(Event::new(Timestamp::default(), alert)).await.unwrap_err();
        assert_eq!(error.message(), "handler down");
        let finished = Fact::PipelineFinished { pipeline: "p".into(), run: "1".into(), succeeded: true };
        bus.publish(Event::new(Timestamp::default(), finished)).await.unwrap_err();
        assert_eq!(*failing.0.lock().unwrap(), [FactKind::AlertRaised, FactKind::PipelineFinished]);
        assert_eq!(*other.0.lock().unwrap(), [FactKind::AlertRaised]);
    }
}
