//! Where data and models came from, in OpenLineage's words: a run of a job reads and writes
//! datasets.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, error::Result};

/// A dataset as OpenLineage names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dataset {
    /// Where it lives, such as `file` or `s3://bucket`.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// Version read or written, when known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Dataset {
    /// A dataset of no particular version.
    #[must_use]
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into(), version: None }
    }

    /// The same at a version.
    #[must_use]
    pub fn at(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum LineageState {
    /// Began.
    Start,
    /// Ended well.
    Complete,
    /// Was given up.
    Abort,
    /// Ended in an error.
    Fail,
}

/// One step in the life of a run of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LineageEvent {
    /// When.
    pub at: Timestamp,
    /// Which step.
    pub state: LineageState,
    /// Id of the run, the same from start to end.
    pub run: String,
    /// Job the run belongs to, such as `features.materialize`.
    pub job: String,
    /// What it read.
    #[serde(default)]
    pub inputs: Vec<Dataset>,
    /// What it wrote.
    #[serde(default)]
    pub outputs: Vec<Dataset>,
    /// Further facts: rows, digests.
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

/// Receives lineage.
#[async_trait]
pub trait LineageSink: fmt::Debug + Send + Sync + 'static {
    /// Records one event. Repeating an event changes nothing.
    ///
    /// # Errors
    /// `Unavailable` when the sink cannot be reached. Lineage is derived data: callers report the
    /// error but do not undo their work.
    async fn emit(&self, event: LineageEvent) -> Result<()>;
}

#[async_trait]
impl<T: LineageSink + ?Sized> LineageSink for Arc<T> {
    async fn emit(&self, event: LineageEvent) -> Result<()> {
        (**self).emit(event).await
    }
}
