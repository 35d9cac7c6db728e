//! The writing side: runs that log to the journal.
//!
//! Invariant: a call returns after its entry is on disk; one that fails has left all of it or nothing. An entry passes the
//! checks of the store before it is taken. Only against what the store has already nothing can be checked here; what it
//! refuses for that in the end is set aside by the replay.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use mlops_core::{Clock, Error, Metric, Result, RunId, RunLogger, RunStatus, SystemClock};
use serde::{Deserialize, Serialize};

use super::{
    OFFLINE_RUN_TAG,
    entry::{Entry, Start},
    journal::Journal,
};
use crate::{
    artifacts::check_path,
    id_source::{IdSource, RandomIds, run_id},
    limits::check_experiment_name,
    tracking::{
        Batch, DatasetInput, PARENT_RUN_TAG,
        record::{check_end, check_start},
    },
};

/// How an offline journal behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OfflineSettings {
    /// Largest size of the file in bytes; what would exceed it is refused with `ResourceExhausted`. Files of runs take a
    /// third more than their size. Default: 256 MiB.
    pub bytes_max: u64,
}

impl Default for OfflineSettings {
    fn default() -> Self {
        Self { bytes_max: 256 << 20 }
    }
}

/// Keeps what runs log in a file until a tracking store can take it.
///
/// ```
/// use mlops_core::{Metric, RunLogger, RunStatus, Timestamp};
/// use mlops_registry::{
///     ExperimentId, Search, SqlTrackingStore, TrackingStore,
///     tracking::offline::{OfflineLogger, OfflineSettings},
/// };
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let directory = tempfile::tempdir().unwrap();
/// let offline = OfflineLogger::open(directory.path().join("runs.journal"), OfflineSettings::default()).await?;
/// let run = offline.start("fraud", "on the train").await?;
/// let auc = Metric { key: "auc".into(), value: 0.9, timestamp: Timestamp::from_millis(1), step: 1 };
/// run.log_metrics(&[auc]).await?;
/// run.finish(RunStatus::Finished).await?;
///
/// // The server is back.
/// let store = SqlTrackingStore::builder(std::sync::Arc::new(SqliteMetaStore::in_memory().await?)).build().await?;
/// let report = offline.replay(&store, None).await?;
/// assert_eq!((report.runs, report.entries, report.refused), (1, 3, 0));
/// let fraud = store.experiment_by_name("fraud").await?.map(|experiment| experiment.id);
/// let found = store.search_runs(fraud.as_slice(), &Search::new()).await?;
/// assert_eq!(found.items[0].metrics["auc"].value, 0.9);
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct OfflineLogger {
    pub(super) shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    settings: OfflineSettings,
    /// Held while somebody sends.
    pub(super) replaying: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) journal: Journal,
    /// Where in the journal begins what was not sent.
    pub(super) sent: u64,
    /// The runs of the journal, and those that are not finished.
    pub(super) runs: BTreeMap<RunId, Seen>,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) there: Option<RunId>,
    pub(super) finished: bool,
}

impl State {
    /// Takes note of an entry that ends at `end`.
    fn see(&mut self, entry: &Entry) {
        match entry {
            Entry::Start(start) => {
                self.runs.entry(start.run.clone()).or_default();
            }
            Entry::Finish { run, .. } => self.runs.entry(run.clone()).or_default().finished = true,
            Entry::Known { run, there } => self.runs.entry(run.clone()).or_default().there = Some(there.clone()),
            Entry::Sent { to } => self.sent = *to,
            Entry::Log { .. } | Entry::Inputs { .. } | Entry::File { .. } => {}
        }
    }

    /// Adds a note of the replay.
    pub(super) fn note(&mut self, entry: &Entry) -> Result<()> {
        self.journal.append(&entry.to_bytes()?)?;
        self.see(entry);
        Ok(())
    }
}

impl Shared {
    /// Runs `work` on the journal where waiting for the disk holds up nobody.
    pub(super) async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut State, &OfflineSettings) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut state, &shared.settings)
        });
        task.await.map_err(|error| Error::internal("the offline journal's thread died").with_source(error))?
    }

    async fn append(self: &Arc<Self>, entry: Entry) -> Result<()> {
        self.on_disk(move |state, settings| {
            if let Some(run) = entry.written().filter(|run| !state.runs.contains_key(*run)) {
                return Err(Error::failed_precondition(format!(
                    "run {run} has finished and was sent; log to it through the store, where the tag {OFFLINE_RUN_TAG} \
                     has this id, or start a new run"
                )));
            }
            let text = entry.to_bytes()?;
            let (found, max) = (state.journal.bytes(), settings.bytes_max);
            if found.saturating_add(Journal::cost(&text)) > max {
                return Err(Error::resource_exhausted(format!(
                    "offline journal {} has {found} bytes and {} more would exceed {max}; replay it or raise bytes_max",
                    state.journal.path().display(),
                    text.len()
                )));
            }
            state.journal.append(&text)?;
            state.see(&entry);
            Ok(())
        })
        .await
    }
}

impl OfflineLogger {
    /// Opens a journal, making it when it is not there. One process can have it open at a time.
    ///
    /// # Errors
    /// `FailedPrecondition` when it is open elsewhere or of a later version, `DataLoss` when it is damaged before its end,
    /// `Unavailable` when it cannot be read or written.
    pub async fn open(path: impl AsRef<Path>, settings: OfflineSettings) -> Result<Self> {
        let path: PathBuf = path.as_ref().to_owned();
        let task = tokio::task::spawn_blocking(move || {
            let mut entries = Vec::new();
            let journal = Journal::open(path, |text, _| {
                let entry = Entry::from_bytes(text)?;
                // The values are read again when they are sent.
                if !matches!(entry, Entry::Log { .. } | Entry::Inputs { .. } | Entry::File { .. }) {
                    entries.push(entry);
                }
                Ok(())
            })?;
            let mut state = State { journal, sent: Journal::start(), runs: BTreeMap::new() };
            entries.iter().for_each(|entry| state.see(entry));
            Ok(state)
        });
        let state: Result<State> =
            task.await.map_err(|error| Error::internal("the offline journal's thread died").with_source(error))?;
        let shared = Shared { state: Mutex::new(state?), settings, replaying: tokio::sync::Mutex::default() };
        Ok(Self { shared: Arc::new(shared), clock: Arc::new(SystemClock::new()), ids: Arc::new(RandomIds::from_os()?) })
    }

    /// Tells when runs begin and end. Default: the clock of the operating system.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Gives runs their ids. Default: random ones.
    #[must_use]
    pub fn with_ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Starts a run; the replay creates the experiment when it is absent.
    ///
    /// # Errors
    /// `InvalidArgument` when the name of the experiment is empty or too long; those of [`RunLogger::log_metrics`] of an [`OfflineRun`].
    pub async fn start(&self, experiment: &str, name: &str) -> Result<OfflineRun> {
        self.start_with(experiment, name, BTreeMap::new()).await
    }

    /// Starts a run with tags.
    ///
    /// # Errors
    /// As [`OfflineLogger::start`]; `InvalidArgument` when the key of a tag is not acceptable or the tag
    /// [`RUN_NAME_TAG`](crate::tracking::RUN_NAME_TAG) has another name.
    pub async fn start_with(&self, experiment: &str, name: &str, tags: BTreeMap<String, String>) -> Result<OfflineRun> {
        check_experiment_name(experiment)?;
        check_start(name, &tags)?;
        let start = Start {
            run: run_id(&*self.ids)?,
            experiment: experiment.to_owned(),
            name: name.to_owned(),
            user: String::new(),
            started: self.clock.now(),
            tags,
        };
        let run = OfflineRun { logger: self.clone(), id: start.run.clone(), experiment: start.experiment.clone() };
        self.shared.append(Entry::Start(start)).await?;
        Ok(run)
    }

    /// How many bytes of the journal wait for being sent, notes of replays among them.
    ///
    /// # Errors
    /// `Internal` when the journal's thread died.
    pub async fn waiting_bytes(&self) -> Result<u64> {
        self.shared.on_disk(|state, _| Ok(state.journal.bytes().saturating_sub(state.sent))).await
    }
}

/// One run that logs to the journal. Calls fail with `InvalidArgument` for what no store takes, with `FailedPrecondition`
/// when the run has finished and was sent, with `ResourceExhausted` when journal or disk are full, and with `Unavailable` when it cannot be written.
#[derive(Debug, Clone)]
pub struct OfflineRun {
    logger: OfflineLogger,
    id: RunId,
    experiment: String,
}

impl OfflineRun {
    /// Starts a run below this one, in the same experiment.
    ///
    /// # Errors
    /// As [`OfflineLogger::start`].
    pub async fn start_nested(&self, name: &str) -> Result<Self> {
        let tags = [(PARENT_RUN_TAG.to_owned(), self.id.to_string())].into();
        self.logger.start_with(&self.experiment, name, tags).await
    }

    /// Links datasets to the run.
    ///
    /// # Errors
    /// Those of every call; see [`OfflineRun`].
    pub async fn log_inputs(&self, inputs: &[DatasetInput]) -> Result<()> {
        DatasetInput::check_all(inputs)?;
        self.logger.shared.append(Entry::Inputs { run: self.id.clone(), inputs: inputs.to_vec() }).await
    }

    async fn log(&self, batch: Batch) -> Result<()> {
        batch.check()?;
        self.logger.shared.append(Entry::log(&self.id, &batch)).await
    }
}

#[async_trait]
impl RunLogger for OfflineRun {
    fn run_id(&self) -> &RunId {
        &self.id
    }

    async fn log_params(&self, params: &[(String, String)]) -> Result<()> {
        self.log(Batch { params: params.to_vec(), ..Batch::default() }).await
    }

    async fn log_metrics(&self, metrics: &[Metric]) -> Result<()> {
        self.log(Batch { metrics: metrics.to_vec(), ..Batch::default() }).await
    }

    async fn set_tags(&self, tags: &[(String, String)]) -> Result<()> {
        self.log(Batch { tags: tags.to_vec(), ..Batch::default() }).await
    }

    async fn log_artifact(&self, path: &str, bytes: Bytes) -> Result<()> {
        check_path("artifact path", path)?;
        let entry = Entry::File { run: self.id.clone(), path: path.to_owned(), bytes: STANDARD.encode(&bytes) };
        self.logger.shared.append(entry).await
    }

    async fn finish(&self, status: RunStatus) -> Result<()> {
        check_end(status)?;
        let ended = self.logger.clock.now();
        self.logger.shared.append(Entry::Finish { run: self.id.clone(), status, ended }).await
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::{ErrorKind, Timestamp, testing::ManualClock};
    use mlops_store::SqliteMetaStore;

    use super::*;
    use crate::limits::BATCH_DATASETS_MAX;
    use crate::{
        ArtifactStore, Search, SqlTrackingStore, TrackingStore, TrackingStoreExt as _,
        search::PageRequest,
        tracking::{LoggedDataset, RUN_NAME_TAG, Tracker},
    };

    async fn store() -> SqlTrackingStore {
        SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await.unwrap())).build().await.unwrap()
    }

    async fn open(directory: &tempfile::TempDir) -> OfflineLogger {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(5_000)));
        let path = directory.path().join("runs");
        OfflineLogger::open(path, OfflineSettings::default()).await.unwrap().with_clock(clock)
    }

    fn point(step: i64) -> Metric {
        Metric { key: "auc".into(), value: step as f64, timestamp: Timestamp::from_millis(step), step }
    }

    async fn runs(store: &SqlTrackingStore) -> Vec<Arc<crate::RunRecord>> {
        let fraud = store.ensure_experiment("fraud").await.unwrap();
        store.search_runs(&[fraud], &Search::new().with_order("attributes.run_name")).await.unwrap().items
    }

    #[tokio::test]
    async fn everything_arrives_once_and_the_journal_is_empty() {
        let (directory, store, files) = (tempfile::tempdir().unwrap(), store().await, ArtifactStore::in_memory());
        let offline = open(&directory).await;
        let run = offline.start("fraud", "a").await.unwrap();
        let nested = run.start_nested("b").await.unwrap();
        run.log_params(&[("lr".into(), "0.1".into())]).await.unwrap();
        for step in 0..700 {
            run.log_metrics(&[point(step)]).await.unwrap();
        }
        let nan = Metric { value: f64::NAN, ..point(700) };
        run.log_metrics(&[nan]).await.unwrap();
        run.log_artifact("a/b.txt", "hello".into()).await.unwrap();
        nested.finish(RunStatus::Failed).await.unwrap();
        let missing = offline.replay(&store, None).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::FailedPrecondition, "a file needs its store");
        drop((run, nested, offline));

        let offline = open(&directory).await;
        offline.replay(&store, Some(&files)).await.unwrap();
        assert_eq!(offline.waiting_bytes().await.unwrap(), 0);
        assert_eq!(offline.replay(&store, None).await.unwrap().entries, 0);
        let found = runs(&store).await;
        let [a, b] = found.as_slice() else { panic!("{} runs", found.len()) };
        assert_eq!((b.status, b.ended), (RunStatus::Failed, Some(Timestamp::from_millis(5_000))));
        assert_eq!(b.tags[PARENT_RUN_TAG], a.id.as_str(), "the parent as the store knows it");
        assert_eq!((a.params["lr"].as_str(), a.started), ("0.1", Timestamp::from_millis(5_000)));
        assert!(a.tags.contains_key(OFFLINE_RUN_TAG));
        let all = PageRequest { max_results: Some(10_000), token: None };
        let history = store.metric_history(&a.id, "auc", &all).await.unwrap().items;
        assert!(history.len() == 701 && history[700].value.is_nan(), "{}", history.len());
        let path = files.path_of(&a.artifact_uri).unwrap();
        assert_eq!(files.get(&format!("{path}/a/b.txt")).await.unwrap(), "hello");
    }

    #[tokio::test]
    async fn a_run_goes_on_after_a_replay_and_is_the_same_run() {
        let (directory, store) = (tempfile::tempdir().unwrap(), store().await);
        let offline = open(&directory).await;
        let run = offline.start("fraud", "a").await.unwrap();
        for step in 0..3 {
            run.log_metrics(&[point(step)]).await.unwrap();
            offline.replay(&store, None).await.unwrap();
        }
        run.finish(RunStatus::Finished).await.unwrap();
        offline.replay(&store, None).await.unwrap();
        let found = runs(&store).await;
        assert_eq!((found.len(), found[0].metrics["auc"].step, found[0].status), (1, 2, RunStatus::Finished));
    }

    #[tokio::test]
    async fn what_the_store_refuses_is_set_aside_and_the_rest_arrives() {
        let (directory, store) = (tempfile::tempdir().unwrap(), store().await);
        let offline = open(&directory).await;
        let run = offline.start("fraud", "a").await.unwrap();
        run.log_params(&[("lr".into(), "1".into())]).await.unwrap();
        run.log_params(&[("lr".into(), "2".into())]).await.unwrap();
        run.log_metrics(&[point(1)]).await.unwrap();
        let bad = run.log_metrics(&[Metric { key: "a,b".into(), ..point(1) }]).await.unwrap_err();
        assert_eq!(bad.kind(), ErrorKind::InvalidArgument, "at once, where it can be seen");
        let report = offline.replay(&store, None).await.unwrap();
        assert_eq!((report.entries, report.refused, &report.refusals[0].run), (4, 1, run.run_id()));
        let found = runs(&store).await;
        assert_eq!((found[0].params["lr"].as_str(), found[0].metrics["auc"].step), ("1", 1));
        let aside = std::fs::read_to_string(directory.path().join("runs.refused")).unwrap();
        assert!(aside.contains("[\"lr\",\"2\"]") && aside.lines().count() == 1, "{aside}");
    }

    #[tokio::test]
    async fn a_run_that_was_sent_takes_nothing_more_and_holds_nobody_up() {
        let (directory, store) = (tempfile::tempdir().unwrap(), store().await);
        let offline = open(&directory).await;
        let (run, other) = (offline.start("fraud", "a").await.unwrap(), offline.start("fraud", "b").await.unwrap());
        run.finish(RunStatus::Finished).await.unwrap();
        run.log_metrics(&[point(1)]).await.expect("a run that has finished still takes values");
        offline.replay(&store, None).await.unwrap();
        for late in [
            run.log_metrics(&[point(2)]).await,
            run.log_artifact("a", "1".into()).await,
            run.finish(RunStatus::Failed).await,
        ] {
            let late = late.unwrap_err();
            assert_eq!(late.kind(), ErrorKind::FailedPrecondition);
            assert!(late.message().contains(OFFLINE_RUN_TAG), "it says where to find the run: {late}");
        }
        other.log_metrics(&[point(3)]).await.unwrap();
        run.start_nested("c").await.unwrap();
        assert_eq!(offline.replay(&store, None).await.unwrap().entries, 2);
        let steps: Vec<_> = runs(&store).await.iter().map(|run| run.metrics.get("auc").map(|auc| auc.step)).collect();
        assert_eq!(steps, [Some(1), Some(3), None]);
    }

    /// Whatever is refused online is refused offline at once, so that a replay has nothing to refuse but what the store
    /// has otherwise.
    #[tokio::test]
    async fn what_a_store_refuses_is_refused_at_once() {
        let (directory, store) = (tempfile::tempdir().unwrap(), store().await);
        let offline = open(&directory).await;
        let tracker = Tracker::new(Arc::new(store.clone()), ArtifactStore::in_memory());
        let ours = offline.start("fraud", "a").await.unwrap();
        let theirs = tracker.start("fraud", "b").await.unwrap();
        let pair = |key: &str| (key.to_owned(), "1".to_owned());
        let early = Metric { timestamp: Timestamp::from_millis(-1), ..point(1) };
        for run in [&ours as &dyn RunLogger, &theirs] {
            for refused in [
                run.log_metrics(&[point(1), early.clone()]).await,
                run.log_metrics(&[Metric { key: "../a".into(), ..point(1) }]).await,
                run.log_metrics(&vec![point(1); 1_001]).await,
                run.log_params(&[pair("lr"), pair("lr")]).await,
                run.log_params(&(0..101).map(|i| pair(&format!("p{i}"))).collect::<Vec<_>>()).await,
                run.set_tags(&[pair("")]).await,
                run.log_artifact("../a", "1".into()).await,
                run.finish(RunStatus::Running).await,
            ] {
                assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
            }
        }
        let dataset = |name: &str| LoggedDataset { name: name.into(), digest: "d".into(), ..LoggedDataset::default() };
        let input = |name: &str| DatasetInput { dataset: dataset(name), ..DatasetInput::default() };
        let tagged = DatasetInput { tags: [("k".to_owned(), "v".repeat(501))].into(), ..input("train") };
        for inputs in [vec![input("")], vec![tagged], vec![input("train"); BATCH_DATASETS_MAX + 1]] {
            for refused in [ours.log_inputs(&inputs).await, store.log_inputs(theirs.run_id(), &inputs).await] {
                assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
            }
        }
        for experiment in ["", &"e".repeat(501)] {
            assert_eq!(offline.start(experiment, "a").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
            assert_eq!(tracker.start(experiment, "a").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        for tags in [[(RUN_NAME_TAG.to_owned(), "b".to_owned())], [pair("a,b")]] {
            let refused = offline.start_with("fraud", "a", tags.into()).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
        }
        let named = [(RUN_NAME_TAG.to_owned(), "by tag".to_owned())];
        offline.start_with("fraud", "", named.into()).await.unwrap();
        let report = offline.replay(&store, None).await.unwrap();
        assert_eq!((report.entries, report.refused), (2, 0));
        assert!(runs(&store).await.iter().any(|run| run.name == "by tag"));
    }

    /// The store puts the place of the run in front of a path, which only it knows.
    #[tokio::test]
    async fn a_file_whose_path_is_too_long_there_is_set_aside_and_the_rest_arrives() {
        let (directory, store, files) = (tempfile::tempdir().unwrap(), store().await, ArtifactStore::in_memory());
        let offline = open(&directory).await;
        let run = offline.start("fraud", "a").await.unwrap();
        run.log_artifact(&"a".repeat(1_020), "hello".into()).await.unwrap();
        run.log_metrics(&[point(1)]).await.unwrap();
        let report = offline.replay(&store, Some(&files)).await.unwrap();
        assert_eq!((report.entries, report.refused), (3, 1));
        assert_eq!(runs(&store).await[0].metrics["auc"].step, 1);
        let aside = std::fs::read_to_string(directory.path().join("runs.refused")).unwrap();
        assert!(aside.contains(&STANDARD.encode("hello")), "{aside}");
    }

    /// Two runs by turns, with one of everything but files.
    async fn fill(offline: &OfflineLogger) {
        let first = offline.start("fraud", "a").await.unwrap();
        let second = first.start_nested("b").await.unwrap();
        let dataset = LoggedDataset { name: "train".into(), digest: "d".into(), ..LoggedDataset::default() };
        first.log_inputs(&[DatasetInput { dataset, ..DatasetInput::default() }]).await.unwrap();
        for step in 0..4 {
            first.log_metrics(&[point(step), point(step + 10)]).await.unwrap();
            second.log_metrics(&[point(step)]).await.unwrap();
        }
        first.log_params(&[("lr".into(), "1".into())]).await.unwrap();
        second.set_tags(&[("t".into(), "1".into())]).await.unwrap();
        second.finish(RunStatus::Failed).await.unwrap();
        first.finish(RunStatus::Finished).await.unwrap();
    }

    /// The process dies after any call of the store, before that is noted.
    #[tokio::test]
    async fn a_replay_that_dies_after_any_call_goes_on_without_loss_or_doubles() {
        let mut deaths = 0;
        loop {
            let (directory, store) = (tempfile::tempdir().unwrap(), store().await);
            let offline = open(&directory).await;
            fill(&offline).await;
            let (dying, sent_to) = (offline.clone(), store.clone());
            let replay = tokio::spawn(async move {
                let mut calls = 0;
                let die = |_: &crate::tracking::offline::ReplayReport| {
                    assert!(calls < deaths, "dies here");
                    calls += 1;
                };
                dying.replay_with(&sent_to, None, die).await.unwrap();
            });
            let died = replay.await.is_err();
            drop(offline);
            let offline = open(&directory).await;
            let report = offline.replay(&store, None).await.unwrap();
            assert_eq!((report.refused, offline.waiting_bytes().await.unwrap()), (0, 0));

            let found = runs(&store).await;
            let [a, b] = found.as_slice() else { panic!("{} runs after {deaths} calls", found.len()) };
            assert_eq!((a.status, a.params["lr"].as_str(), a.datasets.len()), (RunStatus::Finished, "1", 1));
            assert_eq!((b.status, b.tags["t"].as_str()), (RunStatus::Failed, "1"));
            assert_eq!(b.tags[PARENT_RUN_TAG], a.id.as_str());
            let all = PageRequest { max_results: Some(100), token: None };
            for (run, points) in [(a, 8), (b, 4)] {
                assert_eq!(store.metric_history(&run.id, "auc", &all).await.unwrap().items.len(), points);
            }
            if !died {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 10, "{deaths}");
    }

    #[tokio::test]
    async fn a_full_journal_refuses_and_takes_again_when_it_was_sent() {
        let (directory, store) = (tempfile::tempdir().unwrap(), store().await);
        let settings = OfflineSettings { bytes_max: 600 };
        let offline = OfflineLogger::open(directory.path().join("runs"), settings).await.unwrap();
        let run = offline.start("fraud", "a").await.unwrap();
        let mut step = 0;
        let full = loop {
            match run.log_metrics(&[point(step)]).await {
                Ok(()) => step += 1,
                Err(error) => break error,
            }
        };
        assert_eq!((full.kind(), step > 0), (ErrorKind::ResourceExhausted, true));
        offline.replay(&store, None).await.unwrap();
        run.log_metrics(&[point(step)]).await.unwrap();
        offline.replay(&store, None).await.unwrap();
        assert_eq!(runs(&store).await[0].metrics["auc"].step, step);
    }
}
