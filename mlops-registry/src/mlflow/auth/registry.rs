//! A model registry that asks first and says who acts.
//!
//! Invariant: whatever actor a handler names, the history and the audit row have the principal of the request.

use std::sync::Arc;

use async_trait::async_trait;
use mlops_core::{
    Action, Alias, ModelName, ModelPackage, ModelRef, ModelSource, ModelVersionId, Resource, Result, Timestamp, Version,
};

use super::guard::{Guard, model};
use crate::{
    Actor, AliasMove, CreateModel, CreateVersion, ModelRegistry, ModelVersion, MoveAlias, MoveStage, Page, PageRequest,
    RegisteredModel, Search, Stage,
    access::{EVERY, ResourceKind, check_own_name},
};

#[derive(Debug)]
pub(in crate::mlflow) struct GuardedRegistry {
    pub(in crate::mlflow) inner: Arc<dyn ModelRegistry>,
    pub(in crate::mlflow) guard: Arc<Guard>,
}

impl GuardedRegistry {
    async fn check(&self, action: Action, name: &ModelName) -> Result<Actor> {
        self.guard.check_model(action, name).await?;
        self.guard.actor()
    }
}

#[async_trait]
impl ModelSource for GuardedRegistry {
    async fn resolve(&self, reference: &ModelRef) -> Result<ModelVersionId> {
        self.check(Action::Read, &reference.name).await?;
        self.inner.resolve(reference).await
    }

    async fn fetch(&self, id: &ModelVersionId) -> Result<ModelPackage> {
        self.check(Action::Read, &id.name).await?;
        self.inner.fetch(id).await
    }
}

#[async_trait]
impl ModelRegistry for GuardedRegistry {
    async fn create_model(&self, name: &ModelName, options: CreateModel) -> Result<RegisteredModel> {
        check_own_name(ResourceKind::RegisteredModel, name.as_str())?;
        self.guard.check(Action::Write, &Resource::new("model", EVERY)).await?;
        let actor = self.guard.actor()?;
        let made = self.inner.create_model(name, CreateModel { actor, ..options }).await?;
        self.guard.own(ResourceKind::RegisteredModel, name.as_str()).await?;
        Ok(made)
    }

    async fn model(&self, name: &ModelName) -> Result<RegisteredModel> {
        self.check(Action::Read, name).await?;
        self.inner.model(name).await
    }

    async fn search_models(&self, search: &Search) -> Result<Page<RegisteredModel>> {
        let next = async |page| self.inner.search_models(&Search { page, ..search.clone() }).await;
        self.guard.readable(&search.page, |found: &RegisteredModel| model(&found.name), next).await
    }

    async fn describe_model(&self, name: &ModelName, description: &str, _: &Actor) -> Result<RegisteredModel> {
        let actor = self.check(Action::Write, name).await?;
        self.inner.describe_model(name, description, &actor).await
    }

    async fn rename_model(&self, name: &ModelName, new_name: &ModelName, _: &Actor) -> Result<RegisteredModel> {
        check_own_name(ResourceKind::RegisteredModel, new_name.as_str())?;
        let actor = self.check(Action::Write, name).await?;
        let renamed = self.inner.rename_model(name, new_name, &actor).await?;
        self.guard.moved(ResourceKind::RegisteredModel, name.as_str(), Some(new_name.as_str())).await?;
        Ok(renamed)
    }

    async fn delete_model(&self, name: &ModelName, _: &Actor) -> Result<()> {
        let actor = self.check(Action::Delete, name).await?;
        self.inner.delete_model(name, &actor).await?;
        self.guard.moved(ResourceKind::RegisteredModel, name.as_str(), None).await
    }

    async fn set_model_tags(&self, name: &ModelName, tags: &[(String, String)], _: &Actor) -> Result<()> {
        let actor = self.check(Action::Write, name).await?;
        self.inner.set_model_tags(name, tags, &actor).await
    }

    async fn delete_model_tag(&self, name: &ModelName, key: &str, _: &Actor) -> Result<()> {
        let actor = self.check(Action::Write, name).await?;
        self.inner.delete_model_tag(name, key, &actor).await
    }

    async fn create_version(
        &self,
        name: &ModelName,
        package: &ModelPackage,
        options: CreateVersion,
    ) -> Result<ModelVersion> {
        let actor = self.check(Action::Write, name).await?;
        self.inner.create_version(name, package, CreateVersion { actor, ..options }).await
    }

    async fn create_version_from_uri(
        &self,
        name: &ModelName,
        uri: &str,
        options: CreateVersion,
    ) -> Result<ModelVersion> {
        let actor = self.check(Action::Write, name).await?;
        self.inner.create_version_from_uri(name, uri, CreateVersion { actor, ..options }).await
    }

    async fn version(&self, name: &ModelName, version: Version) -> Result<ModelVersion> {
        self.check(Action::Read, name).await?;
        self.inner.version(name, version).await
    }

    async fn search_versions(&self, search: &Search) -> Result<Page<ModelVersion>> {
        let next = async |page| self.inner.search_versions(&Search { page, ..search.clone() }).await;
        self.guard.readable(&search.page, |found: &ModelVersion| model(&found.model), next).await
    }

    async fn list_versions(&self, name: &ModelName, page: &PageRequest) -> Result<Page<ModelVersion>> {
        self.check(Action::Read, name).await?;
        self.inner.list_versions(name, page).await
    }

    async fn describe_version(
        &self,
        name: &ModelName,
        version: Version,
        description: &str,
        _: &Actor,
    ) -> Result<ModelVersion> {
        let actor = self.check(Action::Write, name).await?;
        self.inner.describe_version(name, version, description, &actor).await
    }

    async fn delete_version(&self, name: &ModelName, version: Version, _: &Actor) -> Result<()> {
        let actor = self.check(Action::Delete, name).await?;
        self.inner.delete_version(name, version, &actor).await
    }

    async fn set_version_tags(
        &self,
        name: &ModelName,
        version: Version,
        tags: &[(String, String)],
        _: &Actor,
    ) -> Result<()> {
        let actor = self.check(Action::Write, name).await?;
        self.inner.set_version_tags(name, version, tags, &actor).await
    }

    async fn delete_version_tag(&self, name: &ModelName, version: Version, key: &str, _: &Actor) -> Result<()> {
        let actor = self.check(Action::Write, name).await?;
        self.inner.delete_version_tag(name, version, key, &actor).await
    }

    async fn transition_stage(
        &self,
        name: &ModelName,
        version: Version,
        stage: Stage,
        options: MoveStage,
    ) -> Result<ModelVersion> {
        let actor = self.check(Action::Promote, name).await?;
        self.inner.transition_stage(name, version, stage, MoveStage { actor, ..options }).await
    }

    async fn set_alias(
        &self,
        name: &ModelName,
        alias: &Alias,
        version: Version,
        options: MoveAlias,
    ) -> Result<AliasMove> {
        let actor = self.check(Action::Promote, name).await?;
        self.inner.set_alias(name, alias, version, MoveAlias { actor, ..options }).await
    }

    async fn delete_alias(&self, name: &ModelName, alias: &Alias, options: MoveAlias) -> Result<Option<AliasMove>> {
        let actor = self.check(Action::Promote, name).await?;
        self.inner.delete_alias(name, alias, MoveAlias { actor, ..options }).await
    }

    async fn alias(&self, name: &ModelName, alias: &Alias) -> Result<Version> {
        self.check(Action::Read, name).await?;
        self.inner.alias(name, alias).await
    }

    async fn alias_history(&self, name: &ModelName, page: &PageRequest) -> Result<Page<AliasMove>> {
        self.check(Action::Read, name).await?;
        self.inner.alias_history(name, page).await
    }

    async fn alias_at(&self, name: &ModelName, alias: &Alias, at: Timestamp) -> Result<Option<Version>> {
        self.check(Action::Read, name).await?;
        self.inner.alias_at(name, alias, at).await
    }
}
