//! Writes what a source holds: experiments first, then their runs, then models.
//!
//! Invariant: a run gets the tag [`IMPORTED_FROM_TAG`] when it is created and [`IMPORTED_TAG`] after everything else of
//! it is written. A run that is complete is left alone; any other is written again, which is harmless because points,
//! params and datasets that are there already count once. Memory holds one page of runs and one of points, and the ids
//! of runs whose parent comes later.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use mlops_core::{Error, ErrorKind, Metric, Result, RunId, RunStatus};
use serde::{Deserialize, Serialize};

use super::{
    report::{ImportCounts, ImportReport},
    source::{FilePieces, ImportSource, SourceFile},
};
use crate::{
    artifacts::ArtifactStore,
    limits::{BATCH_METRICS_MAX, BATCH_PARAMS_MAX, BATCH_TAGS_MAX, check_key},
    logged_models::LoggedModelStore,
    registry::{Actor, ModelRegistry},
    traces::TraceStore,
    tracking::{
        Batch, CreateExperiment, CreateRun, Experiment, ExperimentId, PARENT_RUN_TAG, RUN_NAME_TAG, RunRecord,
        RunUpdate, TrackingStore, run_tagged,
    },
};

/// The tag that says where an experiment, run, model or version was imported from: the name of the source, `#` and the
/// id it has there.
pub const IMPORTED_FROM_TAG: &str = "mlops.imported.from";
/// The tag of what is imported: `true` when complete, `open` for a run, logged model or trace that had not ended in the
/// source, which the next import brings up to date, and `deleted` for what is deleted here because it is in the source.
pub const IMPORTED_TAG: &str = "mlops.imported.complete";
/// The tag that says where the source kept the files of a run.
pub const IMPORTED_FILES_TAG: &str = "mlops.imported.artifact_uri";
/// What an import writes about itself; what an earlier one wrote into the source stays there.
const OWN_TAGS: [&str; 3] = [IMPORTED_FROM_TAG, IMPORTED_TAG, IMPORTED_FILES_TAG];

pub(super) const COMPLETE: &str = "true";
pub(super) const OPEN: &str = "open";
const DELETED: &str = "deleted";

/// How to import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportOptions {
    /// Read and count, but write nothing. Default false.
    pub dry_run: bool,
    /// Names of the experiments to import; empty, the default: all.
    pub experiments: BTreeSet<String>,
    /// Largest file that is copied, in bytes. Default 16 GiB.
    pub file_bytes_max: u64,
    /// In whose name models are registered.
    pub actor: Actor,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { dry_run: false, experiments: BTreeSet::new(), file_bytes_max: 16 << 30, actor: Actor::default() }
    }
}

type Progress = Arc<dyn Fn(&ImportCounts) + Send + Sync>;

/// Imports from any [`ImportSource`].
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::RunStatus;
/// use mlops_registry::{
///     CreateRun, RunUpdate, SqlTrackingStore, TrackingStore, TrackingStoreExt, import::{Importer, StoreSource},
/// };
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let theirs = SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await?)).build().await?;
/// let experiment = theirs.ensure_experiment("fraud").await?;
/// let run = theirs.create_run(CreateRun::new(experiment)).await?;
/// let ended = RunUpdate { status: Some(RunStatus::Finished), ..RunUpdate::default() };
/// theirs.update_run(&run.id, ended).await?;
///
/// let ours = SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await?)).build().await?;
/// let importer = Importer::new(Arc::new(ours));
/// let source = StoreSource::new(Arc::new(theirs), "http://tracking.internal");
/// assert_eq!(importer.import(&source).await?.counts.runs, 1);
/// assert_eq!(importer.import(&source).await?.counts.runs_present, 1);
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Importer {
    pub(super) tracking: Arc<dyn TrackingStore>,
    pub(super) artifacts: Option<ArtifactStore>,
    pub(super) registry: Option<Arc<dyn ModelRegistry>>,
    pub(super) logged_models: Option<Arc<dyn LoggedModelStore>>,
    pub(super) traces: Option<Arc<dyn TraceStore>>,
    pub(super) options: ImportOptions,
    progress: Option<Progress>,
}

impl fmt::Debug for Importer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Importer")
            .field("tracking", &self.tracking)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A run whose last step waits until its parent is there.
struct Waiting {
    id: RunId,
    parent: String,
    state: &'static str,
}

impl Importer {
    /// Imports into `tracking`.
    #[must_use]
    pub fn new(tracking: Arc<dyn TrackingStore>) -> Self {
        Self {
            tracking,
            artifacts: None,
            registry: None,
            logged_models: None,
            traces: None,
            options: ImportOptions::default(),
            progress: None,
        }
    }

    /// Copies the files of runs as well.
    #[must_use]
    pub fn with_artifacts(mut self, artifacts: ArtifactStore) -> Self {
        self.artifacts = Some(artifacts);
        self
    }

    /// Registers models, versions and aliases as well.
    #[must_use]
    pub fn with_registry(mut self, registry: Arc<dyn ModelRegistry>) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Imports logged models as well, those of `MlflowApi` so far. Their store must keep its rows in the
    /// database of the tracking store.
    #[must_use]
    pub fn with_logged_models(mut self, store: Arc<dyn LoggedModelStore>) -> Self {
        self.logged_models = Some(store);
        self
    }

    /// Imports traces as well, those of `MlflowApi` so far.
    #[must_use]
    pub fn with_traces(mut self, store: Arc<dyn TraceStore>) -> Self {
        self.traces = Some(store);
        self
    }

    /// Replaces the options.
    #[must_use]
    pub fn with_options(mut self, options: ImportOptions) -> Self {
        self.options = options;
        self
    }

    /// Calls `progress` after every run and model.
    #[must_use]
    pub fn with_progress(mut self, progress: impl Fn(&ImportCounts) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }

    /// Imports everything the source holds that is not here yet.
    ///
    /// # Errors
    /// `Unavailable` or `ResourceExhausted` when the source or a store fails; what was written stays, and calling again
    /// goes on from there. What is wrong with a single record is in the report.
    pub async fn import(&self, source: &dyn ImportSource) -> Result<ImportReport> {
        let mut report = ImportReport::default();
        for experiment in source.experiments(&mut report).await? {
            let chosen = self.options.experiments.is_empty() || self.options.experiments.contains(&experiment.name);
            if chosen {
                self.experiment(source, &experiment, &mut report).await?;
            }
        }
        if let Some(registry) = &self.registry {
            self.models(source, registry.as_ref(), &mut report).await?;
        }
        Ok(report)
    }

    pub(super) fn tell(&self, report: &ImportReport) {
        if let Some(progress) = &self.progress {
            progress(&report.counts);
        }
    }

    async fn experiment(&self, source: &dyn ImportSource, found: &Experiment, report: &mut ImportReport) -> Result<()> {
        let place = format!("experiment {:?}", found.name);
        let existing = self.tracking.experiment_by_name(&found.name).await?;
        let from = origin(source, &found.id.to_string());
        let ours = existing.as_ref().is_none_or(|existing| existing.tags.get(IMPORTED_FROM_TAG) == Some(&from));
        let target = match existing {
            Some(existing) if existing.deleted => {
                if !ours || !found.deleted {
                    report.skip(place, "the target has a deleted experiment of that name; restore or rename it");
                }
                return Ok(());
            }
            Some(existing) => Some(self.add_missing_tags(&existing, found, report).await?),
            None => {
                report.counts.experiments += 1;
                if self.options.dry_run { None } else { self.create_experiment(source, found, report).await? }
            }
        };
        if target.is_none() && !self.options.dry_run {
            return Ok(());
        }
        self.runs(source, found.id, target, report).await?;
        self.logged_models(source, found.id, target, report).await?;
        self.traces(source, found.id, target, report).await?;
        match target {
            _ if !found.deleted => {}
            _ if !ours => {
                report.skip(place, "it is deleted in the source; the target's is not of this import and stays");
            }
            Some(id) if !self.options.dry_run => {
                self.tracking.set_experiment_tags(id, &[(IMPORTED_TAG.to_owned(), DELETED.to_owned())]).await?;
                self.tracking.delete_experiment(id).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn create_experiment(
        &self,
        source: &dyn ImportSource,
        found: &Experiment,
        report: &mut ImportReport,
    ) -> Result<Option<ExperimentId>> {
        let place = format!("experiment {:?}", found.name);
        let tags = admitted_here(&found.tags, origin(source, &found.id.to_string()), &place, report);
        let options = CreateExperiment { artifact_location: None, tags };
        let created = self.tracking.create_experiment(&found.name, options).await;
        tolerate(created, &place, report)
    }

    /// What stands on an experiment that exists stays as it is.
    async fn add_missing_tags(
        &self,
        existing: &Experiment,
        found: &Experiment,
        report: &mut ImportReport,
    ) -> Result<ExperimentId> {
        let missing = |(key, _): &(&String, &String)| !existing.tags.contains_key(*key) && !is_own(key);
        // Of an experiment that an import made, tags that are gone were removed on purpose.
        if existing.tags.contains_key(IMPORTED_FROM_TAG) || self.options.dry_run {
            return Ok(existing.id);
        }
        let place = format!("experiment {:?}", found.name);
        let tags = admitted("tag", &place, found.tags.iter().filter(missing), report);
        if !tags.is_empty() {
            let set = self.tracking.set_experiment_tags(existing.id, &tags).await;
            tolerate(set, &format!("tags of experiment {:?}", found.name), report)?;
        }
        Ok(existing.id)
    }

    async fn runs(
        &self,
        source: &dyn ImportSource,
        from: ExperimentId,
        to: Option<ExperimentId>,
        report: &mut ImportReport,
    ) -> Result<()> {
        let (mut token, mut waiting) = (None, Vec::new());
        loop {
            let page = source.runs(from, token, report).await?;
            for run in &page.items {
                waiting.extend(self.run(source, run, to, report).await?);
                self.tell(report);
            }
            token = page.next_page_token;
            if token.is_none() {
                break;
            }
        }
        for child in waiting {
            let parent = self.imported_run(source, &child.parent, to.as_slice()).await?;
            let parent = parent.map_or_else(|| child.parent.clone(), |parent| parent.id.to_string());
            self.complete(&child.id, Some(parent), child.state).await?;
        }
        Ok(())
    }

    /// The run that an import made of the one with that id.
    pub(super) async fn imported_run(
        &self,
        source: &dyn ImportSource,
        id: &str,
        experiments: &[ExperimentId],
    ) -> Result<Option<RunRecord>> {
        let found = run_tagged(self.tracking.as_ref(), experiments, IMPORTED_FROM_TAG, &origin(source, id)).await?;
        Ok(found.map(Arc::unwrap_or_clone))
    }

    async fn run(
        &self,
        source: &dyn ImportSource,
        found: &RunRecord,
        experiment: Option<ExperimentId>,
        report: &mut ImportReport,
    ) -> Result<Option<Waiting>> {
        let existing = self.imported_run(source, found.id.as_str(), experiment.as_slice()).await?;
        if let Some(run) = &existing
            && self.is_done(run).await?
        {
            report.counts.runs_present += 1;
            return Ok(None);
        }
        let target = match (existing, experiment) {
            _ if self.options.dry_run => None,
            (Some(run), _) => Some(run),
            (None, Some(experiment)) => {
                let created = self.tracking.create_run(creation(source, found, experiment)).await;
                let Some(run) = tolerate(created, &format!("run {}", found.id), report)? else { return Ok(None) };
                Some(run)
            }
            (None, None) => None,
        };
        let open = found.ended.is_none() && !found.status.is_end();
        report.counts.runs += 1;
        report.counts.runs_open += u64::from(open);
        self.values(found, target.as_ref(), report).await?;
        self.points(source, found, target.as_ref(), report).await?;
        self.files(source, found, target.as_ref(), report).await?;
        let Some(run) = target else { return Ok(None) };
        if found.status != RunStatus::Running || found.ended.is_some() {
            let update = RunUpdate { status: Some(found.status), ended: found.ended, name: None };
            self.tracking.update_run(&run.id, update).await?;
        }
        let state = match found.deleted {
            true => DELETED,
            false if open => OPEN,
            false => COMPLETE,
        };
        let Some(parent) = found.tags.get(PARENT_RUN_TAG) else {
            return self.complete(&run.id, None, state).await.map(|()| None);
        };
        match self.imported_run(source, parent, experiment.as_slice()).await? {
            Some(parent) => self.complete(&run.id, Some(parent.id.to_string()), state).await.map(|()| None),
            None => Ok(Some(Waiting { id: run.id, parent: parent.clone(), state })),
        }
    }

    /// Whether nothing of the run is missing; one that was about to be deleted is.
    async fn is_done(&self, run: &RunRecord) -> Result<bool> {
        let state = run.tags.get(IMPORTED_TAG).map(String::as_str);
        if state == Some(DELETED) && !run.deleted && !self.options.dry_run {
            self.tracking.delete_run(&run.id).await?;
        }
        Ok(run.deleted || matches!(state, Some(COMPLETE | DELETED)))
    }

    async fn complete(&self, id: &RunId, parent: Option<String>, state: &str) -> Result<()> {
        let parent = parent.map(|parent| (PARENT_RUN_TAG.to_owned(), parent));
        let tags = parent.into_iter().chain([(IMPORTED_TAG.to_owned(), state.to_owned())]).collect();
        self.tracking.log_batch(id, &Batch { tags, ..Batch::default() }).await?;
        if state == DELETED { self.tracking.delete_run(id).await } else { Ok(()) }
    }

    /// Params, tags and datasets.
    async fn values(&self, found: &RunRecord, to: Option<&RunRecord>, report: &mut ImportReport) -> Result<()> {
        let place = format!("run {}", found.id);
        let params = admitted("param", &place, &found.params, report);
        let elsewhere = |key: &str| matches!(key, RUN_NAME_TAG | PARENT_RUN_TAG) || is_own(key);
        let tags = found.tags.iter().filter(|(key, _)| !elsewhere(key));
        let tags = admitted("tag", &place, tags, report);
        report.counts.params += params.len() as u64;
        report.counts.tags += tags.len() as u64;
        report.counts.datasets += found.datasets.len() as u64;
        let Some(to) = to else { return Ok(()) };
        let of_params = |params: &[(String, String)]| Batch { params: params.to_vec(), ..Batch::default() };
        self.log_pairs(&to.id, &params, BATCH_PARAMS_MAX, of_params, report).await?;
        let of_tags = |tags: &[(String, String)]| Batch { tags: tags.to_vec(), ..Batch::default() };
        self.log_pairs(&to.id, &tags, BATCH_TAGS_MAX, of_tags, report).await?;
        for dataset in &found.datasets {
            let linked = self.tracking.log_inputs(&to.id, std::slice::from_ref(dataset)).await;
            tolerate(linked, &format!("dataset {:?} of {place}", dataset.dataset.name), report)?;
        }
        Ok(())
    }

    /// Logs pairs in batches; of a batch that is refused, each pair apart, so that only the wrong ones are left out.
    async fn log_pairs(
        &self,
        id: &RunId,
        pairs: &[(String, String)],
        batch_max: usize,
        batch: impl Fn(&[(String, String)]) -> Batch + Send + Sync,
        report: &mut ImportReport,
    ) -> Result<()> {
        for pairs in pairs.chunks(batch_max) {
            let whole = self.tracking.log_batch(id, &batch(pairs)).await;
            match whole {
                Err(error) if is_of_the_record(&error) => {}
                outcome => {
                    outcome?;
                    continue;
                }
            }
            for pair in pairs {
                let logged = self.tracking.log_batch(id, &batch(std::slice::from_ref(pair))).await;
                tolerate(logged, &format!("{:?} of run {id}", pair.0), report)?;
            }
        }
        Ok(())
    }

    async fn points(
        &self,
        source: &dyn ImportSource,
        found: &RunRecord,
        to: Option<&RunRecord>,
        report: &mut ImportReport,
    ) -> Result<()> {
        let mut token = None;
        let mut refused = BTreeSet::new();
        loop {
            let page = source.points(found, token, report).await?;
            let mut points = page.items;
            points.retain(|point| admits(point, found, &mut refused, report));
            report.counts.points += points.len() as u64;
            if let Some(to) = to {
                for metrics in points.chunks(BATCH_METRICS_MAX) {
                    let batch = Batch { metrics: metrics.to_vec(), ..Batch::default() };
                    let logged = self.tracking.log_batch(&to.id, &batch).await;
                    tolerate(logged, &format!("metrics of run {}", found.id), report)?;
                }
            }
            token = page.next_page_token;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    async fn files(
        &self,
        source: &dyn ImportSource,
        found: &RunRecord,
        to: Option<&RunRecord>,
        report: &mut ImportReport,
    ) -> Result<()> {
        let Some(artifacts) = &self.artifacts else { return Ok(()) };
        let directory = match to.map(|run| artifacts.path_of(&run.artifact_uri)).transpose() {
            Ok(directory) => directory,
            Err(error) => {
                report.skip(format!("files of run {}", found.id), error.message());
                return Ok(());
            }
        };
        for file in source.files(found, report).await? {
            let place = format!("file {:?} of run {}", file.path, found.id);
            let to = directory.as_ref().map(|directory| format!("{directory}/{}", file.path));
            self.copy(artifacts, (&file, to, &place), source.open(found, &file.path), report).await?;
        }
        Ok(())
    }

    /// Copies a file, unless this is a dry run, and counts it.
    pub(super) async fn copy(
        &self,
        artifacts: &ArtifactStore,
        (file, to, place): (&SourceFile, Option<String>, &str),
        pieces: impl Future<Output = Result<FilePieces>> + Send,
        report: &mut ImportReport,
    ) -> Result<()> {
        if self.options.file_bytes_max < file.size {
            report.skip(place, format!("it has {} bytes; file_bytes_max allows fewer", file.size));
            return Ok(());
        }
        if let Some(to) = to {
            let copied = async { artifacts.put_pieces(&to, pieces.await?).await };
            if tolerate(copied.await, place, report)?.is_none() {
                return Ok(());
            }
        }
        report.counts.files += 1;
        report.counts.file_bytes += file.size;
        Ok(())
    }
}

/// What tag [`IMPORTED_FROM_TAG`] says: never with a quote, which a filter could not hold.
pub(super) fn origin(source: &dyn ImportSource, id: &str) -> String {
    format!("{}#{id}", source.name()).replace('\'', "%27").replace(|c: char| c.is_control(), "_")
}

pub(super) fn is_own(tag: &str) -> bool {
    OWN_TAGS.contains(&tag)
}

/// The tags of a record here: those of the source, and where this import has it from.
pub(super) fn tags_here(found: &BTreeMap<String, String>, origin: String) -> BTreeMap<String, String> {
    let theirs = found.iter().filter(|(key, _)| !is_own(key)).map(|(key, value)| (key.clone(), value.clone()));
    theirs.chain([(IMPORTED_FROM_TAG.to_owned(), origin)]).collect()
}

/// The outcome, or none and a note when the record itself is at fault.
pub(super) fn tolerate<T>(outcome: Result<T>, place: &str, report: &mut ImportReport) -> Result<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_of_the_record(&error) => {
            report.skip(place, error.message());
            Ok(None)
        }
        Err(error) => Err(named(error, place)),
    }
}

/// Whether the record is at fault and not the store.
fn is_of_the_record(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidArgument
            | ErrorKind::AlreadyExists
            | ErrorKind::FailedPrecondition
            | ErrorKind::NotFound
            | ErrorKind::PermissionDenied
    )
}

fn named(error: Error, place: &str) -> Error {
    Error::new(error.kind(), format!("import of {place}: {}", error.message())).with_source(error)
}

fn creation(source: &dyn ImportSource, found: &RunRecord, experiment: ExperimentId) -> CreateRun {
    let name = Some(found.name.clone()).filter(|name| !name.is_empty());
    let mut tags = BTreeMap::from([(IMPORTED_FROM_TAG.to_owned(), origin(source, found.id.as_str()))]);
    if !found.artifact_uri.is_empty() {
        tags.insert(IMPORTED_FILES_TAG.to_owned(), found.artifact_uri.clone());
    }
    CreateRun {
        experiment,
        name: name.or_else(|| found.tags.get(RUN_NAME_TAG).cloned()),
        user: found.user.clone(),
        started: Some(found.started),
        tags,
    }
}

/// The same without the tags whose key is not acceptable; each is noted.
pub(super) fn admitted_here(
    found: &BTreeMap<String, String>,
    origin: String,
    place: &str,
    report: &mut ImportReport,
) -> BTreeMap<String, String> {
    admitted("tag", place, &tags_here(found, origin), report).into_iter().collect()
}

/// The pairs of the record at `place` whose key is acceptable; the others are noted.
fn admitted<'a>(
    what: &str,
    place: &str,
    pairs: impl IntoIterator<Item = (&'a String, &'a String)>,
    report: &mut ImportReport,
) -> Vec<(String, String)> {
    let mut admitted = Vec::new();
    for (key, value) in pairs {
        match check_key(&format!("{what} key"), key) {
            Ok(()) => admitted.push((key.clone(), value.clone())),
            Err(error) => report.skip(format!("{what} {key:?} of {place}"), error.message()),
        }
    }
    admitted
}

/// Whether a point can be logged; each key that cannot is noted once.
fn admits(point: &Metric, run: &RunRecord, refused: &mut BTreeSet<String>, report: &mut ImportReport) -> bool {
    let reason = match check_key("metric key", &point.key) {
        Err(error) => error.message().to_owned(),
        Ok(()) if point.timestamp.as_millis() < 0 => "points before 1970 are not accepted".to_owned(),
        Ok(()) => return true,
    };
    if refused.insert(point.key.clone()) {
        report.skip(format!("metric {:?} of run {}", point.key, run.id), reason);
    }
    false
}
