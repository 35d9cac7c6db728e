//! Runs as handles: start, resume, nest, log, finish.
//!
//! Invariant: a handle holds no state of the run but its id, so two handles of one run never disagree. A handle that
//! is dropped leaves the run open; only [`RunLogger::finish`] ends it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Clock, Error, Metric, Result, RunId, RunLogger, RunStatus, SystemClock};

use super::{
    PARENT_RUN_TAG,
    record::{Batch, CreateRun, ExperimentId, RunRecord, RunUpdate, check_end},
    store::{TrackingStore, TrackingStoreExt as _},
};
use crate::artifacts::{ArtifactReader, ArtifactStore, check_path};

/// Starts and resumes runs of one store.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{RunLogger, RunStatus};
/// use mlops_registry::{ArtifactStore, SqlTrackingStore, Tracker};
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await?)).build().await?;
/// let tracker = Tracker::new(Arc::new(store), ArtifactStore::in_memory());
///
/// let run = tracker.start("fraud", "first try").await?;
/// run.log_params(&[("rounds".into(), "50".into())]).await?;
/// run.log_artifact("notes.txt", "looks good".into()).await?;
/// run.finish(RunStatus::Finished).await?;
/// assert_eq!(run.record().await?.params["rounds"], "50");
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Tracker {
    store: Arc<dyn TrackingStore>,
    artifacts: ArtifactStore,
    clock: Arc<dyn Clock>,
}

impl Tracker {
    /// Runs are rows of `store`, their files lie in `artifacts`.
    #[must_use]
    pub fn new(store: Arc<dyn TrackingStore>, artifacts: ArtifactStore) -> Self {
        Self { store, artifacts, clock: Arc::new(SystemClock::new()) }
    }

    /// Tells when runs end. Default: the clock of the operating system.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Starts a run in the experiment of that name, which is created when absent.
    ///
    /// # Errors
    /// `FailedPrecondition` when the experiment is deleted, `InvalidArgument` when a name is too long.
    pub async fn start(&self, experiment: &str, name: &str) -> Result<Run> {
        let experiment = self.store.ensure_experiment(experiment).await?;
        self.start_with(CreateRun { name: Some(name.to_owned()), ..CreateRun::new(experiment) }).await
    }

    /// Starts a run as described.
    ///
    /// # Errors
    /// As [`TrackingStore::create_run`].
    pub async fn start_with(&self, run: CreateRun) -> Result<Run> {
        let record = self.store.create_run(run).await?;
        Ok(self.handle(&record))
    }

    /// Goes on with a run that exists, whatever its status. It is `RUNNING` again; an earlier end stays on record until
    /// it finishes anew.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition` when it is deleted.
    pub async fn resume(&self, id: &RunId) -> Result<Run> {
        let update = RunUpdate { status: Some(RunStatus::Running), ..RunUpdate::default() };
        let record = self.store.update_run(id, update).await?;
        Ok(self.handle(&record))
    }

    /// A run that exists, left as it is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn open(&self, id: &RunId) -> Result<Run> {
        Ok(self.handle(&self.store.run(id).await?))
    }

    fn handle(&self, record: &RunRecord) -> Run {
        Run { tracker: self.clone(), id: record.id.clone(), experiment: record.experiment }
    }
}

/// The handle of one run.
#[derive(Debug, Clone)]
pub struct Run {
    tracker: Tracker,
    id: RunId,
    experiment: ExperimentId,
}

impl Run {
    /// What starts and opens runs beside this one.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// The run as it stands now.
    ///
    /// # Errors
    /// As [`TrackingStore::run`].
    pub async fn record(&self) -> Result<RunRecord> {
        self.tracker.store.run(&self.id).await
    }

    /// Starts a run below this one, in the same experiment.
    ///
    /// # Errors
    /// As [`TrackingStore::create_run`].
    pub async fn start_nested(&self, name: &str) -> Result<Self> {
        let tags = [(PARENT_RUN_TAG.to_owned(), self.id.to_string())].into();
        let nested = CreateRun { name: Some(name.to_owned()), tags, ..CreateRun::new(self.experiment) };
        self.tracker.start_with(nested).await
    }

    /// A file of this run.
    ///
    /// # Errors
    /// As [`ArtifactStore::get`]; `FailedPrecondition` when the experiment keeps its files elsewhere.
    pub async fn artifact(&self, path: &str) -> Result<Bytes> {
        self.tracker.artifacts.get(&self.path_of(&self.record().await?, path)?).await
    }

    /// A file of this run of any size, to be read piece by piece.
    ///
    /// # Errors
    /// As [`ArtifactStore::open`]; `FailedPrecondition` when the experiment keeps its files elsewhere.
    pub async fn open_artifact(&self, path: &str) -> Result<ArtifactReader> {
        self.tracker.artifacts.open(&self.path_of(&self.record().await?, path)?, None).await
    }

    /// Path and size in bytes of every file of this run, by path.
    ///
    /// # Errors
    /// As [`ArtifactStore::files`]; `FailedPrecondition` when the experiment keeps its files elsewhere.
    pub async fn artifacts(&self) -> Result<Vec<(String, u64)>> {
        let record = self.record().await?;
        let artifacts = &self.tracker.artifacts;
        artifacts.files(&artifacts.path_of(&record.artifact_uri)?).await
    }

    /// The path in the artifact store of a file of this run.
    fn path_of(&self, record: &RunRecord, path: &str) -> Result<String> {
        check_path("artifact path", path)?;
        Ok(format!("{}/{path}", self.tracker.artifacts.path_of(&record.artifact_uri)?))
    }

    async fn write(&self, batch: Batch) -> Result<()> {
        self.tracker.store.log_batch(&self.id, &batch).await
    }
}

#[async_trait]
impl RunLogger for Run {
    fn run_id(&self) -> &RunId {
        &self.id
    }

    async fn log_params(&self, params: &[(String, String)]) -> Result<()> {
        self.write(Batch { params: params.to_vec(), ..Batch::default() }).await
    }

    async fn log_metrics(&self, metrics: &[Metric]) -> Result<()> {
        self.write(Batch { metrics: metrics.to_vec(), ..Batch::default() }).await
    }

    async fn set_tags(&self, tags: &[(String, String)]) -> Result<()> {
        self.write(Batch { tags: tags.to_vec(), ..Batch::default() }).await
    }

    async fn log_artifact(&self, path: &str, bytes: Bytes) -> Result<()> {
        let record = self.record().await?;
        if record.deleted {
            return Err(Error::failed_precondition(format!("run {} is deleted; restore it to add files", self.id)));
        }
        self.tracker.artifacts.put(&self.path_of(&record, path)?, bytes).await
    }

    async fn finish(&self, status: RunStatus) -> Result<()> {
        check_end(status)?;
        let record = self.record().await?;
        if record.status == status && record.ended.is_some() {
            return Ok(());
        }
        // A clock that was set back must not make the run end before it began.
        let ended = Some(self.tracker.clock.now().max(record.started));
        self.tracker.store.update_run(&self.id, RunUpdate { status: Some(status), ended, name: None }).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mlops_core::{ErrorKind, Timestamp, testing::ManualClock};
    use mlops_store::SqliteMetaStore;

    use super::*;
    use crate::{SqlTrackingStore, limits::BATCH_METRICS_MAX};

    async fn tracker(clock: &Arc<ManualClock>) -> Tracker {
        let meta = Arc::new(SqliteMetaStore::in_memory().await.unwrap());
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
        let store = SqlTrackingStore::builder(meta).with_clock(Arc::clone(&clock)).build().await.unwrap();
        Tracker::new(Arc::new(store), ArtifactStore::in_memory()).with_clock(clock)
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[tokio::test]
    async fn a_run_is_finished_once_and_can_be_resumed() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
        let tracker = tracker(&clock).await;
        let run = tracker.start("fraud", "first").await.unwrap();
        clock.advance(Duration::from_secs(1));
        run.finish(RunStatus::Finished).await.unwrap();
        clock.advance(Duration::from_secs(1));
        run.finish(RunStatus::Finished).await.unwrap();
        let record = run.record().await.unwrap();
        assert_eq!((record.status, record.ended), (RunStatus::Finished, Some(Timestamp::from_millis(2_000))));
        assert_eq!(run.finish(RunStatus::Running).await.unwrap_err().kind(), ErrorKind::InvalidArgument);

        let again = tracker.resume(run.run_id()).await.unwrap();
        assert_eq!(run.record().await.unwrap().status, RunStatus::Running);
        again.set_tags(&[pair("resumed", "yes")]).await.unwrap();
        again.finish(RunStatus::Failed).await.unwrap();
        let record = run.record().await.unwrap();
        assert_eq!((record.status, record.ended), (RunStatus::Failed, Some(Timestamp::from_millis(3_000))));
        assert_eq!(record.tags["resumed"], "yes");
        let unknown = RunId::new("0".repeat(32)).unwrap();
        assert_eq!(tracker.resume(&unknown).await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn nested_runs_name_their_parent_and_keep_their_own_files() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
        let parent = tracker(&clock).await.start("fraud", "outer").await.unwrap();
        let child = parent.start_nested("inner").await.unwrap();
        let record = child.record().await.unwrap();
        assert_eq!(record.tags[PARENT_RUN_TAG], parent.run_id().as_str());
        assert_eq!(record.experiment, parent.record().await.unwrap().experiment);
        child.log_artifact("a/b.txt", "child".into()).await.unwrap();
        assert_eq!(child.artifacts().await.unwrap(), [("a/b.txt".to_owned(), 5)]);
        assert_eq!(parent.artifacts().await.unwrap(), []);
        assert_eq!(parent.artifact("a/b.txt").await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn refused_writes_leave_nothing() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000)));
        let tracker = tracker(&clock).await;
        let run = tracker.start("fraud", "first").await.unwrap();
        run.log_params(&[pair("lr", "1")]).await.unwrap();
        run.log_params(&[pair("lr", "1")]).await.unwrap();
        let changed = run.log_params(&[pair("fresh", "1"), pair("lr", "2")]).await.unwrap_err();
        assert_eq!(changed.kind(), ErrorKind::InvalidArgument);
        let point = Metric { key: "m".into(), value: 1.0, timestamp: Timestamp::from_millis(1), step: 0 };
        let many = vec![point; BATCH_METRICS_MAX + 1];
        assert_eq!(run.log_metrics(&many).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let record = run.record().await.unwrap();
        assert_eq!((record.params.len(), record.metrics.len()), (1, 0));

        tracker.store.delete_run(run.run_id()).await.unwrap();
        let late = run.log_artifact("x", "1".into()).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::FailedPrecondition);
        assert_eq!(tracker.resume(run.run_id()).await.unwrap_err().kind(), ErrorKind::FailedPrecondition);
    }
}
