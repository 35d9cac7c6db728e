//! The port behind which logged models are kept.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{ModelName, Result, RunId, Version};

use super::record::{
    CreateLoggedModel, LoggedModel, LoggedModelId, LoggedModelSearch, LoggedModelStatus, ModelOutput, RunModels,
};
use crate::{
    search::{Page, View},
    tracking::ExperimentId,
};

/// Keeps logged models and which runs read and made them. Every write is durable when it returns and either happens
/// whole or not at all. Their metrics are written by [`crate::TrackingStore::log_batch`], with those of the run.
///
/// Errors common to all calls: `Unavailable` when the store cannot be reached, `NotFound` for a model that does not
/// exist or is deleted.
#[async_trait]
pub trait LoggedModelStore: fmt::Debug + Send + Sync + 'static {
    /// Creates a model with status [`LoggedModelStatus::Pending`].
    ///
    /// # Errors
    /// `InvalidArgument` when the name has one of `/ : . % " '`, a param appears twice, or a key or value is over
    /// [`crate::limits`]; `NotFound` when there is no such experiment, `FailedPrecondition` when it is deleted.
    async fn create_logged_model(&self, model: CreateLoggedModel) -> Result<LoggedModel>;

    /// A model; `view` says whether a deleted one is given.
    ///
    /// # Errors
    /// Only the common ones.
    async fn logged_model(&self, id: &LoggedModelId, view: View) -> Result<LoggedModel>;

    /// Sets the status.
    ///
    /// # Errors
    /// Only the common ones.
    async fn finalize_logged_model(&self, id: &LoggedModelId, status: LoggedModelStatus) -> Result<LoggedModel>;

    /// Marks a model as deleted.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_logged_model(&self, id: &LoggedModelId) -> Result<()>;

    /// Models of the given experiments that match, newest first unless ordered otherwise; missing values come last.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is wrong in the filter or order, or for a token of another search.
    async fn search_logged_models(
        &self,
        experiments: &[ExperimentId],
        search: &LoggedModelSearch,
    ) -> Result<Page<LoggedModel>>;

    /// Sets tags; a later value replaces an earlier one.
    ///
    /// # Errors
    /// `InvalidArgument` when over a limit.
    async fn set_logged_model_tags(&self, id: &LoggedModelId, tags: &[(String, String)]) -> Result<()>;

    /// Removes a tag.
    ///
    /// # Errors
    /// `NotFound` also when the model has no such tag.
    async fn delete_logged_model_tag(&self, id: &LoggedModelId, key: &str) -> Result<()>;

    /// Sets params; setting one to the value it has changes nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when a param has another value already or a key or value is over its limit.
    async fn log_logged_model_params(&self, id: &LoggedModelId, params: &[(String, String)]) -> Result<()>;

    /// Notes in the tag [`super::REGISTRATIONS_TAG`] that a model is a version of a registered model; repeating it
    /// changes nothing.
    ///
    /// # Errors
    /// Only the common ones.
    async fn add_registration(&self, id: &LoggedModelId, name: &ModelName, version: Version) -> Result<()>;

    /// Links models that a run reads; linking one again changes nothing.
    ///
    /// # Errors
    /// `NotFound` when there is no such run, `FailedPrecondition` when it is deleted.
    async fn link_input_models(&self, run: &RunId, models: &[LoggedModelId]) -> Result<()>;

    /// Links models that a run makes; linking one again at the same step changes nothing.
    ///
    /// # Errors
    /// As [`LoggedModelStore::link_input_models`].
    async fn link_output_models(&self, run: &RunId, models: &[ModelOutput]) -> Result<()>;

    /// The models of runs, in the order of the runs; empty for one that is unknown.
    ///
    /// # Errors
    /// Only the common ones.
    async fn models_of_runs(&self, runs: &[RunId]) -> Result<Vec<RunModels>>;
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl<T: LoggedModelStore + ?Sized> LoggedModelStore for Arc<T> {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                (**self).$name($($arg),*).await
            })*
        }
    };
}

forward! {
    create_logged_model(model: CreateLoggedModel) -> LoggedModel;
    logged_model(id: &LoggedModelId, view: View) -> LoggedModel;
    finalize_logged_model(id: &LoggedModelId, status: LoggedModelStatus) -> LoggedModel;
    delete_logged_model(id: &LoggedModelId) -> ();
    search_logged_models(experiments: &[ExperimentId], search: &LoggedModelSearch) -> Page<LoggedModel>;
    set_logged_model_tags(id: &LoggedModelId, tags: &[(String, String)]) -> ();
    delete_logged_model_tag(id: &LoggedModelId, key: &str) -> ();
    log_logged_model_params(id: &LoggedModelId, params: &[(String, String)]) -> ();
    add_registration(id: &LoggedModelId, name: &ModelName, version: Version) -> ();
    link_input_models(run: &RunId, models: &[LoggedModelId]) -> ();
    link_output_models(run: &RunId, models: &[ModelOutput]) -> ();
    models_of_runs(runs: &[RunId]) -> Vec<RunModels>;
}
