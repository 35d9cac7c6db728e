//! Import from any other tracking store. For a running MLflow server there is [`super::MlflowApi`], which reads models and
//! files as well.
//!
//! Invariant: it reads page by page, so memory holds one page whatever the number of runs and points. It has no
//! registered models; files come along when the artifact store of the source is given.

use std::sync::Arc;

use async_trait::async_trait;
use mlops_core::{Error, Metric, Result};

use super::{
    report::ImportReport,
    source::{FilePieces, ImportSource, SourceFile, check_count},
};
use crate::{
    artifacts::ArtifactStore,
    registry::{ModelVersion, RegisteredModel},
    search::{Page, PageRequest, Search, View},
    tracking::{Experiment, ExperimentId, RunRecord, TrackingStore},
};

const EXPERIMENTS_PER_PAGE: usize = 1_000;
const RUNS_PER_PAGE: usize = 100;
const POINTS_PER_PAGE: usize = 10_000;

/// A tracking store as a source.
#[derive(Debug, Clone)]
pub struct StoreSource {
    store: Arc<dyn TrackingStore>,
    name: String,
    artifacts: Option<ArtifactStore>,
}

impl StoreSource {
    /// `name` tells the store from others, as its URL does.
    #[must_use]
    pub fn new(store: Arc<dyn TrackingStore>, name: impl Into<String>) -> Self {
        Self { store, name: name.into(), artifacts: None }
    }

    /// Where the files of its runs lie.
    #[must_use]
    pub fn with_artifacts(mut self, artifacts: ArtifactStore) -> Self {
        self.artifacts = Some(artifacts);
        self
    }

    fn directory(&self, run: &RunRecord) -> Result<(&ArtifactStore, String)> {
        let artifacts = self.artifacts.as_ref().ok_or_else(|| Error::failed_precondition("source has no files"))?;
        Ok((artifacts, artifacts.path_of(&run.artifact_uri)?))
    }
}

#[async_trait]
impl ImportSource for StoreSource {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn experiments(&self, _: &mut ImportReport) -> Result<Vec<Experiment>> {
        // MLflow's server takes a missing size of the page for 0 and refuses it.
        let (mut all, mut search) =
            (Vec::new(), Search::new().with_view(View::All).with_max_results(EXPERIMENTS_PER_PAGE));
        loop {
            let page = self.store.search_experiments(&search).await?;
            all.extend(page.items);
            check_count(&self.name, "experiments", all.len())?;
            match page.next_page_token {
                Some(token) => search.page.token = Some(token),
                None => return Ok(all),
            }
        }
    }

    async fn runs(
        &self,
        experiment: ExperimentId,
        token: Option<String>,
        _: &mut ImportReport,
    ) -> Result<Page<RunRecord>> {
        let page = PageRequest { max_results: Some(RUNS_PER_PAGE), token };
        // Oldest first: a run that starts while the import goes on comes at the end.
        let search = Search { page, ..Search::new().with_view(View::All).with_order("attributes.start_time ASC") };
        let Page { items, next_page_token } = self.store.search_runs(&[experiment], &search).await?;
        Ok(Page { items: items.into_iter().map(Arc::unwrap_or_clone).collect(), next_page_token })
    }

    /// The token is the number of the key and the store's token, with a colon between them.
    async fn points(&self, run: &RunRecord, token: Option<String>, _: &mut ImportReport) -> Result<Page<Metric>> {
        let token = token.unwrap_or_default();
        let (number, inner) = token.split_once(':').unwrap_or(("0", ""));
        let number: usize = number.parse().unwrap_or(usize::MAX);
        let Some(key) = run.metrics.keys().nth(number) else {
            return Ok(Page { items: Vec::new(), next_page_token: None });
        };
        let inner = Some(inner.to_owned()).filter(|inner| !inner.is_empty());
        let request = PageRequest { max_results: Some(POINTS_PER_PAGE), token: inner };
        let page = self.store.metric_history(&run.id, key, &request).await?;
        let more = number + 1 < run.metrics.len();
        let next_page_token = match page.next_page_token {
            Some(inner) => Some(format!("{number}:{inner}")),
            None => more.then(|| format!("{}:", number + 1)),
        };
        Ok(Page { items: page.items, next_page_token })
    }

    async fn files(&self, run: &RunRecord, report: &mut ImportReport) -> Result<Vec<SourceFile>> {
        if self.artifacts.is_none() {
            return Ok(Vec::new());
        }
        match self.directory(run) {
            Ok((artifacts, directory)) => {
                let files = artifacts.files(&directory).await?;
                Ok(files.into_iter().map(|(path, size)| SourceFile { path, size }).collect())
            }
            Err(error) => {
                report.skip(format!("files of run {}", run.id), error.message());
                Ok(Vec::new())
            }
        }
    }

    async fn open(&self, run: &RunRecord, path: &str) -> Result<FilePieces> {
        let (artifacts, directory) = self.directory(run)?;
        Ok(artifacts.open(&format!("{directory}/{path}"), None).await?.pieces)
    }

    async fn models(&self, report: &mut ImportReport) -> Result<Vec<RegisteredModel>> {
        report.skip(self.name(), "a tracking store has no registered models; import them from the registry beside it");
        Ok(Vec::new())
    }

    async fn versions(&self, _: &RegisteredModel, _: &mut ImportReport) -> Result<Vec<ModelVersion>> {
        Ok(Vec::new())
    }
}
