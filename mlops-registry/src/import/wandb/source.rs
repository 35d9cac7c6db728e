//! The folders of runs as a source.
//!
//! Invariant: memory holds the paths of the folders, one page of runs and one of points.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use mlops_core::{Error, Metric, Result, RunId, Timestamp};

use super::{
    entry::{Entry, Row},
    facts::Facts,
    part::Part,
};
use crate::{
    import::{
        local::{self, directories},
        report::ImportReport,
        source::{FilePieces, ImportSource, SourceFile},
    },
    registry::{ModelVersion, RegisteredModel},
    search::Page,
    tracking::{Experiment, ExperimentId, RunRecord},
};

/// How deep below the directory a run's folder may lie.
const DEPTH_MAX: usize = 4;
/// Most folders of runs.
const FOLDERS_MAX: usize = 1_000_000;
const RUNS_PER_PAGE: usize = 100;
const POINTS_PER_PAGE: usize = 10_000;

/// Runs by their ids, each with its folders in order.
type Runs = BTreeMap<String, Vec<Part>>;
/// Projects by their names.
type Projects = BTreeMap<String, Runs>;

/// Folders of Weights & Biases runs below one directory.
///
/// A folder of the client, `wandb/run-TIME-ID` or `wandb/offline-run-TIME-ID`, holds the record file `run-ID.wandb` with
/// config, history, summary and system metrics. From the service, this program writes a folder for each run:
///
/// ```text
/// import json, pathlib, sys, wandb
/// for run in wandb.Api().runs(sys.argv[1]):                              # ENTITY/PROJECT
///     folder = pathlib.Path(sys.argv[2], run.project, run.id)
///     folder.mkdir(parents=True, exist_ok=True)
///     about = {key: getattr(run, key, None) for key in ("id", "name", "project", "entity", "state", "url")}
///     about |= {"created_at": str(run.created_at), "tags": list(run.tags), "notes": run.notes, "group": run.group}
///     for name, value in [("run", about), ("config", run.config), ("summary", dict(run.summary))]:
///         (folder / f"{name}.json").write_text(json.dumps(value, default=str))
///     with open(folder / "history.jsonl", "w") as file:
///         file.writelines(json.dumps(row, default=str) + "\n" for row in run.scan_history())
/// ```
///
/// Files of a run are in the folder `files` in both. A project becomes an experiment, config params, the numbers of the
/// history and of the machine (`system/...`) metrics, and numbers that only the summary has metrics of one point. Nested
/// names are joined by dots. Charts, tables, images and other values that are no numbers are named in the report.
#[derive(Debug, Clone)]
pub struct WandbRuns {
    root: PathBuf,
    found: Arc<Mutex<Option<Arc<Projects>>>>,
}

impl WandbRuns {
    /// The directory `wandb` of the client, or one of an export.
    ///
    /// # Errors
    /// `NotFound` or `Unavailable` when it is no directory that can be read.
    pub fn open(directory: &Path) -> Result<Self> {
        Ok(Self { root: local::root(directory)?, found: Arc::default() })
    }

    /// Looks for folders.
    async fn look(&self, report: &mut ImportReport) -> Result<Arc<Projects>> {
        let root = self.root.clone();
        let projects = Arc::new(local::reporting(report, move |report| projects(&root, report)).await?);
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&projects));
        Ok(projects)
    }

    async fn projects(&self) -> Result<Arc<Projects>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match found {
            Some(found) => Ok(found),
            None => self.look(&mut ImportReport::default()).await,
        }
    }

    async fn parts(&self, run: &RunRecord) -> Result<Vec<Part>> {
        let projects = self.projects().await?;
        let runs = project(&projects, run.experiment).map(|(_, runs)| runs);
        let parts = runs.and_then(|runs| runs.get(run.id.as_str()));
        parts.cloned().ok_or_else(|| Error::not_found(format!("{} has no run {}", self.root.display(), run.id)))
    }
}

/// Projects are numbered in the order of their names.
fn project(projects: &Projects, id: ExperimentId) -> Option<(&String, &Runs)> {
    projects.iter().nth(usize::try_from(id.0).ok()?)
}

fn projects(root: &Path, report: &mut ImportReport) -> Result<Projects> {
    let (mut projects, mut open, mut count) = (Projects::new(), vec![(root.to_owned(), 0)], 0);
    while let Some((folder, depth)) = open.pop() {
        if let Some(part) = Part::of(&folder)? {
            count += 1;
            if FOLDERS_MAX < count {
                return Err(Error::resource_exhausted(format!("{} holds over {FOLDERS_MAX} runs", root.display())));
            }
            match who(&part)? {
                Some((project, id)) => projects.entry(project).or_default().entry(id).or_default().push(part),
                None => report.skip(part.place(), "it does not say which run it is"),
            }
        } else if depth < DEPTH_MAX {
            open.extend(directories(&folder)?.into_iter().map(|name| (folder.join(name), depth + 1)));
        }
    }
    // Names of folders begin with the time.
    projects.values_mut().flat_map(Runs::values_mut).for_each(|parts| parts.sort_unstable());
    Ok(projects)
}

/// Project and id of a run, which stand at the beginning.
fn who(part: &Part) -> Result<Option<(String, String)>> {
    let mut found = None;
    part.scan(0, &mut ImportReport::default(), &mut |entry, _| match entry {
        Entry::About(about) if !about.id.is_empty() => {
            found = Some((about.project().to_owned(), about.id));
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    })?;
    Ok(found)
}

/// The points of a row; what the machine was doing has the second of the run as its step.
fn points(row: Row, started: Timestamp) -> impl Iterator<Item = Metric> {
    let timestamp = row.time.unwrap_or(started);
    let second = i64::try_from(timestamp.duration_since(started).as_secs()).unwrap_or(i64::MAX);
    let step = row.step.unwrap_or(second);
    row.values.into_iter().map(move |(key, value)| Metric { key, value, timestamp, step })
}

/// A page that begins at `offset` in the folder numbered `at`.
fn page(parts: &[Part], run: &RunRecord, mut at: usize, mut offset: u64) -> Result<Page<Metric>> {
    // What is wrong is in the report since the run itself was read.
    let mut unused = ImportReport::default();
    let mut items = Vec::new();
    while let Some(part) = parts.get(at) {
        let mut next = None;
        part.scan(offset, &mut unused, &mut |entry, end| {
            if let Entry::Row(row) = entry {
                items.extend(points(row, run.started));
            }
            match items.len() < POINTS_PER_PAGE {
                true => ControlFlow::Continue(()),
                false => {
                    next = Some(format!("{at}:{end}"));
                    ControlFlow::Break(())
                }
            }
        })?;
        if next.is_some() {
            return Ok(Page { items, next_page_token: next });
        }
        (at, offset) = (at + 1, 0);
    }
    items.extend(run.metrics.values().cloned());
    Ok(Page { items, next_page_token: None })
}

#[async_trait]
impl ImportSource for WandbRuns {
    fn name(&self) -> String {
        "wandb".to_owned()
    }

    async fn experiments(&self, report: &mut ImportReport) -> Result<Vec<Experiment>> {
        let projects = self.look(report).await?;
        let experiment = |(number, name): (u64, &String)| Experiment {
            id: ExperimentId(number),
            name: name.clone(),
            artifact_location: String::new(),
            deleted: false,
            created: Timestamp::default(),
            updated: Timestamp::default(),
            tags: BTreeMap::new(),
        };
        Ok((0..).zip(projects.keys()).map(experiment).collect())
    }

    /// The token is the id of the last run.
    async fn runs(
        &self,
        experiment: ExperimentId,
        token: Option<String>,
        report: &mut ImportReport,
    ) -> Result<Page<RunRecord>> {
        let projects = self.projects().await?;
        local::reporting(report, move |report| {
            let mut page = Page { items: Vec::new(), next_page_token: None };
            let Some((_, runs)) = project(&projects, experiment) else { return Ok(page) };
            let mut left = runs.iter().filter(|(id, _)| token.as_ref().is_none_or(|last| *last < **id)).peekable();
            for (id, parts) in left.by_ref().take(RUNS_PER_PAGE) {
                page.next_page_token = Some(id.clone());
                match RunId::new(id) {
                    Ok(id) => page.items.push(Facts::read(parts, report)?.record(id, experiment)),
                    Err(error) => report.skip(format!("run {id:?}"), error.message()),
                }
            }
            page.next_page_token = left.peek().and(page.next_page_token);
            Ok(page)
        })
        .await
    }

    /// The token is the number of the folder and the place in its file, with a colon between them.
    async fn points(&self, run: &RunRecord, token: Option<String>, report: &mut ImportReport) -> Result<Page<Metric>> {
        let (parts, run) = (self.parts(run).await?, run.clone());
        let token = token.unwrap_or_default();
        let (at, offset) = token.split_once(':').unwrap_or(("0", "0"));
        let (at, offset) = (at.parse().unwrap_or(usize::MAX), offset.parse().unwrap_or(0));
        local::reporting(report, move |_| page(&parts, &run, at, offset)).await
    }

    async fn files(&self, run: &RunRecord, report: &mut ImportReport) -> Result<Vec<SourceFile>> {
        let mut found = BTreeMap::new();
        for part in self.parts(run).await? {
            let files = local::files_apart(part.files(), report).await?;
            found.extend(files.into_iter().map(|file| (file.path.clone(), file)));
        }
        Ok(found.into_values().collect())
    }

    async fn open(&self, run: &RunRecord, path: &str) -> Result<FilePieces> {
        let mut outcome = Err(Error::not_found(format!("run {} has no file {path:?}", run.id)));
        for part in self.parts(run).await?.iter().rev() {
            outcome = local::open(Ok(part.files()), path).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    async fn models(&self, _: &mut ImportReport) -> Result<Vec<RegisteredModel>> {
        Ok(Vec::new())
    }

    async fn versions(&self, _: &RegisteredModel, _: &mut ImportReport) -> Result<Vec<ModelVersion>> {
        Ok(Vec::new())
    }
}
