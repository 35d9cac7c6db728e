//! A tracking store that asks first.
//!
//! Invariant: runs are their experiment's, and so are logged models; nothing is read or written for whom the experiment
//! does not allow it.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Action, Metric, Resource, Result, RunId};

use super::guard::{Guard, experiment};
use crate::{
    Batch, CreateExperiment, CreateRun, DatasetInput, Experiment, ExperimentId, LoggedModelId, LoggedModelStore,
    ModelMetric, Page, PageRequest, RunHome, RunRecord, RunUpdate, Search, TrackingStore,
    access::{EVERY, ResourceKind},
    mlflow::place::part,
    tracking::sample::HistorySample,
};

#[derive(Debug)]
pub(in crate::mlflow) struct GuardedTracking {
    pub(in crate::mlflow) inner: Arc<dyn TrackingStore>,
    /// Knows of which experiment the logged models are that a batch has points of.
    pub(in crate::mlflow) models: Option<Arc<dyn LoggedModelStore>>,
    pub(in crate::mlflow) guard: Arc<Guard>,
}

impl GuardedTracking {
    /// Asks for a run.
    async fn check(&self, action: Action, id: &RunId) -> Result<()> {
        let home = self.guard.home(&self.inner, id).await?;
        self.guard.check_experiment(action, home.experiment).await
    }

    /// Asks for the logged models that points tell about, wherever they are.
    async fn check_models(&self, action: Action, points: &[ModelMetric]) -> Result<()> {
        let ids: BTreeSet<&LoggedModelId> = points.iter().map(|point| &point.model).collect();
        let mut homes = BTreeSet::new();
        for id in ids {
            let models = part(&self.models, "logged models", "with_logged_models")?;
            homes.insert(self.guard.home_of_model(models, id).await?);
        }
        self.guard.check_experiments(action, homes).await
    }

    /// Asks for the points of runs; of one that does not exist there are none.
    async fn check_history(&self, ids: &[RunId]) -> Result<()> {
        self.guard.check_runs(Action::Read, &self.inner, ids).await
    }

    /// Asks for a deletion or its undoing, and keeps the record of it.
    async fn check_recorded(&self, id: ExperimentId, details: [(&str, String); 2]) -> Result<()> {
        self.guard.check_experiment(Action::Delete, id).await?;
        self.guard.record(Action::Delete, experiment(id), details).await
    }
}

fn details(what: &'static str, run: &str) -> [(&'static str, String); 2] {
    [("call", what.to_owned()), ("run_id", run.to_owned())]
}

#[async_trait]
impl TrackingStore for GuardedTracking {
    async fn create_experiment(&self, name: &str, options: CreateExperiment) -> Result<ExperimentId> {
        self.guard.check(Action::Write, &Resource::new("experiment", EVERY)).await?;
        let id = self.inner.create_experiment(name, options).await?;
        self.guard.own(ResourceKind::Experiment, &id.to_string()).await?;
        Ok(id)
    }

    async fn experiment(&self, id: ExperimentId) -> Result<Experiment> {
        self.guard.check_experiment(Action::Read, id).await?;
        self.inner.experiment(id).await
    }

    async fn experiment_by_name(&self, name: &str) -> Result<Option<Experiment>> {
        let found = self.inner.experiment_by_name(name).await?;
        if let Some(found) = &found {
            self.guard.check_experiment(Action::Read, found.id).await?;
        }
        Ok(found)
    }

    async fn search_experiments(&self, search: &Search) -> Result<Page<Experiment>> {
        let next = async |page| self.inner.search_experiments(&Search { page, ..search.clone() }).await;
        self.guard.readable(&search.page, |found: &Experiment| experiment(found.id), next).await
    }

    async fn rename_experiment(&self, id: ExperimentId, name: &str) -> Result<()> {
        self.guard.check_experiment(Action::Write, id).await?;
        self.inner.rename_experiment(id, name).await
    }

    async fn delete_experiment(&self, id: ExperimentId) -> Result<()> {
        self.check_recorded(id, details("experiments/delete", "")).await?;
        self.inner.delete_experiment(id).await
    }

    async fn restore_experiment(&self, id: ExperimentId) -> Result<()> {
        self.check_recorded(id, details("experiments/restore", "")).await?;
        self.inner.restore_experiment(id).await
    }

    async fn set_experiment_tags(&self, id: ExperimentId, tags: &[(String, String)]) -> Result<()> {
        self.guard.check_experiment(Action::Write, id).await?;
        self.inner.set_experiment_tags(id, tags).await
    }

    async fn delete_experiment_tag(&self, id: ExperimentId, key: &str) -> Result<()> {
        self.guard.check_experiment(Action::Write, id).await?;
        self.inner.delete_experiment_tag(id, key).await
    }

    async fn create_run(&self, run: CreateRun) -> Result<RunRecord> {
        self.guard.check_experiment(Action::Write, run.experiment).await?;
        let made = self.inner.create_run(run).await?;
        self.guard.settle([&made]);
        Ok(made)
    }

    async fn run(&self, id: &RunId) -> Result<RunRecord> {
        let found = self.inner.run(id).await?;
        self.guard.settle([&found]);
        self.guard.check_experiment(Action::Read, found.experiment).await?;
        Ok(found)
    }

    async fn homes(&self, ids: &[RunId]) -> Result<Vec<RunHome>> {
        self.guard.check_runs(Action::Read, &self.inner, ids).await?;
        self.inner.homes(ids).await
    }

    async fn search_runs(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<Arc<RunRecord>>> {
        let readable = self.guard.readable_experiments(experiments).await?;
        // That the rest is checked again is for a store that takes an empty list for all of them.
        let next = async |page| {
            let found = self.inner.search_runs(&readable, &Search { page, ..search.clone() }).await?;
            self.guard.settle(found.items.iter().map(|run| &**run));
            Ok(found)
        };
        self.guard.readable(&search.page, |run: &Arc<RunRecord>| experiment(run.experiment), next).await
    }

    async fn count_runs(&self, experiments: &[ExperimentId], search: &Search) -> Result<u64> {
        match self.guard.readable_experiments(experiments).await?.as_slice() {
            [] => Ok(0),
            readable => self.inner.count_runs(readable, search).await,
        }
    }

    async fn update_run(&self, id: &RunId, update: RunUpdate) -> Result<RunRecord> {
        self.check(Action::Write, id).await?;
        self.inner.update_run(id, update).await
    }

    async fn delete_run(&self, id: &RunId) -> Result<()> {
        let home = self.guard.home(&self.inner, id).await?;
        self.check_recorded(home.experiment, details("runs/delete", id.as_str())).await?;
        self.inner.delete_run(id).await
    }

    async fn restore_run(&self, id: &RunId) -> Result<()> {
        let home = self.guard.home(&self.inner, id).await?;
        self.check_recorded(home.experiment, details("runs/restore", id.as_str())).await?;
        self.inner.restore_run(id).await
    }

    async fn log_batch(&self, id: &RunId, batch: &Batch) -> Result<()> {
        self.check(Action::Write, id).await?;
        self.check_models(Action::Write, &batch.model_metrics).await?;
        self.inner.log_batch(id, batch).await
    }

    async fn delete_run_tag(&self, id: &RunId, key: &str) -> Result<()> {
        self.check(Action::Write, id).await?;
        self.inner.delete_run_tag(id, key).await
    }

    async fn append_run_tag(&self, id: &RunId, key: &str, item: &serde_json::Value) -> Result<()> {
        self.check(Action::Write, id).await?;
        self.inner.append_run_tag(id, key, item).await
    }

    async fn metric_history(&self, id: &RunId, key: &str, page: &PageRequest) -> Result<Page<Metric>> {
        self.check_history(std::slice::from_ref(id)).await?;
        self.inner.metric_history(id, key, page).await
    }

    async fn metric_history_sampled(
        &self,
        runs: &[RunId],
        sample: &HistorySample,
    ) -> Result<Vec<(RunId, Vec<Metric>)>> {
        self.check_history(runs).await?;
        self.inner.metric_history_sampled(runs, sample).await
    }

    async fn metric_chart(&self, id: &RunId, sample: &HistorySample) -> Result<Vec<Metric>> {
        self.check_history(std::slice::from_ref(id)).await?;
        self.inner.metric_chart(id, sample).await
    }

    async fn log_inputs(&self, id: &RunId, inputs: &[DatasetInput]) -> Result<()> {
        self.check(Action::Write, id).await?;
        self.inner.log_inputs(id, inputs).await
    }
}
