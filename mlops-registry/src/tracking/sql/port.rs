//! The port, call by call.

use std::sync::Arc;

use async_trait::async_trait;
use mlops_core::{Metric, Result, RunId};

use super::SqlTrackingStore;
use crate::{
    search::{Page, PageRequest, Search},
    tracking::{
        record::{
            Batch, CreateExperiment, CreateRun, DatasetInput, Experiment, ExperimentId, RunHome, RunRecord, RunUpdate,
        },
        sample::{self, HistorySample},
        store::TrackingStore,
    },
};

#[async_trait]
impl TrackingStore for SqlTrackingStore {
    async fn create_experiment(&self, name: &str, options: CreateExperiment) -> Result<ExperimentId> {
        self.insert_experiment(name, &options).await
    }

    async fn experiment(&self, id: ExperimentId) -> Result<Experiment> {
        self.experiment_of(id).await
    }

    async fn experiment_by_name(&self, name: &str) -> Result<Option<Experiment>> {
        self.experiment_named(name).await
    }

    async fn search_experiments(&self, search: &Search) -> Result<Page<Experiment>> {
        self.find_experiments(search).await
    }

    async fn rename_experiment(&self, id: ExperimentId, name: &str) -> Result<()> {
        self.set_experiment_name(id, name).await
    }

    async fn delete_experiment(&self, id: ExperimentId) -> Result<()> {
        self.mark_experiment(id, true).await
    }

    async fn restore_experiment(&self, id: ExperimentId) -> Result<()> {
        self.mark_experiment(id, false).await
    }

    async fn set_experiment_tags(&self, id: ExperimentId, tags: &[(String, String)]) -> Result<()> {
        self.tag_experiment(id, tags).await
    }

    async fn delete_experiment_tag(&self, id: ExperimentId, key: &str) -> Result<()> {
        self.untag_experiment(id, key).await
    }

    async fn create_run(&self, run: CreateRun) -> Result<RunRecord> {
        self.insert_run(run).await
    }

    async fn run(&self, id: &RunId) -> Result<RunRecord> {
        self.run_of(id).await
    }

    async fn homes(&self, ids: &[RunId]) -> Result<Vec<RunHome>> {
        self.homes_of(ids).await
    }

    async fn search_runs(&self, experiments: &[ExperimentId], search: &Search) -> Result<Page<Arc<RunRecord>>> {
        self.find_runs(experiments, search).await
    }

    async fn count_runs(&self, experiments: &[ExperimentId], search: &Search) -> Result<u64> {
        self.count_found(experiments, search).await
    }

    async fn update_run(&self, id: &RunId, update: RunUpdate) -> Result<RunRecord> {
        self.change_fields(id, update).await
    }

    async fn delete_run(&self, id: &RunId) -> Result<()> {
        self.mark_run(id, true).await
    }

    async fn restore_run(&self, id: &RunId) -> Result<()> {
        self.mark_run(id, false).await
    }

    async fn log_batch(&self, id: &RunId, batch: &Batch) -> Result<()> {
        self.write_batch(id, batch).await
    }

    async fn delete_run_tag(&self, id: &RunId, key: &str) -> Result<()> {
        self.untag_run(id, key).await
    }

    async fn append_run_tag(&self, id: &RunId, key: &str, item: &serde_json::Value) -> Result<()> {
        self.append_tag(id, key, item).await
    }

    async fn metric_history(&self, id: &RunId, key: &str, page: &PageRequest) -> Result<Page<Metric>> {
        self.history_of(id, key, page).await
    }

    async fn metric_history_sampled(
        &self,
        runs: &[RunId],
        sample: &HistorySample,
    ) -> Result<Vec<(RunId, Vec<Metric>)>> {
        sample::sampled(self, runs, sample).await
    }

    async fn metric_chart(&self, id: &RunId, sample: &HistorySample) -> Result<Vec<Metric>> {
        sample::chart(self, id, sample).await
    }

    async fn log_inputs(&self, id: &RunId, inputs: &[DatasetInput]) -> Result<()> {
        self.link_inputs(id, inputs).await
    }
}
