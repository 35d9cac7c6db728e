//! MLflow's file store: a directory `mlruns` with a directory for each experiment and in it one for each run.
//!
//! Invariant: only what lies below the directory is read, never by a link; files of runs may lie below a second one that
//! the caller names. Experiments that are deleted lie in `.trash`, registered models in `models`. Logged models and
//! traces are not read but counted in the report.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use mlops_core::{Alias, Metric, ModelName, Result, RunId, RunStatus, Timestamp, Version};

use super::{
    local::{self, LastListing, Lines, directories, is_plain, unreadable},
    report::ImportReport,
    source::{FilePieces, ImportSource, SourceFile},
    yaml::{self, Document},
};
use crate::{
    registry::{ModelVersion, RegisteredModel, STAGE_TAG, VersionSource},
    search::Page,
    tracking::{DatasetInput, Experiment, ExperimentId, LoggedDataset, RunRecord, record::parse_status},
};

/// Largest `meta.yaml`, param or tag that is read, in bytes.
const VALUE_BYTES_MAX: u64 = 1 << 20;
const RUNS_PER_PAGE: usize = 100;
const POINTS_PER_PAGE: usize = 10_000;
/// Longest line of a metric file, in bytes.
const LINE_BYTES_MAX: u64 = 4_096;
/// Directories of an experiment that are no runs.
const NOT_RUNS: [&str; 4] = ["tags", "datasets", "traces", "models"];

/// A directory that MLflow's file store wrote.
#[derive(Debug, Clone)]
pub struct MlflowFiles {
    root: PathBuf,
    artifacts: Option<PathBuf>,
    /// Names of the runs of an experiment.
    runs: Arc<LastListing<String>>,
    /// Files of the metrics of a run.
    metrics: Arc<LastListing<(String, u64)>>,
}

impl MlflowFiles {
    /// The directory, usually named `mlruns`.
    ///
    /// # Errors
    /// `NotFound` or `Unavailable` when it is no directory that can be read.
    pub fn open(directory: &Path) -> Result<Self> {
        Ok(Self { root: local::root(directory)?, artifacts: None, runs: Arc::default(), metrics: Arc::default() })
    }

    /// Reads files of runs that lie below `directory` as well, where experiments have an artifact location of their own.
    ///
    /// # Errors
    /// As [`MlflowFiles::open`].
    pub fn with_artifacts(mut self, directory: &Path) -> Result<Self> {
        self.artifacts = Some(local::root(directory)?);
        Ok(self)
    }

    /// Where the files of a run lie, or why they are out of reach.
    fn artifact_directory(&self, run: &RunRecord) -> Result<PathBuf, String> {
        let own = self.run_directory(run).join("artifacts");
        let named = self.artifacts.as_ref().map(|root| local::artifact_directory(root, &run.artifact_uri));
        match named {
            Some(Ok(directory)) => Ok(directory),
            _ if own.is_dir() => Ok(own),
            Some(Err(reason)) => Err(reason),
            None => Err(format!("its files are at {}; name the directory above them", run.artifact_uri)),
        }
    }

    fn experiment_directory(&self, id: ExperimentId) -> PathBuf {
        let active = self.root.join(id.to_string());
        if active.is_dir() { active } else { self.root.join(".trash").join(id.to_string()) }
    }

    fn run_directory(&self, run: &RunRecord) -> PathBuf {
        self.experiment_directory(run.experiment).join(run.id.as_str())
    }

    /// Runs the blocking `read`, which adds to the report.
    async fn read<T: Send + 'static>(
        &self,
        report: &mut ImportReport,
        read: impl FnOnce(&Self, &mut ImportReport) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        local::reporting(report, move |report| read(&this, report)).await
    }
}

#[async_trait]
impl ImportSource for MlflowFiles {
    fn name(&self) -> String {
        format!("mlflow:{}", self.root.display())
    }

    async fn experiments(&self, report: &mut ImportReport) -> Result<Vec<Experiment>> {
        self.read(report, |this, report| {
            let mut all = Vec::new();
            for (parent, deleted) in [(this.root.clone(), false), (this.root.join(".trash"), true)] {
                for name in directories(&parent)? {
                    let Ok(id) = name.parse() else { continue };
                    let directory = parent.join(&name);
                    all.extend(experiment(&directory, id, deleted, report)?);
                    for (below, what) in [("models", "logged models"), ("traces", "traces")] {
                        let count = directories(&directory.join(below))?.len();
                        local::note_unread(&directory.display().to_string(), count as u64, what, report);
                    }
                }
            }
            Ok(all)
        })
        .await
    }

    async fn runs(
        &self,
        experiment: ExperimentId,
        token: Option<String>,
        report: &mut ImportReport,
    ) -> Result<Page<RunRecord>> {
        self.read(report, move |this, report| {
            let directory = this.experiment_directory(experiment);
            let names = this.runs.of(&directory, token.as_deref(), |directory| {
                let mut names = directories(directory)?;
                names.retain(|name| !NOT_RUNS.contains(&name.as_str()));
                Ok(names)
            })?;
            let from = token.map_or(0, |last| names.partition_point(|name| *name <= last));
            let mut left = names.iter().skip(from).peekable();
            let (mut items, mut last) = (Vec::new(), None);
            for name in left.by_ref().take(RUNS_PER_PAGE) {
                items.extend(run(&directory, name, experiment, report)?);
                last = Some(name.clone());
            }
            Ok(Page { items, next_page_token: left.peek().and(last) })
        })
        .await
    }

    /// The token is a place in a file and the key of the metric, with a colon between them.
    async fn points(&self, run: &RunRecord, token: Option<String>, report: &mut ImportReport) -> Result<Page<Metric>> {
        let directory = self.run_directory(run).join("metrics");
        self.read(report, move |this, report| {
            // Links are in the report once, on the first page.
            let mut unused = ImportReport::default();
            let noted = if token.is_none() { &mut *report } else { &mut unused };
            let files = this.metrics.of(&directory, token.as_deref(), |directory| local::files(directory, noted))?;
            let token = token.unwrap_or_default();
            let (offset, from) = token.split_once(':').unwrap_or(("0", ""));
            let mut offset: u64 = offset.parse().unwrap_or(0);
            let mut items = Vec::new();
            for (key, _) in files.iter().skip(files.partition_point(|(key, _)| key.as_str() < from)) {
                let end = points(&directory.join(key), key, offset, &mut items, report)?;
                if let Some(end) = end {
                    return Ok(Page { items, next_page_token: Some(format!("{end}:{key}")) });
                }
                offset = 0;
            }
            Ok(Page { items, next_page_token: None })
        })
        .await
    }

    async fn files(&self, run: &RunRecord, report: &mut ImportReport) -> Result<Vec<SourceFile>> {
        local::files_of(run, self.artifact_directory(run), report).await
    }

    async fn open(&self, run: &RunRecord, path: &str) -> Result<FilePieces> {
        local::open(self.artifact_directory(run), path).await
    }

    async fn models(&self, report: &mut ImportReport) -> Result<Vec<RegisteredModel>> {
        self.read(report, |this, report| {
            let (root, mut all) = (this.root.join("models"), Vec::new());
            for name in directories(&root)? {
                all.extend(model(&root.join(name), report)?);
            }
            Ok(all)
        })
        .await
    }

    async fn versions(&self, model: &RegisteredModel, report: &mut ImportReport) -> Result<Vec<ModelVersion>> {
        let model = model.name.clone();
        self.read(report, move |this, report| {
            let (root, mut all) = (this.root.join("models").join(model.as_str()), Vec::new());
            for name in directories(&root)? {
                let Some(number) = name.strip_prefix("version-") else { continue };
                match number.parse() {
                    Ok(number) => all.extend(version(&root.join(&name), &model, number, report)?),
                    Err(error) => report.skip(root.join(&name).display().to_string(), error.to_string()),
                }
            }
            all.sort_by_key(|version| version.version);
            Ok(all)
        })
        .await
    }
}

/// The `meta.yaml` of a directory; none with a note.
fn meta(directory: &Path, report: &mut ImportReport) -> Option<Document> {
    let path = directory.join("meta.yaml");
    match local::text(&path, VALUE_BYTES_MAX) {
        Err(reason) => report.skip(path.display().to_string(), reason),
        Ok(text) => match yaml::parse(&text) {
            Ok(document) => return Some(document),
            Err(error) => report.skip(format!("{}:{}", path.display(), error.line), error.reason),
        },
    }
    None
}

/// One file for each key.
fn values(directory: &Path, report: &mut ImportReport) -> Result<BTreeMap<String, String>> {
    let mut values = BTreeMap::new();
    for (key, _) in local::files(directory, report)? {
        let path = directory.join(&key);
        match local::text(&path, VALUE_BYTES_MAX) {
            Ok(text) => drop(values.insert(key, text)),
            Err(reason) => report.skip(path.display().to_string(), reason),
        }
    }
    Ok(values)
}

fn time(document: &Document, key: &str) -> Timestamp {
    Timestamp::from_millis(document.number(key).unwrap_or(0))
}

fn owned(document: &Document, key: &str) -> String {
    document.text(key).unwrap_or_default().to_owned()
}

fn experiment(
    directory: &Path,
    id: ExperimentId,
    deleted: bool,
    report: &mut ImportReport,
) -> Result<Option<Experiment>> {
    let Some(meta) = meta(directory, report) else { return Ok(None) };
    let Some(name) = meta.text("name") else {
        report.skip(directory.join("meta.yaml").display().to_string(), "it has no name");
        return Ok(None);
    };
    Ok(Some(Experiment {
        id,
        name: name.to_owned(),
        artifact_location: owned(&meta, "artifact_location"),
        deleted: deleted || meta.text("lifecycle_stage") == Some("deleted"),
        created: time(&meta, "creation_time"),
        updated: time(&meta, "last_update_time"),
        tags: values(&directory.join("tags"), report)?,
    }))
}

/// MLflow writes the number of the status in protobuf.
fn status(text: &str) -> Result<RunStatus> {
    match text {
        "1" => Ok(RunStatus::Running),
        "2" => Ok(RunStatus::Scheduled),
        "3" => Ok(RunStatus::Finished),
        "4" => Ok(RunStatus::Failed),
        "5" => Ok(RunStatus::Killed),
        name => parse_status(name),
    }
}

fn run(experiment: &Path, name: &str, id: ExperimentId, report: &mut ImportReport) -> Result<Option<RunRecord>> {
    let directory = experiment.join(name);
    let Some(meta) = meta(&directory, report) else { return Ok(None) };
    let place = directory.join("meta.yaml").display().to_string();
    let status = status(meta.text("status").unwrap_or_default());
    let (run_id, status) = match (RunId::new(name), status) {
        (Ok(id), Ok(status)) => (id, status),
        (Err(error), _) | (_, Err(error)) => {
            report.skip(place, error.message());
            return Ok(None);
        }
    };
    Ok(Some(RunRecord {
        id: run_id,
        experiment: id,
        name: owned(&meta, "run_name"),
        user: owned(&meta, "user_id"),
        status,
        started: time(&meta, "start_time"),
        ended: meta.number("end_time").map(Timestamp::from_millis),
        artifact_uri: owned(&meta, "artifact_uri"),
        deleted: meta.text("lifecycle_stage") == Some("deleted"),
        params: values(&directory.join("params"), report)?,
        metrics: BTreeMap::new(),
        tags: values(&directory.join("tags"), report)?,
        datasets: datasets(experiment, &directory, report)?,
    }))
}

fn datasets(experiment: &Path, run: &Path, report: &mut ImportReport) -> Result<Vec<DatasetInput>> {
    let (root, mut inputs) = (run.join("inputs"), Vec::new());
    for name in directories(&root)? {
        let Some(input) = meta(&root.join(&name), report) else { continue };
        let id = input.text("source_id").unwrap_or_default();
        if input.text("source_type") != Some("DATASET") || !is_plain(id) {
            report.skip(root.join(&name).display().to_string(), "it links no dataset of this experiment");
            continue;
        }
        let Some(dataset) = meta(&experiment.join("datasets").join(id), report) else { continue };
        let dataset = LoggedDataset {
            name: owned(&dataset, "name"),
            digest: owned(&dataset, "digest"),
            source_type: owned(&dataset, "source_type"),
            source: owned(&dataset, "source"),
            schema: dataset.text("schema").map(str::to_owned),
            profile: dataset.text("profile").map(str::to_owned),
        };
        inputs.push(DatasetInput { dataset, tags: input.map("tags") });
    }
    Ok(inputs)
}

/// Adds the points of a file from `offset` on, and gives the place where the page is full.
fn points(
    path: &Path,
    key: &str,
    offset: u64,
    items: &mut Vec<Metric>,
    report: &mut ImportReport,
) -> Result<Option<u64>> {
    let mut lines = Lines::open(path, offset, LINE_BYTES_MAX)?;
    while items.len() < POINTS_PER_PAGE {
        let Some(line) = lines.next()? else { return Ok(None) };
        let text = std::str::from_utf8(line.bytes).unwrap_or("\u{fffd}").trim();
        match point(key, text) {
            Some(point) => items.push(point),
            None if text.is_empty() => {}
            None => {
                let number = line_number(path, line.at).map_err(|error| unreadable(path, error))?;
                report.skip(format!("{}:{number}", path.display()), "the line is not `timestamp value step`");
            }
        }
    }
    Ok(Some(lines.at()))
}

/// Counted only for a line that is wrong.
fn line_number(path: &Path, offset: u64) -> std::io::Result<u64> {
    let mut before = BufReader::new(std::fs::File::open(path)?.take(offset));
    let mut lines = 1;
    loop {
        let buffer = before.fill_buf()?;
        let read = buffer.len();
        if read == 0 {
            return Ok(lines);
        }
        lines += buffer.iter().filter(|&&byte| byte == b'\n').count() as u64;
        before.consume(read);
    }
}

/// `timestamp value step`; what old versions wrote has no step, what new ones write may have more behind it.
fn point(key: &str, line: &str) -> Option<Metric> {
    let mut fields = line.split(' ');
    let millis = fields.next()?.parse().ok()?;
    let value = fields.next()?.parse().ok()?;
    let step = fields.next().map_or(Some(0), |step| step.parse().ok())?;
    Some(Metric { key: key.to_owned(), value, timestamp: Timestamp::from_millis(millis), step })
}

fn model(directory: &Path, report: &mut ImportReport) -> Result<Option<RegisteredModel>> {
    let Some(meta) = meta(directory, report) else { return Ok(None) };
    let place = directory.join("meta.yaml").display().to_string();
    let folder = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = match ModelName::new(folder) {
        Ok(name) => name,
        Err(error) => {
            report.skip(place, error.message());
            return Ok(None);
        }
    };
    let mut aliases = BTreeMap::new();
    for (alias, version) in values(&directory.join("aliases"), report)? {
        match (Alias::new(&alias), version.trim().parse::<Version>()) {
            (Ok(alias), Ok(version)) => drop(aliases.insert(alias, version)),
            (Err(error), _) | (_, Err(error)) => report.skip(format!("alias {alias:?} in {place}"), error.message()),
        }
    }
    Ok(Some(RegisteredModel {
        name,
        description: owned(&meta, "description"),
        created: time(&meta, "creation_timestamp"),
        updated: time(&meta, "last_updated_timestamp"),
        last_version: 0,
        tags: values(&directory.join("tags"), report)?,
        aliases,
    }))
}

fn version(
    directory: &Path,
    model: &ModelName,
    number: Version,
    report: &mut ImportReport,
) -> Result<Option<ModelVersion>> {
    let Some(meta) = meta(directory, report) else { return Ok(None) };
    let mut tags = values(&directory.join("tags"), report)?;
    let stage = meta.text("current_stage").filter(|stage| !matches!(*stage, "None" | "Deleted_Internal"));
    tags.extend(stage.map(|stage| (STAGE_TAG.to_owned(), stage.to_owned())));
    if meta.text("current_stage") == Some("Deleted_Internal") {
        return Ok(None);
    }
    Ok(Some(ModelVersion {
        model: model.clone(),
        version: number,
        source: VersionSource::Uri(owned(&meta, "source")),
        run_id: meta.text("run_id").and_then(|id| RunId::new(id).ok()),
        run_link: owned(&meta, "run_link"),
        description: owned(&meta, "description"),
        created_by: owned(&meta, "user_id"),
        created: time(&meta, "creation_timestamp"),
        updated: time(&meta, "last_updated_timestamp"),
        tags,
        aliases: Vec::new(),
    }))
}
