//! A running MLflow server: runs, logged models, traces, files, and registered models.
//!
//! Invariant: it reads page by page and file by file in pieces, and nothing is written there. Which models a run read is
//! not imported, nor deleted logged models.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Metric, Result, RunId};

use super::{
    report::ImportReport,
    source::{FilePieces, ImportSource, SourceFile, SourceTrace, check_count},
    store::StoreSource,
};
use crate::{
    artifacts::check_path,
    logged_models::{LoggedModel, LoggedModelId},
    registry::{ModelVersion, RegisteredModel},
    remote::{Listed, MlflowRemote},
    search::Page,
    tracking::{Experiment, ExperimentId, RunRecord},
};

/// A server that speaks MLflow's REST API, as a source.
///
/// ```no_run
/// use std::sync::Arc;
/// use mlops_registry::{
///     MlflowRemote, SqlTrackingStore, import::{Importer, MlflowApi},
/// };
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let ours = SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await?)).build().await?;
/// let source = MlflowApi::new(MlflowRemote::builder("http://mlflow.internal:5000").build()?);
/// println!("{:?}", Importer::new(Arc::new(ours)).import(&source).await?);
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MlflowApi {
    remote: MlflowRemote,
    runs: StoreSource,
}

/// Whose files are listed.
#[derive(Clone, Copy)]
enum Owner<'a> {
    Run(&'a RunId),
    Model(&'a LoggedModelId),
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(id) => write!(f, "run {id}"),
            Self::Model(id) => write!(f, "logged model {id}"),
        }
    }
}

impl Owner<'_> {
    async fn list(self, remote: &MlflowRemote, directory: &str, token: Option<String>) -> Result<Page<Listed>> {
        match self {
            Self::Run(id) => remote.artifacts(id, directory, token).await,
            Self::Model(id) => remote.logged_model_artifacts(id, directory, token).await,
        }
    }
}

impl MlflowApi {
    /// The server that `remote` speaks to; its address is the name of the source.
    #[must_use]
    pub fn new(remote: MlflowRemote) -> Self {
        let runs = StoreSource::new(Arc::new(remote.clone()), remote.address());
        Self { remote, runs }
    }

    /// All files below the top of something, directory by directory.
    async fn walk(&self, of: Owner<'_>, report: &mut ImportReport) -> Result<Vec<SourceFile>> {
        let (mut found, mut open) = (Vec::new(), vec![String::new()]);
        while let Some(directory) = open.pop() {
            let mut token = None;
            loop {
                let page = of.list(&self.remote, &directory, token).await?;
                for entry in page.items {
                    match entry {
                        Listed::File(file) => match check_path("artifact path", &file.path) {
                            Ok(()) => found.push(file),
                            Err(error) => report.skip(format!("files of {of}"), error.message()),
                        },
                        // A directory that lists itself or its parent would be listed for ever.
                        Listed::Directory(path) if directory.len() < path.len() => open.push(path),
                        Listed::Directory(_) => {}
                    }
                }
                check_count(self.remote.address(), &format!("files of {of}"), found.len() + open.len())?;
                token = page.next_page_token;
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl ImportSource for MlflowApi {
    fn name(&self) -> String {
        self.runs.name()
    }

    async fn experiments(&self, report: &mut ImportReport) -> Result<Vec<Experiment>> {
        self.runs.experiments(report).await
    }

    async fn runs(
        &self,
        experiment: ExperimentId,
        token: Option<String>,
        report: &mut ImportReport,
    ) -> Result<Page<RunRecord>> {
        self.runs.runs(experiment, token, report).await
    }

    async fn points(&self, run: &RunRecord, token: Option<String>, report: &mut ImportReport) -> Result<Page<Metric>> {
        self.runs.points(run, token, report).await
    }

    async fn files(&self, run: &RunRecord, report: &mut ImportReport) -> Result<Vec<SourceFile>> {
        self.walk(Owner::Run(&run.id), report).await
    }

    async fn open(&self, run: &RunRecord, path: &str) -> Result<FilePieces> {
        self.remote.artifact(&run.id, path).await
    }

    async fn logged_models(
        &self,
        experiment: ExperimentId,
        token: Option<String>,
        _: &mut ImportReport,
    ) -> Result<Page<LoggedModel>> {
        self.remote.logged_models(experiment, token).await
    }

    async fn logged_model_files(&self, model: &LoggedModel, report: &mut ImportReport) -> Result<Vec<SourceFile>> {
        self.walk(Owner::Model(&model.id), report).await
    }

    async fn open_logged_model_file(&self, model: &LoggedModel, path: &str) -> Result<FilePieces> {
        self.remote.logged_model_artifact(&model.id, path).await
    }

    async fn traces(
        &self,
        experiment: ExperimentId,
        token: Option<String>,
        report: &mut ImportReport,
    ) -> Result<Page<SourceTrace>> {
        self.remote.traces(experiment, token, report).await
    }

    async fn models(&self, _: &mut ImportReport) -> Result<Vec<RegisteredModel>> {
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let page = self.remote.registered_models(token).await?;
            all.extend(page.items);
            check_count(self.remote.address(), "registered models", all.len())?;
            token = page.next_page_token;
            if token.is_none() {
                return Ok(all);
            }
        }
    }

    async fn versions(&self, model: &RegisteredModel, _: &mut ImportReport) -> Result<Vec<ModelVersion>> {
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let page = self.remote.model_versions(&model.name, token).await?;
            all.extend(page.items);
            check_count(self.remote.address(), "versions of one model", all.len())?;
            token = page.next_page_token;
            if token.is_none() {
                all.sort_by_key(|version| version.version);
                return Ok(all);
            }
        }
    }
}
