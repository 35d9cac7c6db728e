//! What triggers saw and decided: port.
//!
//! Invariant: an event is decided upon once per trigger. The decision, and the firing that follows
//! from it, are one transaction; a repeated event gets the first decision again.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Digest, FactKind, Result, Timestamp};

use super::Firing;
use crate::trigger::{Decision, DecisionRecord};

/// An event as a trigger sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The trigger.
    pub trigger: String,
    /// What makes the event one and the same when it is delivered again.
    pub event_key: Digest,
    /// When it happened.
    pub at: Timestamp,
    /// What kind of fact it is.
    pub kind: FactKind,
    /// Whether it counts as evidence.
    pub evidence: bool,
    /// What it is about.
    pub topics: Vec<String>,
    /// How many earlier events the decision looks at.
    pub events_max: u32,
    /// Since when (exclusive) earlier firings matter.
    pub fired_since: Timestamp,
}

/// What a trigger saw and did before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TriggerHistory {
    /// The firings since [`Sighting::fired_since`], in no order.
    pub firings: Vec<PastFiring>,
    /// The latest events after it last fired and not after the one at hand, newest first, at most
    /// [`Sighting::events_max`]: when, and whether they were evidence.
    pub events: Vec<(Timestamp, bool)>,
}

/// That a trigger fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastFiring {
    /// When.
    pub at: Timestamp,
    /// What the event was about that made it fire.
    pub topics: Vec<String>,
}

/// What follows from a sighting.
pub type Rule<'a> = dyn Fn(&TriggerHistory) -> (Decision, Option<Firing>) + Send + Sync + 'a;

/// Keeps what triggers decided.
#[async_trait]
pub trait DecisionJournal: fmt::Debug + Send + Sync + 'static {
    /// Decides by `rule` and keeps the decision together with the firing it asks for; durable when
    /// it returns. An event that this trigger has decided upon before gets that decision again.
    ///
    /// `rule` is a pure function; it may be called again when another process was faster.
    ///
    /// # Errors
    /// `Unavailable` when the journal cannot be written; nothing was decided then.
    async fn decide(&self, sighting: &Sighting, rule: &Rule<'_>) -> Result<DecisionRecord>;

    /// Remembers that a decision to fire was announced.
    ///
    /// # Errors
    /// `NotFound` when there is no such decision.
    async fn mark_announced(&self, trigger: &str, event_key: &Digest) -> Result<()>;

    /// Decisions to fire that were not announced yet, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable` when the journal cannot be read.
    async fn unannounced(&self, trigger: &str, limit: u32) -> Result<Vec<DecisionRecord>>;

    /// The decisions of a trigger, newest event first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable` when the journal cannot be read.
    async fn decisions(&self, trigger: &str, limit: u32) -> Result<Vec<DecisionRecord>>;
}

#[async_trait]
impl<T: DecisionJournal + ?Sized> DecisionJournal for Arc<T> {
    async fn decide(&self, sighting: &Sighting, rule: &Rule<'_>) -> Result<DecisionRecord> {
        (**self).decide(sighting, rule).await
    }
    async fn mark_announced(&self, trigger: &str, event_key: &Digest) -> Result<()> {
        (**self).mark_announced(trigger, event_key).await
    }
    async fn unannounced(&self, trigger: &str, limit: u32) -> Result<Vec<DecisionRecord>> {
        (**self).unannounced(trigger, limit).await
    }
    async fn decisions(&self, trigger: &str, limit: u32) -> Result<Vec<DecisionRecord>> {
        (**self).decisions(trigger, limit).await
    }
}
