//! Ports that remember what they were given, and ports that fail when told to.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;

use crate::{
    error::{Error, Result},
    event::Event,
    ports::{
        AuditEntry, AuditSink, Delivery, EventHandler, LineageEvent, LineageSink, PredictionBatch, PredictionSink,
    },
};

/// Keeps everything it receives in memory.
#[derive(Debug, Default)]
pub struct RecordingSink {
    audit: Mutex<Vec<AuditEntry>>,
    lineage: Mutex<Vec<LineageEvent>>,
    predictions: Mutex<Vec<PredictionBatch>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RecordingSink {
    /// The audit entries so far.
    #[must_use]
    pub fn audit_entries(&self) -> Vec<AuditEntry> {
        lock(&self.audit).clone()
    }

    /// The lineage events so far.
    #[must_use]
    pub fn lineage_events(&self) -> Vec<LineageEvent> {
        lock(&self.lineage).clone()
    }

    /// The prediction batches so far.
    #[must_use]
    pub fn predictions(&self) -> Vec<PredictionBatch> {
        lock(&self.predictions).clone()
    }
}

#[async_trait]
impl AuditSink for RecordingSink {
    async fn append(&self, entry: AuditEntry) -> Result<()> {
        lock(&self.audit).push(entry);
        Ok(())
    }
}

#[async_trait]
impl LineageSink for RecordingSink {
    async fn emit(&self, event: LineageEvent) -> Result<()> {
        lock(&self.lineage).push(event);
        Ok(())
    }
}

#[async_trait]
impl PredictionSink for RecordingSink {
    fn append(&self, batch: PredictionBatch) -> Delivery {
        lock(&self.predictions).push(batch);
        Delivery::Accepted
    }
    async fn flush(&self) -> Result<()> {
        Ok(())
    }
    fn dropped(&self) -> u64 {
        0
    }
}

/// Keeps every event it handles.
#[derive(Debug, Default)]
pub struct RecordingHandler {
    events: Mutex<Vec<Event>>,
}

impl RecordingHandler {
    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        lock(&self.events).clone()
    }
}

#[async_trait]
impl EventHandler for RecordingHandler {
    async fn handle(&self, event: &Event) -> Result<()> {
        lock(&self.events).push(event.clone());
        Ok(())
    }
}

/// Passes calls on to `inner` until `budget` of them have succeeded, then fails each as
/// `Unavailable`; prediction batches are shed instead.
#[derive(Debug)]
pub struct FaultySink<S> {
    inner: S,
    budget: AtomicU64,
    dropped: AtomicU64,
}

impl<S> FaultySink<S> {
    /// Fails after `budget` calls.
    #[must_use]
    pub fn new(inner: S, budget: u64) -> Self {
        Self { inner, budget: AtomicU64::new(budget), dropped: AtomicU64::new(0) }
    }

    fn spend(&self) -> Result<()> {
        let spent = self.budget.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        spent.map(drop).map_err(|_| Error::unavailable("sink is out of order, as the test asked"))
    }
}

#[async_trait]
impl<S: AuditSink> AuditSink for FaultySink<S> {
    async fn append(&self, entry: AuditEntry) -> Result<()> {
        self.spend()?;
        self.inner.append(entry).await
    }
}

#[async_trait]
impl<S: LineageSink> LineageSink for FaultySink<S> {
    async fn emit(&self, event: LineageEvent) -> Result<()> {
        self.spend()?;
        self.inner.emit(event).await
    }
}

#[async_trait]
impl<S: PredictionSink> PredictionSink for FaultySink<S> {
    fn append(&self, batch: PredictionBatch) -> Delivery {
        match self.spend() {
            Ok(()) => self.inner.append(batch),
            Err(_) => {
                self.dropped.fetch_add(1, Ordering::SeqCst);
                Delivery::Dropped
            }
        }
    }
    async fn flush(&self) -> Result<()> {
        self.inner.flush().await
    }
    fn dropped(&self) -> u64 {
        self.inner.dropped() + self.dropped.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        clock::Timestamp,
        ports::{Action, Principal, Resource},
    };

    #[tokio::test]
    async fn a_faulty_sink_works_until_its_budget_is_spent() {
        let sink = FaultySink::new(RecordingSink::default(), 1);
        let entry = AuditEntry {
            at: Timestamp::default(),
            principal: Principal::new("ana"),
            action: Action::Promote,
            resource: Resource::new("model", "fraud"),
            details: BTreeMap::new(),
        };
        AuditSink::append(&sink, entry.clone()).await.unwrap();
        assert!(AuditSink::append(&sink, entry).await.is_err());
        assert_eq!(sink.inner.audit_entries().len(), 1);
    }
}
