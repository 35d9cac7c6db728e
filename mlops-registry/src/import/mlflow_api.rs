//! A running MLflow server: runs, their files, and registered models.
//!
//! Invariant: it reads page by page and file by file in pieces, and nothing is written there. Logged models and traces are
//! not read.

use std::sync::Arc;

use async_trait::async_trait;
use mlops_core::{Metric, Result};

use super::{
    report::ImportReport,
    source::{FilePieces, ImportSource, SourceFile, check_count},
    store::StoreSource,
};
use crate::{
    artifacts::check_path,
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

impl MlflowApi {
    /// The server that `remote` speaks to; its address is the name of the source.
    #[must_use]
    pub fn new(remote: MlflowRemote) -> Self {
        let runs = StoreSource::new(Arc::new(remote.clone()), remote.address());
        Self { remote, runs }
    }
}

#[async_trait]
impl ImportSource for MlflowApi {
    fn name(&self) -> String {
        self.runs.name()
    }

    async fn experiments(&self, report: &mut ImportReport) -> Result<Vec<Experiment>> {
        report.skip(self.name(), "logged models and traces, if it has any, are not imported from a server");
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
        let (mut found, mut open) = (Vec::new(), vec![String::new()]);
        while let Some(directory) = open.pop() {
            let mut token = None;
            loop {
                let page = self.remote.artifacts(&run.id, &directory, token).await?;
                for entry in page.items {
                    match entry {
                        Listed::File(file) => match check_path("artifact path", &file.path) {
                            Ok(()) => found.push(file),
                            Err(error) => report.skip(format!("files of run {}", run.id), error.message()),
                        },
                        // A directory that lists itself or its parent would be listed for ever.
                        Listed::Directory(path) if directory.len() < path.len() => open.push(path),
                        Listed::Directory(_) => {}
                    }
                }
                check_count(self.remote.address(), "files of one run", found.len() + open.len())?;
                token = page.next_page_token;
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn open(&self, run: &RunRecord, path: &str) -> Result<FilePieces> {
        self.remote.artifact(&run.id, path).await
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
