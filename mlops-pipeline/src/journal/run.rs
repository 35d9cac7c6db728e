//! Runs and their tasks: words and port.
//!
//! Invariant: at any time at most one [`Lease`] of a run is valid. Each opening that succeeds
//! raises the epoch, and every write carries its epoch, so a process that was thought dead and
//! wakes up can no longer write.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{Digest, Result, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Begun and not ended; if nobody holds a valid lease, its process died.
    Running,
    /// Stopped on request; goes on when it is run again.
    Cancelled,
    /// Ended, every task succeeded.
    Succeeded,
    /// Ended, at least one task failed.
    Failed,
}

impl RunState {
    /// Whether the run has ended for good.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Not begun, or to be begun again after an interruption.
    Pending,
    /// An attempt is under way.
    Running,
    /// Failed and waiting for its next attempt.
    RetryWait,
    /// Ended with an output.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Never run because a task it depends on failed.
    Skipped,
}

impl TaskState {
    /// Whether the task has ended for good.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped)
    }
}

/// What identifies a run when it is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSpec {
    /// The key under which it is begun and resumed.
    pub key: String,
    /// The DAG.
    pub dag: String,
    /// Shape of the DAG.
    pub graph: Digest,
    /// Parameters of the run.
    pub params: Value,
    /// Names of the tasks in the order of the DAG.
    pub tasks: Vec<String>,
}

/// A run as the journal knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The key under which it is begun and resumed.
    pub key: String,
    /// The DAG.
    pub dag: String,
    /// Shape of the DAG.
    pub graph: Digest,
    /// Parameters of the run.
    pub params: Value,
    /// How far it has come.
    pub state: RunState,
    /// Who works on it.
    pub owner: Option<String>,
    /// Until when the owner holds it, unless renewed.
    pub lease_until: Option<Timestamp>,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it ended or was cancelled.
    pub ended_at: Option<Timestamp>,
}

/// A task of a run as the journal knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Name within the DAG.
    pub task: String,
    /// How far it has come.
    pub state: TaskState,
    /// How often it was begun.
    pub attempt: u32,
    /// How many attempts ended in an error.
    pub failures: u32,
    /// How many attempts ended with the process.
    pub interruptions: u32,
    /// When the next attempt may begin.
    pub not_before: Option<Timestamp>,
    /// When the latest attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it returned.
    pub output: Option<Value>,
    /// The latest error, or why it was skipped.
    pub error: Option<String>,
}

impl TaskRecord {
    /// A task that was never begun.
    #[must_use]
    pub fn pending(task: impl Into<String>) -> Self {
        Self {
            task: task.into(),
            state: TaskState::Pending,
            attempt: 0,
            failures: 0,
            interruptions: 0,
            not_before: None,
            started_at: None,
            ended_at: None,
            output: None,
            error: None,
        }
    }

    /// From the beginning of the latest attempt to the end.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        Some(self.ended_at?.duration_since(self.started_at?))
    }
}

/// A wish to work on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who wishes; no two living claimants have the same name.
    pub owner: String,
    /// The time.
    pub now: Timestamp,
    /// How long the lease is to last unless renewed.
    pub ttl: Duration,
}

/// The right to work on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The run.
    pub run_key: String,
    /// Who holds it.
    pub owner: String,
    /// Fencing token: rises with each opening.
    pub epoch: u64,
    /// Until when, unless renewed.
    pub until: Timestamp,
}

/// A run with its tasks, and the right to work on it unless it has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenedRun {
    /// The run.
    pub run: RunRecord,
    /// Its tasks in the order of the DAG.
    pub tasks: Vec<TaskRecord>,
    /// The lease; none for a run that has ended.
    pub lease: Option<Lease>,
}

/// Which runs to list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFilter {
    /// Only runs of this DAG.
    pub dag: Option<String>,
    /// Only runs in this state.
    pub state: Option<RunState>,
    /// At most so many. Default 100.
    pub limit: u32,
}

impl Default for RunFilter {
    fn default() -> Self {
        Self { dag: None, state: None, limit: 100 }
    }
}

/// Keeps runs and their tasks.
#[async_trait]
pub trait Journal: fmt::Debug + Send + Sync + 'static {
    /// Begins the run of this key, or takes it over to go on with it, and returns the lease. In one
    /// transaction: tasks that were running when their process ended become pending, with one
    /// interruption more. A run that has ended is returned as it is, without a lease.
    ///
    /// # Errors
    /// `Conflict` when someone else holds a lease that has not expired ([`super::lease_owner`] says
    /// who); `AlreadyExists` when the run has other parameters or belongs to another DAG;
    /// `FailedPrecondition` when the DAG has changed its shape.
    async fn open(&self, spec: &RunSpec, claim: &Claim) -> Result<OpenedRun>;

    /// Prolongs a lease to `until`.
    ///
    /// # Errors
    /// `Conflict` when the lease was lost.
    async fn renew(&self, lease: &Lease, until: Timestamp) -> Result<()>;

    /// Stores the new state of some tasks, all or none; durable when it returns.
    ///
    /// # Errors
    /// `Conflict` when the lease was lost, `NotFound` when the run has no such task.
    async fn record(&self, lease: &Lease, tasks: &[TaskRecord]) -> Result<()>;

    /// Ends or cancels the run and gives the lease back.
    ///
    /// # Errors
    /// `Conflict` when the lease was lost.
    async fn close(&self, lease: &Lease, state: RunState, at: Timestamp) -> Result<()>;

    /// One run.
    ///
    /// # Errors
    /// `NotFound`.
    async fn run(&self, key: &str) -> Result<RunRecord>;

    /// Runs, newest first.
    ///
    /// # Errors
    /// `Unavailable` when the journal cannot be read.
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>>;

    /// The tasks of a run in the order of the DAG; none when there is no such run.
    ///
    /// # Errors
    /// `Unavailable` when the journal cannot be read.
    async fn tasks(&self, run_key: &str) -> Result<Vec<TaskRecord>>;
}

#[async_trait]
impl<T: Journal + ?Sized> Journal for Arc<T> {
    async fn open(&self, spec: &RunSpec, claim: &Claim) -> Result<OpenedRun> {
        (**self).open(spec, claim).await
    }
    async fn renew(&self, lease: &Lease, until: Timestamp) -> Result<()> {
        (**self).renew(lease, until).await
    }
    async fn record(&self, lease: &Lease, tasks: &[TaskRecord]) -> Result<()> {
        (**self).record(lease, tasks).await
    }
    async fn close(&self, lease: &Lease, state: RunState, at: Timestamp) -> Result<()> {
        (**self).close(lease, state, at).await
    }
    async fn run(&self, key: &str) -> Result<RunRecord> {
        (**self).run(key).await
    }
    async fn runs(&self, filter: &RunFilter) -> Result<Vec<RunRecord>> {
        (**self).runs(filter).await
    }
    async fn tasks(&self, run_key: &str) -> Result<Vec<TaskRecord>> {
        (**self).tasks(run_key).await
    }
}
