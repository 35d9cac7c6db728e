//! A store of logged models that asks first.
//!
//! Invariant: a model is its experiment's, and what a run reads and makes is the run's experiment's.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Action, ModelName, Result, RunId, Version};

use super::guard::{Guard, experiment};
use crate::{
    CreateLoggedModel, ExperimentId, LoggedModel, LoggedModelId, LoggedModelSearch, LoggedModelStatus,
    LoggedModelStore, ModelOutput, Page, PageRequest, RunModels, TrackingStore, View, linked::linked,
};

#[derive(Debug)]
pub(in crate::mlflow) struct GuardedLoggedModels {
    pub(in crate::mlflow) inner: Arc<dyn LoggedModelStore>,
    pub(in crate::mlflow) tracking: Arc<dyn TrackingStore>,
    pub(in crate::mlflow) guard: Arc<Guard>,
}

impl GuardedLoggedModels {
    /// Asks for a model, and gives the experiment it is of.
    async fn check(&self, action: Action, id: &LoggedModelId) -> Result<ExperimentId> {
        let home = self.guard.home_of_model(&self.inner, id).await?;
        self.guard.check_experiment(action, home).await?;
        Ok(home)
    }

    /// Asks for a run that gets links, and for the models they lead to; one that does not exist hides nothing.
    async fn check_link(&self, run: &RunId, models: impl Iterator<Item = &LoggedModelId>) -> Result<()> {
        let home = self.guard.home(&self.tracking, run).await?;
        self.guard.check_experiment(Action::Write, home.experiment).await?;
        let mut homes = BTreeSet::new();
        for id in models {
            homes.extend(linked(self.guard.home_of_model(&self.inner, id).await)?);
        }
        self.guard.check_experiments(Action::Read, homes).await
    }
}

#[async_trait]
impl LoggedModelStore for GuardedLoggedModels {
    async fn create_logged_model(&self, model: CreateLoggedModel) -> Result<LoggedModel> {
        self.guard.check_experiment(Action::Write, model.experiment).await?;
        let made = self.inner.create_logged_model(model).await?;
        self.guard.settle_model(&made);
        Ok(made)
    }

    async fn logged_model(&self, id: &LoggedModelId, view: View) -> Result<LoggedModel> {
        let found = self.inner.logged_model(id, view).await?;
        self.guard.check_experiment(Action::Read, self.guard.settle_model(&found)).await?;
        Ok(found)
    }

    async fn finalize_logged_model(&self, id: &LoggedModelId, status: LoggedModelStatus) -> Result<LoggedModel> {
        self.check(Action::Write, id).await?;
        self.inner.finalize_logged_model(id, status).await
    }

    async fn delete_logged_model(&self, id: &LoggedModelId) -> Result<()> {
        let home = self.check(Action::Delete, id).await?;
        let details = [("call", "logged-models/delete".to_owned()), ("model_id", id.to_string())];
        self.guard.record(Action::Delete, experiment(home), details).await?;
        self.inner.delete_logged_model(id).await
    }

    async fn search_logged_models(
        &self,
        experiments: &[ExperimentId],
        search: &LoggedModelSearch,
    ) -> Result<Page<LoggedModel>> {
        let readable = self.guard.readable_experiments(experiments).await?;
        let next = async |page: PageRequest| {
            self.inner.search_logged_models(&readable, &LoggedModelSearch { page, ..search.clone() }).await
        };
        self.guard.readable(&search.page, |model: &LoggedModel| experiment(model.experiment), next).await
    }

    async fn set_logged_model_tags(&self, id: &LoggedModelId, tags: &[(String, String)]) -> Result<()> {
        self.check(Action::Write, id).await?;
        self.inner.set_logged_model_tags(id, tags).await
    }

    async fn delete_logged_model_tag(&self, id: &LoggedModelId, key: &str) -> Result<()> {
        self.check(Action::Write, id).await?;
        self.inner.delete_logged_model_tag(id, key).await
    }

    async fn log_logged_model_params(&self, id: &LoggedModelId, params: &[(String, String)]) -> Result<()> {
        self.check(Action::Write, id).await?;
        self.inner.log_logged_model_params(id, params).await
    }

    /// Whoever may read a model may register it: the registry has been asked whether they may.
    async fn add_registration(&self, id: &LoggedModelId, name: &ModelName, version: Version) -> Result<()> {
        self.check(Action::Read, id).await?;
        self.inner.add_registration(id, name, version).await
    }

    async fn link_input_models(&self, run: &RunId, models: &[LoggedModelId]) -> Result<()> {
        self.check_link(run, models.iter()).await?;
        self.inner.link_input_models(run, models).await
    }

    async fn link_output_models(&self, run: &RunId, models: &[ModelOutput]) -> Result<()> {
        self.check_link(run, models.iter().map(|output| &output.model)).await?;
        self.inner.link_output_models(run, models).await
    }

    async fn models_of_runs(&self, runs: &[RunId]) -> Result<Vec<RunModels>> {
        self.guard.check_runs(Action::Read, &self.tracking, runs).await?;
        self.inner.models_of_runs(runs).await
    }
}
