//! Logged models of an experiment and their files.
//!
//! Invariant: a model gets the tag [`IMPORTED_FROM_TAG`] when it is created and [`IMPORTED_TAG`] after everything else of it
//! is written; one that is complete, or deleted here, is left alone. Its points are written with the run that measured
//! them, so those of runs that were not imported are left out, and noted.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mlops_core::Result;

use super::{
    IMPORTED_FROM_TAG, IMPORTED_TAG, ImportReport, ImportSource, Importer,
    importer::{COMPLETE, OPEN, is_own, origin, tolerate},
    kind::Kind,
};
use crate::{
    limits::BATCH_METRICS_MAX,
    logged_models::{
        CreateLoggedModel, LoggedModel, LoggedModelId, LoggedModelSearch, LoggedModelStatus, LoggedModelStore,
        ModelMetric, ModelOutput,
    },
    search::{Page, PageRequest, View},
    tracking::{Batch, ExperimentId},
};

/// What has to be known of a model that is here.
#[derive(Debug, Clone)]
struct ModelHere {
    id: LoggedModelId,
    artifact_uri: String,
    /// Whether nothing of it is missing, or nothing wanted any more.
    done: bool,
}

impl ModelHere {
    fn of(model: LoggedModel) -> Self {
        let complete = model.tags.get(IMPORTED_TAG).is_some_and(|state| state == COMPLETE);
        Self { done: complete || model.deleted, id: model.id, artifact_uri: model.artifact_uri }
    }
}

/// The logged models of an experiment of a source.
struct Models<'a> {
    importer: &'a Importer,
    source: &'a dyn ImportSource,
    store: &'a dyn LoggedModelStore,
    from: ExperimentId,
    here: BTreeMap<String, ModelHere>,
}

impl Models<'_> {
    fn existing(&self, found: &LoggedModel) -> Option<&ModelHere> {
        self.here.get(&origin(self.source, found.id.as_str()))
    }
}

#[async_trait]
impl Kind for Models<'_> {
    type Record = LoggedModel;

    async fn page(&self, token: Option<String>, report: &mut ImportReport) -> Result<Page<LoggedModel>> {
        self.source.logged_models(self.from, token, report).await
    }

    fn is_settled(&self, found: &LoggedModel, report: &mut ImportReport) -> bool {
        let done = self.existing(found).is_some_and(|model| model.done);
        report.counts.logged_models_present += u64::from(done);
        done
    }

    fn count(&self, _: &LoggedModel, report: &mut ImportReport) {
        report.counts.logged_models += 1;
    }

    async fn write(&self, found: LoggedModel, to: ExperimentId, report: &mut ImportReport) -> Result<()> {
        let existing = self.existing(&found);
        self.importer.logged_model(self.source, self.store, (&found, existing, to), report).await
    }
}

impl Importer {
    pub(super) async fn logged_models(
        &self,
        source: &dyn ImportSource,
        from: ExperimentId,
        to: Option<ExperimentId>,
        report: &mut ImportReport,
    ) -> Result<()> {
        let Some(store) = &self.logged_models else { return Ok(()) };
        let here = match to {
            Some(to) => models_here(store.as_ref(), to).await?,
            None => BTreeMap::new(),
        };
        let kind = Models { importer: self, source, store: store.as_ref(), from, here };
        self.all_of(&kind, to, report).await
    }

    async fn logged_model(
        &self,
        source: &dyn ImportSource,
        store: &dyn LoggedModelStore,
        (found, existing, to): (&LoggedModel, Option<&ModelHere>, ExperimentId),
        report: &mut ImportReport,
    ) -> Result<()> {
        let place = format!("logged model {}", found.id);
        let run = match &found.source_run {
            Some(run) => self.imported_run(source, run.as_str(), &[to]).await?,
            None => None,
        };
        let tags = found.tags.iter().filter(|(key, _)| !is_own(key)).map(|(k, v)| (k.clone(), v.clone()));
        let model = match existing {
            Some(existing) => {
                // Some may be newer than the model.
                let tags: Vec<_> = tags.collect();
                tolerate(store.set_logged_model_tags(&existing.id, &tags).await, &place, report)?;
                existing.clone()
            }
            None => {
                let from = (IMPORTED_FROM_TAG.to_owned(), origin(source, found.id.as_str()));
                let create = CreateLoggedModel {
                    name: Some(found.name.clone()).filter(|name| !name.is_empty()),
                    model_type: found.model_type.clone(),
                    source_run: run.as_ref().map(|run| run.id.clone()),
                    params: found.params.clone().into_iter().collect(),
                    tags: tags.chain([from]).collect(),
                    ..CreateLoggedModel::new(to)
                };
                let created = store.create_logged_model(create).await;
                let Some(created) = tolerate(created, &place, report)? else { return Ok(()) };
                ModelHere::of(created)
            }
        };
        self.model_points(source, found, (&model, to), report).await?;
        self.model_files(source, found, &model, report).await?;
        if let Some(run) = run.filter(|run| !run.deleted) {
            store.link_output_models(&run.id, &[ModelOutput { model: model.id.clone(), step: 0 }]).await?;
        }
        let open = found.status == LoggedModelStatus::Pending;
        if !open {
            store.finalize_logged_model(&model.id, found.status).await?;
        }
        let state = if open { OPEN } else { COMPLETE };
        store.set_logged_model_tags(&model.id, &[(IMPORTED_TAG.to_owned(), state.to_owned())]).await
    }

    async fn model_points(
        &self,
        source: &dyn ImportSource,
        found: &LoggedModel,
        (model, to): (&ModelHere, ExperimentId),
        report: &mut ImportReport,
    ) -> Result<()> {
        let mut by_run: BTreeMap<&str, Vec<ModelMetric>> = BTreeMap::new();
        for point in &found.metrics {
            let run = point.run.as_ref().map_or("", |run| run.as_str());
            by_run.entry(run).or_default().push(ModelMetric { model: model.id.clone(), run: None, ..point.clone() });
        }
        for (run, points) in by_run {
            let place = format!("points of logged model {}", found.id);
            let Some(run) = self.imported_run(source, run, &[to]).await?.filter(|run| !run.deleted) else {
                report.skip(place, "the run that measured them is not in the experiment here");
                continue;
            };
            for points in points.chunks(BATCH_METRICS_MAX) {
                let batch = Batch { model_metrics: points.to_vec(), ..Batch::default() };
                tolerate(self.tracking.log_batch(&run.id, &batch).await, &place, report)?;
            }
        }
        Ok(())
    }

    async fn model_files(
        &self,
        source: &dyn ImportSource,
        found: &LoggedModel,
        model: &ModelHere,
        report: &mut ImportReport,
    ) -> Result<()> {
        let Some(artifacts) = &self.artifacts else { return Ok(()) };
        let directory = match artifacts.path_of(&model.artifact_uri) {
            Ok(directory) => directory,
            Err(error) => {
                report.skip(format!("files of logged model {}", found.id), error.message());
                return Ok(());
            }
        };
        for file in source.logged_model_files(found, report).await? {
            let place = format!("file {:?} of logged model {}", file.path, found.id);
            let (to, pieces) = (format!("{directory}/{}", file.path), source.open_logged_model_file(found, &file.path));
            self.copy(artifacts, (&file, Some(to), &place), pieces, report).await?;
        }
        Ok(())
    }
}

/// What an import made of logged models before, by where they are from; also what was deleted since, which is not to come
/// back.
async fn models_here(store: &dyn LoggedModelStore, experiment: ExperimentId) -> Result<BTreeMap<String, ModelHere>> {
    let page = PageRequest { max_results: Some(1_000), token: None };
    let mut search = LoggedModelSearch { view: View::All, page, ..LoggedModelSearch::new() };
    let mut here = BTreeMap::new();
    loop {
        let page = store.search_logged_models(&[experiment], &search).await?;
        for model in page.items {
            if let Some(from) = model.tags.get(IMPORTED_FROM_TAG) {
                here.insert(from.clone(), ModelHere::of(model));
            }
        }
        match page.next_page_token {
            Some(token) => search.page.token = Some(token),
            None => return Ok(here),
        }
    }
}
