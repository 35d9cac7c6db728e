//! The registry's port, call by call.

use async_trait::async_trait;
use mlops_core::{
    Alias, Error, ModelName, ModelPackage, ModelRef, ModelSource, ModelVersionId, Result, Timestamp, Version,
};
use mlops_store::params;

use super::{SqlModelRegistry, model::set_tag, version::set_version_tag};
use crate::{
    limits::{DESCRIPTION_MAX, check_length, check_tags},
    registry::{
        change::ChangeKind,
        record::{
            Actor, AliasMove, CreateModel, CreateVersion, ModelVersion, MoveAlias, RegisteredModel, VersionSource,
        },
        stage::{MoveStage, Stage, refuse_stage_tag},
        store::ModelRegistry,
    },
    search::{Page, PageRequest, Search},
};

#[async_trait]
impl ModelSource for SqlModelRegistry {
    async fn resolve(&self, reference: &ModelRef) -> Result<ModelVersionId> {
        self.resolve_reference(reference).await
    }

    async fn fetch(&self, id: &ModelVersionId) -> Result<ModelPackage> {
        self.fetch_package(id).await
    }
}

#[async_trait]
impl ModelRegistry for SqlModelRegistry {
    async fn create_model(&self, name: &ModelName, options: CreateModel) -> Result<RegisteredModel> {
        self.insert_model(name, &options).await
    }

    async fn model(&self, name: &ModelName) -> Result<RegisteredModel> {
        self.read_model(name).await
    }

    async fn search_models(&self, search: &Search) -> Result<Page<RegisteredModel>> {
        self.find_models(search).await
    }

    async fn describe_model(&self, name: &ModelName, description: &str, actor: &Actor) -> Result<RegisteredModel> {
        check_length("description", description, DESCRIPTION_MAX)?;
        let sql = "UPDATE registry_model SET description = $1 WHERE name = $2";
        self.change_model((name, actor), vec![(sql.to_owned(), params![description, name.as_str()].to_vec())]).await?;
        self.read_model(name).await
    }

    async fn rename_model(&self, name: &ModelName, new_name: &ModelName, actor: &Actor) -> Result<RegisteredModel> {
        self.rename(name, new_name, actor).await
    }

    async fn delete_model(&self, name: &ModelName, actor: &Actor) -> Result<()> {
        self.remove_model(name, actor).await
    }

    async fn set_model_tags(&self, name: &ModelName, tags: &[(String, String)], actor: &Actor) -> Result<()> {
        check_tags(tags.iter().map(|(key, value)| (key, value)))?;
        let statements = tags.iter().map(|(key, value)| set_tag(name, key, value)).collect();
        let note =
            |(key, value): &(String, String)| ChangeKind::ModelTag { key: key.clone(), value: Some(value.clone()) };
        self.change_and_note((name, actor), statements, tags.iter().map(note).collect()).await
    }

    async fn delete_model_tag(&self, name: &ModelName, key: &str, actor: &Actor) -> Result<()> {
        let sql = "DELETE FROM registry_model_tag WHERE model = $1 AND key = $2";
        let note = ChangeKind::ModelTag { key: key.to_owned(), value: None };
        let statements = vec![(sql.to_owned(), params![name.as_str(), key].to_vec())];
        self.change_and_note((name, actor), statements, vec![note]).await
    }

    async fn create_version(
        &self,
        model: &ModelName,
        package: &ModelPackage,
        options: CreateVersion,
    ) -> Result<ModelVersion> {
        self.create_from_package(model, package, options).await
    }

    async fn create_version_from_uri(
        &self,
        model: &ModelName,
        uri: &str,
        options: CreateVersion,
    ) -> Result<ModelVersion> {
        if uri.is_empty() {
            return Err(Error::invalid_argument("the source of a model version is empty"));
        }
        let source = VersionSource::Uri(uri.to_owned());
        self.admit_version(model, &source, &options).await?;
        self.register(model, source, &options, None).await.map(|(version, _)| version)
    }

    async fn version(&self, model: &ModelName, version: Version) -> Result<ModelVersion> {
        self.read_version(model, version).await
    }

    async fn search_versions(&self, search: &Search) -> Result<Page<ModelVersion>> {
        self.find_versions(search).await
    }

    async fn list_versions(&self, model: &ModelName, page: &PageRequest) -> Result<Page<ModelVersion>> {
        self.versions_of(model, page).await
    }

    async fn describe_version(
        &self,
        model: &ModelName,
        version: Version,
        description: &str,
        actor: &Actor,
    ) -> Result<ModelVersion> {
        check_length("description", description, DESCRIPTION_MAX)?;
        let sql = "UPDATE registry_version SET description = $1 WHERE model = $2 AND version = $3";
        self.change_version(
            (model, version, actor),
            vec![(sql.to_owned(), params![description, model.as_str(), version.0].to_vec())],
            Vec::new(),
        )
        .await?;
        self.read_version(model, version).await
    }

    async fn delete_version(&self, model: &ModelName, version: Version, actor: &Actor) -> Result<()> {
        self.remove_version(model, version, actor).await
    }

    async fn set_version_tags(
        &self,
        model: &ModelName,
        version: Version,
        tags: &[(String, String)],
        actor: &Actor,
    ) -> Result<()> {
        check_tags(tags.iter().map(|(key, value)| (key, value)))?;
        refuse_stage_tag(tags.iter().map(|(key, _)| key.as_str()))?;
        let statements = tags.iter().map(|(key, value)| set_version_tag(model, version, key, value)).collect();
        let note = |(key, value): &(String, String)| ChangeKind::VersionTag {
            version,
            key: key.clone(),
            value: Some(value.clone()),
        };
        self.change_version((model, version, actor), statements, tags.iter().map(note).collect()).await
    }

    async fn delete_version_tag(&self, model: &ModelName, version: Version, key: &str, actor: &Actor) -> Result<()> {
        refuse_stage_tag(std::iter::once(key))?;
        let sql = "DELETE FROM registry_version_tag WHERE model = $1 AND version = $2 AND key = $3";
        self.change_version(
            (model, version, actor),
            vec![(sql.to_owned(), params![model.as_str(), version.0, key].to_vec())],
            vec![ChangeKind::VersionTag { version, key: key.to_owned(), value: None }],
        )
        .await
    }

    async fn transition_stage(
        &self,
        model: &ModelName,
        version: Version,
        stage: Stage,
        options: MoveStage,
    ) -> Result<ModelVersion> {
        self.move_stage(model, version, stage, &options).await
    }

    async fn set_alias(
        &self,
        model: &ModelName,
        alias: &Alias,
        version: Version,
        options: MoveAlias,
    ) -> Result<AliasMove> {
        let moved = self.move_alias(model, alias, Some(version), options).await?;
        moved.ok_or_else(|| Error::internal("setting an alias gave no move"))
    }

    async fn delete_alias(&self, model: &ModelName, alias: &Alias, options: MoveAlias) -> Result<Option<AliasMove>> {
        self.move_alias(model, alias, None, options).await
    }

    async fn alias(&self, model: &ModelName, alias: &Alias) -> Result<Version> {
        self.alias_version(model, alias).await
    }

    async fn alias_history(&self, model: &ModelName, page: &PageRequest) -> Result<Page<AliasMove>> {
        self.moves(model, page).await
    }

    async fn alias_at(&self, model: &ModelName, alias: &Alias, at: Timestamp) -> Result<Option<Version>> {
        self.alias_version_at(model, alias, at).await
    }
}
