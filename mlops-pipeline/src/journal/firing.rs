//! Runs that are due: words and port.
//!
//! Invariant: a firing is kept before it is run and settled after its run has ended, and its run
//! key is unique, so a restart neither loses nor doubles one.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunState;

/// What asked for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FiringSource {
    /// A schedule.
    Schedule,
    /// A trigger.
    Trigger,
}

/// A run that is due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Firing {
    /// Key of the run.
    pub run_key: String,
    /// The DAG to run.
    pub dag: String,
    /// When it was due.
    pub due_at: Timestamp,
    /// What asked for it.
    pub source: FiringSource,
    /// Parameters of the run.
    pub params: Value,
    /// How the run ended; none while it is outstanding.
    pub outcome: Option<RunState>,
}

/// Keeps firings and how far each schedule has been looked at.
#[async_trait]
pub trait FiringJournal: fmt::Debug + Send + Sync + 'static {
    /// The time up to which (inclusive) the firings of a DAG's schedule are in the journal.
    ///
    /// # Errors
    /// `Unavailable` when the journal cannot be read.
    async fn cursor(&self, dag: &str) -> Result<Option<Timestamp>>;

    /// Moves the cursor from `from` to `to` and adds the firings in between, all or none; durable
    /// when it returns. False, and nothing changed, when the cursor is no longer at `from`: another
    /// process was faster. A firing whose run key is known already is left as it is.
    ///
    /// # Errors
    /// `Unavailable` when the journal cannot be written.
    async fn advance(&self, dag: &str, from: Option<Timestamp>, to: Timestamp, firings: &[Firing]) -> Result<bool>;

    /// The outstanding firings of these DAGs, earliest due first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable` when the journal cannot be read.
    async fn outstanding(&self, dags: &[String], limit: u32) -> Result<Vec<Firing>>;

    /// Keeps how a firing's run ended.
    ///
    /// # Errors
    /// `NotFound` when there is no such firing.
    async fn settle(&self, run_key: &str, outcome: RunState) -> Result<()>;

    /// The firings of a DAG, latest due first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable` when the journal cannot be read.
    async fn firings(&self, dag: &str, limit: u32) -> Result<Vec<Firing>>;
}

#[async_trait]
impl<T: FiringJournal + ?Sized> FiringJournal for Arc<T> {
    async fn cursor(&self, dag: &str) -> Result<Option<Timestamp>> {
        (**self).cursor(dag).await
    }
    async fn advance(&self, dag: &str, from: Option<Timestamp>, to: Timestamp, firings: &[Firing]) -> Result<bool> {
        (**self).advance(dag, from, to, firings).await
    }
    async fn outstanding(&self, dags: &[String], limit: u32) -> Result<Vec<Firing>> {
        (**self).outstanding(dags, limit).await
    }
    async fn settle(&self, run_key: &str, outcome: RunState) -> Result<()> {
        (**self).settle(run_key, outcome).await
    }
    async fn firings(&self, dag: &str, limit: u32) -> Result<Vec<Firing>> {
        (**self).firings(dag, limit).await
    }
}
