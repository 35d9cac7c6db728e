//! A durable queue of labelling work.
//!
//! Invariant: what was submitted is never lost and never counted twice. A task leaves the queue by
//! agreement of enough labelers or by an adjudicator who is none of them; a labeler whose lease has
//! ended and whose place was given away learns so, and nothing of the newer one is overwritten.
//!
//! Kept in the metadata database of `mlops-store`, so any number of processes share a queue.

mod label_studio;
mod schema;
mod sql;
mod task;

use std::{sync::Arc, time::Duration};

use mlops_core::{Clock, Error, Result, Timestamp};
use mlops_store::{MetaStore, MetaStoreExt as _};
use serde::{Deserialize, Serialize};

use crate::attempts::Attempts;

pub use label_studio::{LabelStudio, StudioTask};
pub use task::{Assignment, LabelTask, QueueProgress, Submission, TaskRecord, TaskState};

/// Tasks handed out, added or read in one call at most.
pub const BATCH_MAX: usize = 10_000;

/// How a queue works.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// Labelers per task, 1 to 100. Default 1.
    pub labelers_per_task: u32,
    /// Share of them that must agree, above one half and at most 1. Default 1.
    pub agreement_min: f64,
    /// How long a labeler holds a task without submitting. Default 30 minutes.
    pub lease: Duration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { labelers_per_task: 1, agreement_min: 1.0, lease: Duration::from_secs(30 * 60) }
    }
}

impl QueueSettings {
    fn check(&self) -> Result<()> {
        let problem = if !(1..=100).contains(&self.labelers_per_task) {
            "1 to 100 labelers per task"
        } else if !(self.agreement_min > 0.5 && self.agreement_min <= 1.0) {
            "an agreement above one half and at most 1"
        } else if self.lease.is_zero() {
            "a lease above zero"
        } else {
            return Ok(());
        };
        Err(Error::invalid_argument(format!("a labelling queue needs {problem}")))
    }
}

/// A queue by its name. Every process opens it with the same settings.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::SystemClock;
/// use mlops_store::SqliteMetaStore;
/// use mlops_train::active::queue::{LabelQueue, LabelTask, QueueSettings, TaskState};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let meta = Arc::new(SqliteMetaStore::in_memory().await?);
/// let queue = LabelQueue::open(meta, "churn", Arc::new(SystemClock::new()), QueueSettings::default()).await?;
/// queue.add(&[LabelTask::new("row-17", serde_json::json!({"text": "I want out"}))]).await?;
///
/// let work = queue.assign("ann", 5).await?;
/// assert_eq!(work[0].task.id, "row-17");
/// assert_eq!(queue.submit("ann", "row-17", "leaves").await?, TaskState::Labeled);
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct LabelQueue {
    meta: Arc<dyn MetaStore>,
    name: String,
    clock: Arc<dyn Clock>,
    settings: QueueSettings,
}

impl LabelQueue {
    /// Opens a queue, with its tables where they are missing.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name or settings out of range; `FailedPrecondition` when the
    /// tables are of a newer version; `Unavailable` when the database cannot be reached.
    pub async fn open(
        meta: Arc<dyn MetaStore>,
        name: impl Into<String>,
        clock: Arc<dyn Clock>,
        settings: QueueSettings,
    ) -> Result<Self> {
        settings.check()?;
        let name = name.into();
        check_name("queue", &name)?;
        meta.migrate(&schema::MIGRATIONS).await?;
        Ok(Self { meta, name, clock, settings })
    }

    /// Adds tasks, all or none; the number that were new. Repeating the call changes nothing.
    ///
    /// # Errors
    /// `InvalidArgument` for more than [`BATCH_MAX`] tasks, an empty or overlong id or a priority that
    /// is not finite; `Conflict` when other processes were faster a hundred times; `Unavailable`.
    pub async fn add(&self, tasks: &[LabelTask]) -> Result<u64> {
        if tasks.len() > BATCH_MAX {
            return Err(Error::invalid_argument(format!("at most {BATCH_MAX} tasks are added at once")));
        }
        for task in tasks {
            check_name("task", &task.id)?;
            let probable = task.prediction.as_ref().is_none_or(|(_, p)| (0.0..=1.0).contains(p));
            if !task.priority.is_finite() || !probable {
                return Err(Error::invalid_argument(format!(
                    "task {:?} needs a finite priority and a probability within 0 and 1",
                    task.id
                )));
            }
        }
        self.retried(|| sql::add(self, tasks)).await
    }

    /// Hands a labeler up to `count` tasks of the highest priority: first those held already, then
    /// open ones that the labeler has not labelled and that still have a place. Places of ended
    /// leases are free again.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name or a count beyond [`BATCH_MAX`]; `Conflict` when other processes were faster
    /// a hundred times; `Unavailable`.
    pub async fn assign(&self, labeler: &str, count: usize) -> Result<Vec<Assignment>> {
        check_name("labeler", labeler)?;
        if count > BATCH_MAX {
            return Err(Error::invalid_argument(format!("at most {BATCH_MAX} tasks are assigned at once")));
        }
        self.retried(|| sql::assign(self, labeler, count)).await
    }

    /// Extends the lease of a task that the labeler holds; its new end.
    ///
    /// # Errors
    /// `FailedPrecondition` when the labeler does not hold the task any more; `Conflict` when other processes were
    /// faster a hundred times; `Unavailable`.
    pub async fn renew(&self, labeler: &str, task: &str) -> Result<Timestamp> {
        self.retried(|| sql::renew(self, labeler, task)).await
    }

    /// Gives a task back without a label. Nothing happens when the labeler does not hold it.
    ///
    /// # Errors
    /// `Conflict` when other processes were faster a hundred times; `Unavailable`.
    pub async fn release(&self, labeler: &str, task: &str) -> Result<()> {
        self.retried(|| sql::release(self, labeler, task)).await
    }

    /// Submits a label, durable when this returns, and says how far the task then is. It counts after
    /// the end of the lease too, unless the place was given to another. While the task is open a
    /// later label of the same labeler replaces the earlier one.
    ///
    /// # Errors
    /// `NotFound` for an unknown task; `InvalidArgument` for an empty or overlong label;
    /// `FailedPrecondition` when the labeler does not hold the task or it is settled; `Conflict` when other processes
    /// were faster a hundred times; `Unavailable`.
    pub async fn submit(&self, labeler: &str, task: &str, label: &str) -> Result<TaskState> {
        check_name("labeler", labeler)?;
        check_name("label", label)?;
        self.retried(|| sql::submit(self, labeler, task, label, None)).await
    }

    /// Takes over a label that was made elsewhere, without a lease; otherwise as
    /// [`LabelQueue::submit`]. A label that is there already is not taken twice.
    ///
    /// # Errors
    /// As [`LabelQueue::submit`].
    pub async fn record(&self, task: &str, submission: &Submission) -> Result<TaskState> {
        check_name("labeler", &submission.labeler)?;
        check_name("label", &submission.label)?;
        self.retried(|| sql::submit(self, &submission.labeler, task, &submission.label, Some(submission.at))).await
    }

    /// Settles a disputed task.
    ///
    /// # Errors
    /// `NotFound` for an unknown task; `FailedPrecondition` when it is not disputed;
    /// `PermissionDenied` when the adjudicator has labelled it; `Conflict` when other processes were faster a hundred
    /// times; `Unavailable`.
    pub async fn adjudicate(&self, adjudicator: &str, task: &str, label: &str) -> Result<()> {
        check_name("adjudicator", adjudicator)?;
        check_name("label", label)?;
        self.retried(|| sql::adjudicate(self, adjudicator, task, label)).await
    }

    /// Tasks in a state with their submissions, by name, after the task `after` if given: page by page.
    ///
    /// # Errors
    /// `InvalidArgument` for a count beyond [`BATCH_MAX`]; `Unavailable`.
    pub async fn records(&self, state: TaskState, after: Option<&str>, count: usize) -> Result<Vec<TaskRecord>> {
        if count > BATCH_MAX {
            return Err(Error::invalid_argument(format!("at most {BATCH_MAX} tasks are read at once")));
        }
        sql::records(self, state, after.unwrap_or_default(), count).await
    }

    /// Tasks by state.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn progress(&self) -> Result<QueueProgress> {
        sql::progress(self).await
    }

    /// Repeats what lost a race with another process.
    async fn retried<T, F>(&self, attempt: impl Fn() -> F + Send + Sync) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let mut attempts = Attempts::default();
        loop {
            match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => attempts.again(error, self.clock.as_ref()).await?,
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// Longest name of a queue, task, labeler or label, in bytes.
const NAME_MAX: usize = 500;

fn check_name(what: &str, name: &str) -> Result<()> {
    if (1..=NAME_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("a {what} needs a name of 1 to {NAME_MAX} bytes, found {}", name.len())))
}
