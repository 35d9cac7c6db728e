//! The port, call by call.

use async_trait::async_trait;
use mlops_core::{ModelName, Result, RunId, Version};

use super::SqlLoggedModelStore;
use crate::{
    logged_models::{
        record::{
            CreateLoggedModel, LoggedModel, LoggedModelId, LoggedModelSearch, LoggedModelStatus, ModelOutput, RunModels,
        },
        store::LoggedModelStore,
    },
    search::{Page, View},
    tracking::ExperimentId,
};

#[async_trait]
impl LoggedModelStore for SqlLoggedModelStore {
    async fn create_logged_model(&self, model: CreateLoggedModel) -> Result<LoggedModel> {
        self.insert(model).await
    }

    async fn logged_model(&self, id: &LoggedModelId, view: View) -> Result<LoggedModel> {
        self.read(id, view).await
    }

    async fn finalize_logged_model(&self, id: &LoggedModelId, status: LoggedModelStatus) -> Result<LoggedModel> {
        self.set_status(id, status).await
    }

    async fn delete_logged_model(&self, id: &LoggedModelId) -> Result<()> {
        self.mark_deleted(id).await
    }

    async fn search_logged_models(
        &self,
        experiments: &[ExperimentId],
        search: &LoggedModelSearch,
    ) -> Result<Page<LoggedModel>> {
        self.find(experiments, search).await
    }

    async fn set_logged_model_tags(&self, id: &LoggedModelId, tags: &[(String, String)]) -> Result<()> {
        self.set_tags(id, tags).await
    }

    async fn delete_logged_model_tag(&self, id: &LoggedModelId, key: &str) -> Result<()> {
        self.remove_tag(id, key).await
    }

    async fn log_logged_model_params(&self, id: &LoggedModelId, params: &[(String, String)]) -> Result<()> {
        self.set_params(id, params).await
    }

    async fn add_registration(&self, id: &LoggedModelId, name: &ModelName, version: Version) -> Result<()> {
        self.note_registration(id, name, version).await
    }

    async fn link_input_models(&self, run: &RunId, models: &[LoggedModelId]) -> Result<()> {
        self.link_inputs(run, models).await
    }

    async fn link_output_models(&self, run: &RunId, models: &[ModelOutput]) -> Result<()> {
        self.link_outputs(run, models).await
    }

    async fn models_of_runs(&self, runs: &[RunId]) -> Result<Vec<RunModels>> {
        self.links_of(runs).await
    }
}
