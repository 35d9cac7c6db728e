//! Logging into one tracked run.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{clock::Timestamp, error::Result, id::RunId};

/// One value of a metric. NaN and infinities are legal values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Name, such as `auc`.
    pub key: String,
    /// Value.
    pub value: f64,
    /// When it was measured.
    pub timestamp: Timestamp,
    /// Training step, epoch or trial; zero when there is none.
    pub step: i64,
}

/// How a run ended, or that it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RunStatus {
    /// In progress.
    Running,
    /// Waiting to start.
    Scheduled,
    /// Ended as hoped.
    Finished,
    /// Ended by an error.
    Failed,
    /// Ended by someone.
    Killed,
}

impl RunStatus {
    /// Whether the run has ended with it, for good or ill.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Killed)
    }
}

/// The writing side of one run, as a trainer sees it.
///
/// Writes are idempotent: repeating a call after an error or a restart leaves the same state.
#[async_trait]
pub trait RunLogger: fmt::Debug + Send + Sync + 'static {
    /// The run that is written to.
    fn run_id(&self) -> &RunId;

    /// Sets parameters; a parameter never changes once set.
    ///
    /// # Errors
    /// `InvalidArgument` when a parameter exists with another value; nothing is written then.
    async fn log_params(&self, params: &[(String, String)]) -> Result<()>;

    /// Appends metric values, all or none.
    ///
    /// # Errors
    /// `FailedPrecondition` when the run is deleted, `Unavailable` when the store is.
    async fn log_metrics(&self, metrics: &[Metric]) -> Result<()>;

    /// Sets tags; a later value replaces an earlier one.
    ///
    /// # Errors
    /// As [`RunLogger::log_metrics`].
    async fn set_tags(&self, tags: &[(String, String)]) -> Result<()>;

    /// Stores a file under `path` (relative, `/`-separated) in the run's artifacts.
    ///
    /// # Errors
    /// `InvalidArgument` when the path leaves the run's directory.
    async fn log_artifact(&self, path: &str, bytes: Bytes) -> Result<()>;

    /// Ends the run.
    ///
    /// # Errors
    /// As [`RunLogger::log_metrics`].
    async fn finish(&self, status: RunStatus) -> Result<()>;
}

#[async_trait]
impl<T: RunLogger + ?Sized> RunLogger for Arc<T> {
    fn run_id(&self) -> &RunId {
        (**self).run_id()
    }
    async fn log_params(&self, params: &[(String, String)]) -> Result<()> {
        (**self).log_params(params).await
    }
    async fn log_metrics(&self, metrics: &[Metric]) -> Result<()> {
        (**self).log_metrics(metrics).await
    }
    async fn set_tags(&self, tags: &[(String, String)]) -> Result<()> {
        (**self).set_tags(tags).await
    }
    async fn log_artifact(&self, path: &str, bytes: Bytes) -> Result<()> {
        (**self).log_artifact(path, bytes).await
    }
    async fn finish(&self, status: RunStatus) -> Result<()> {
        (**self).finish(status).await
    }
}
