//! From a trainer's progress callback, which must not wait, into a run.
//!
//! Invariant: observing never blocks and never fails a training; what does not fit into the queue is counted, and the
//! owner learns of it and of the first error when it stops. Where the store may be away, let it log to an
//! [`OfflineRun`](super::offline::OfflineRun).
//!
//! A trainer of `mlops-train` feeds it by its progress:
//!
//! ```text
//! let observer = log.observer();
//! let context = FitContext::new(42).with_progress(move |done| {
//!     observer.observe(done.step as u64, &[("train_loss", done.train_loss)]);
//! });
//! ```

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use mlops_core::{Clock, Error, Metric, Result, RunLogger};
use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    task::JoinHandle,
};

use crate::limits::BATCH_METRICS_MAX;

/// The tag that tells which library a run logs by itself from.
pub const AUTOLOGGING_TAG: &str = "mlflow.autologging";
/// Points that wait for being logged; of more, those that come later are lost.
pub const QUEUE_MAX: usize = 65_536;

/// A task that logs what trainers report, until it is stopped or dropped.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::SystemClock;
/// use mlops_registry::{ArtifactStore, SqlTrackingStore, Tracker, tracking::autolog::AutoLog};
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await?)).build().await?;
/// let run = Tracker::new(Arc::new(store), ArtifactStore::in_memory()).start("fraud", "first").await?;
/// let log = AutoLog::start(Arc::new(run.clone()), "gbdt", Arc::new(SystemClock::new())).await?;
/// let observer = log.observer();
/// // On the training thread, after every round.
/// observer.observe(1, &[("train_loss", 0.7), ("valid_loss", 0.8)]);
/// drop(observer);
/// assert_eq!(log.stop().await?, 0, "nothing was lost");
/// assert_eq!(run.record().await?.metrics["valid_loss"].value, 0.8);
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct AutoLog {
    observer: Observer,
    task: Option<JoinHandle<Result<()>>>,
}

/// The trainer's end; clones feed the same run.
#[derive(Debug, Clone)]
pub struct Observer {
    points: Sender<Metric>,
    lost: Arc<AtomicU64>,
    clock: Arc<dyn Clock>,
}

impl Observer {
    /// Takes values of one step. Returns at once.
    pub fn observe(&self, step: u64, values: &[(&str, f64)]) {
        let (timestamp, step) = (self.clock.now(), i64::try_from(step).unwrap_or(i64::MAX));
        for (key, value) in values {
            let point = Metric { key: (*key).to_owned(), value: *value, timestamp, step };
            if self.points.try_send(point).is_err() {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl AutoLog {
    /// Tags the run with the library and begins to log. Must be called within a runtime.
    ///
    /// # Errors
    /// As [`RunLogger::set_tags`].
    pub async fn start(run: Arc<dyn RunLogger>, library: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        run.set_tags(&[(AUTOLOGGING_TAG.to_owned(), library.to_owned())]).await?;
        let (points, queue) = channel(QUEUE_MAX);
        let task = tokio::spawn(log(run, queue));
        Ok(Self { observer: Observer { points, lost: Arc::default(), clock }, task: Some(task) })
    }

    /// What to hand to a trainer's progress callback.
    #[must_use]
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Waits until what was observed is logged and all observers are dropped; gives how many points were lost because the
    /// queue was full.
    ///
    /// # Errors
    /// The first error of the run, after which nothing more was logged; `Internal` when the task has died.
    pub async fn stop(mut self) -> Result<u64> {
        let task = self.task.take();
        let lost = Arc::clone(&self.observer.lost);
        drop(self);
        if let Some(task) = task {
            task.await.map_err(|error| Error::internal("autologging died").with_source(error))??;
        }
        Ok(lost.load(Ordering::Relaxed))
    }
}

impl Drop for AutoLog {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn log(run: Arc<dyn RunLogger>, mut queue: Receiver<Metric>) -> Result<()> {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_METRICS_MAX).await > 0 {
        run.log_metrics(&batch).await?;
        batch.clear();
    }
    Ok(())
}
