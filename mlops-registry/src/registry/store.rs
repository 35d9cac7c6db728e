//! The port behind which models, versions and aliases are kept.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{Alias, Error, ErrorKind, ModelName, ModelPackage, ModelSource, Result, Timestamp, Version};

use super::{
    record::{Actor, AliasMove, CreateModel, CreateVersion, ModelVersion, MoveAlias, RegisteredModel},
    stage::{MoveStage, Stage},
};
use crate::search::{Page, PageRequest, Search};

/// Keeps registered models. Every write is durable when it returns and either happens whole or
/// not at all. As a [`ModelSource`] it hands out packages, verified against their digest.
///
/// Errors common to all calls: `Unavailable` when the store cannot be reached, `NotFound` for a
/// model, version or alias that does not exist; on writes also `PermissionDenied` when an
/// authorizer refuses the actor.
#[async_trait]
pub trait ModelRegistry: ModelSource + fmt::Debug + Send + Sync + 'static {
    /// Creates a registered model without versions.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; `InvalidArgument` when it is [`EVERY`](crate::access::EVERY).
    async fn create_model(&self, name: &ModelName, options: CreateModel) -> Result<RegisteredModel>;

    /// A registered model.
    ///
    /// # Errors
    /// `NotFound`.
    async fn model(&self, name: &ModelName) -> Result<RegisteredModel>;

    /// Registered models that match, by name unless ordered otherwise.
    ///
    /// # Errors
    /// `InvalidArgument` pointing at the place in the filter or order that is wrong.
    async fn search_models(&self, search: &Search) -> Result<Page<RegisteredModel>>;

    /// Replaces the description.
    ///
    /// # Errors
    /// Only the common ones.
    async fn describe_model(&self, name: &ModelName, description: &str, actor: &Actor) -> Result<RegisteredModel>;

    /// Renames a model; versions, tags, aliases and history follow.
    ///
    /// # Errors
    /// `AlreadyExists` when the new name is taken; `InvalidArgument` when it is [`EVERY`](crate::access::EVERY).
    async fn rename_model(&self, name: &ModelName, new_name: &ModelName, actor: &Actor) -> Result<RegisteredModel>;

    /// Deletes a model with its versions, tags and aliases. The name is free at once; the history
    /// of its aliases is kept and ends with their deletion. A back end that is a [`crate::Trash`]
    /// can restore it until it is purged.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_model(&self, name: &ModelName, actor: &Actor) -> Result<()>;

    /// Sets tags of a model.
    ///
    /// # Errors
    /// `InvalidArgument` when over a limit.
    async fn set_model_tags(&self, name: &ModelName, tags: &[(String, String)], actor: &Actor) -> Result<()>;

    /// Removes a tag of a model; removing one that is absent changes nothing.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_model_tag(&self, name: &ModelName, key: &str, actor: &Actor) -> Result<()>;

    /// Stores a package by its digest and registers it under the next number.
    ///
    /// Numbers are 1, 2, 3... without gaps, whoever else registers at the same time; the number
    /// of a deleted version is not given again.
    ///
    /// # Errors
    /// `NotFound` when the model is not registered; `AlreadyExists` when the idempotency key was
    /// used for another package; `FailedPrecondition` when the version of that key was deleted;
    /// `DataLoss` when a file of the package does not match its manifest.
    async fn create_version(
        &self,
        model: &ModelName,
        package: &ModelPackage,
        options: CreateVersion,
    ) -> Result<ModelVersion>;

    /// Registers a URI under the next number; else as [`ModelRegistry::create_version`]. Such a
    /// version cannot be fetched from the registry.
    ///
    /// # Errors
    /// As [`ModelRegistry::create_version`]; `InvalidArgument` when the URI is empty or too long.
    async fn create_version_from_uri(
        &self,
        model: &ModelName,
        uri: &str,
        options: CreateVersion,
    ) -> Result<ModelVersion>;

    /// One version.
    ///
    /// # Errors
    /// `NotFound`, also when it was deleted.
    async fn version(&self, model: &ModelName, version: Version) -> Result<ModelVersion>;

    /// Versions that match, last changed first unless ordered otherwise.
    ///
    /// # Errors
    /// `InvalidArgument` pointing at the place in the filter or order that is wrong.
    async fn search_versions(&self, search: &Search) -> Result<Page<ModelVersion>>;

    /// Versions of one model, newest first.
    ///
    /// # Errors
    /// `NotFound` when the model is not registered.
    async fn list_versions(&self, model: &ModelName, page: &PageRequest) -> Result<Page<ModelVersion>>;

    /// Replaces the description of a version.
    ///
    /// # Errors
    /// Only the common ones.
    async fn describe_version(
        &self,
        model: &ModelName,
        version: Version,
        description: &str,
        actor: &Actor,
    ) -> Result<ModelVersion>;

    /// Deletes a version: no call shows it any more, and its number is not given again. A back end
    /// that is a [`crate::Trash`] can restore it until it is purged; its package stays until then.
    ///
    /// # Errors
    /// `FailedPrecondition` while an alias points at it.
    async fn delete_version(&self, model: &ModelName, version: Version, actor: &Actor) -> Result<()>;

    /// Sets tags of a version.
    ///
    /// # Errors
    /// `InvalidArgument` when over a limit.
    async fn set_version_tags(
        &self,
        model: &ModelName,
        version: Version,
        tags: &[(String, String)],
        actor: &Actor,
    ) -> Result<()>;

    /// Removes a tag of a version; removing one that is absent changes nothing.
    ///
    /// # Errors
    /// Only the common ones.
    async fn delete_version_tag(&self, model: &ModelName, version: Version, key: &str, actor: &Actor) -> Result<()>;

    /// Moves a version to a stage, and with [`MoveStage::archive_existing`] the others that are
    /// there to [`Stage::Archived`], all at once: nobody sees two versions in the stage, or none.
    ///
    /// # Errors
    /// `InvalidArgument` when asked to archive for a stage other than Staging and Production.
    async fn transition_stage(
        &self,
        model: &ModelName,
        version: Version,
        stage: Stage,
        options: MoveStage,
    ) -> Result<ModelVersion>;

    /// Points an alias at a version. Moving it to where it points already changes nothing and is
    /// not recorded.
    ///
    /// # Errors
    /// `Conflict` when [`MoveAlias::expected`] is given and the alias points elsewhere; of several
    /// movers with the same expectation exactly one wins. `InvalidArgument` for a reserved alias.
    /// `FailedPrecondition` when an [`crate::AliasPolicy`] protects the alias and the version does
    /// not satisfy it.
    async fn set_alias(
        &self,
        model: &ModelName,
        alias: &Alias,
        version: Version,
        options: MoveAlias,
    ) -> Result<AliasMove>;

    /// Removes an alias; none when it did not exist.
    ///
    /// # Errors
    /// `Conflict` as [`ModelRegistry::set_alias`].
    async fn delete_alias(&self, model: &ModelName, alias: &Alias, options: MoveAlias) -> Result<Option<AliasMove>>;

    /// Where an alias points.
    ///
    /// # Errors
    /// `NotFound` when model or alias do not exist.
    async fn alias(&self, model: &ModelName, alias: &Alias) -> Result<Version>;

    /// Moves of all aliases of a model, oldest first; also of a model that was deleted.
    ///
    /// # Errors
    /// `InvalidArgument` for a page token that is not ours.
    async fn alias_history(&self, model: &ModelName, page: &PageRequest) -> Result<Page<AliasMove>>;

    /// Where an alias pointed at a time, by the history of its moves: the last move recorded at or
    /// before `at` says it. None when it did not exist then; also of a model that was deleted.
    ///
    /// # Errors
    /// Only `Unavailable`.
    async fn alias_at(&self, model: &ModelName, alias: &Alias, at: Timestamp) -> Result<Option<Version>>;
}

macro_rules! forward {
    ($($name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        #[async_trait]
        impl<T: ModelRegistry + ?Sized> ModelRegistry for Arc<T> {
            $(async fn $name(&self, $($arg: $type),*) -> Result<$out> {
                (**self).$name($($arg),*).await
            })*
        }
    };
}

forward! {
    create_model(name: &ModelName, options: CreateModel) -> RegisteredModel;
    model(name: &ModelName) -> RegisteredModel;
    search_models(search: &Search) -> Page<RegisteredModel>;
    describe_model(name: &ModelName, description: &str, actor: &Actor) -> RegisteredModel;
    rename_model(name: &ModelName, new_name: &ModelName, actor: &Actor) -> RegisteredModel;
    delete_model(name: &ModelName, actor: &Actor) -> ();
    set_model_tags(name: &ModelName, tags: &[(String, String)], actor: &Actor) -> ();
    delete_model_tag(name: &ModelName, key: &str, actor: &Actor) -> ();
    create_version(model: &ModelName, package: &ModelPackage, options: CreateVersion) -> ModelVersion;
    create_version_from_uri(model: &ModelName, uri: &str, options: CreateVersion) -> ModelVersion;
    version(model: &ModelName, version: Version) -> ModelVersion;
    search_versions(search: &Search) -> Page<ModelVersion>;
    list_versions(model: &ModelName, page: &PageRequest) -> Page<ModelVersion>;
    describe_version(model: &ModelName, version: Version, description: &str, actor: &Actor) -> ModelVersion;
    delete_version(model: &ModelName, version: Version, actor: &Actor) -> ();
    set_version_tags(model: &ModelName, version: Version, tags: &[(String, String)], actor: &Actor) -> ();
    delete_version_tag(model: &ModelName, version: Version, key: &str, actor: &Actor) -> ();
    set_alias(model: &ModelName, alias: &Alias, version: Version, options: MoveAlias) -> AliasMove;
    delete_alias(model: &ModelName, alias: &Alias, options: MoveAlias) -> Option<AliasMove>;
    alias(model: &ModelName, alias: &Alias) -> Version;
    alias_history(model: &ModelName, page: &PageRequest) -> Page<AliasMove>;
    alias_at(model: &ModelName, alias: &Alias, at: Timestamp) -> Option<Version>;
    transition_stage(model: &ModelName, version: Version, stage: Stage, options: MoveStage) -> ModelVersion;
}

/// Conveniences over [`ModelRegistry`].
#[async_trait]
pub trait ModelRegistryExt: ModelRegistry {
    /// The registered model of that name, created when absent.
    ///
    /// # Errors
    /// As [`ModelRegistry::create_model`], less `AlreadyExists`.
    async fn ensure_model(&self, name: &ModelName, options: CreateModel) -> Result<RegisteredModel> {
        match self.create_model(name, options).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.model(name).await,
            outcome => outcome,
        }
    }

    /// The highest version that is not deleted.
    ///
    /// # Errors
    /// `NotFound` when the model has none.
    async fn latest_version(&self, model: &ModelName) -> Result<ModelVersion> {
        let page = self.list_versions(model, &PageRequest { max_results: Some(1), token: None }).await?;
        page.items
            .into_iter()
            .next()
            .ok_or_else(|| Error::not_found(format!("model \"{model}\" has no version yet")).with("model", model))
    }
}

impl<T: ModelRegistry + ?Sized> ModelRegistryExt for T {}
