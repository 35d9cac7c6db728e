//! What was deleted and can still be restored.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{ModelName, Result, Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::record::{Actor, ModelVersion, RegisteredModel};
use crate::{
    bundle::Deletion,
    search::{Page, PageRequest},
};

/// Number of a deleted model in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrashId(pub u64);

impl fmt::Display for TrashId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A deleted version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedVersion {
    /// The version as it was.
    pub version: ModelVersion,
    /// Who deleted it, and when.
    pub deletion: Deletion,
}

/// A deleted model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedModel {
    /// Its number here: one name may have been deleted several times.
    pub id: TrashId,
    /// The model as it was.
    pub model: RegisteredModel,
    /// How many versions it had, deleted ones included.
    pub versions: u64,
    /// Who deleted it, and when.
    pub deletion: Deletion,
}

/// What to purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// What was deleted before this time.
    pub deleted_before: Timestamp,
    /// Versions of this model and models of this name alone; none: of all.
    #[serde(default)]
    pub model: Option<ModelName>,
    /// Who does it.
    #[serde(default)]
    pub actor: Actor,
}

/// What was purged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// Versions of models that are not deleted.
    pub versions: u64,
    /// Models with all their versions.
    pub models: u64,
}

/// Keeps deleted versions and models until they are purged. Packages of what can be restored are not garbage. Restoring
/// and purging are one transaction each with their audit row.
///
/// Errors common to all calls: `Unavailable`; on writes `PermissionDenied` when an authorizer refuses the actor.
#[async_trait]
pub trait Trash: fmt::Debug + Send + Sync + 'static {
    /// Deleted versions of a model that are not purged, newest first.
    ///
    /// # Errors
    /// `NotFound` when the model is not registered.
    async fn deleted_versions(&self, model: &ModelName, page: &PageRequest) -> Result<Page<DeletedVersion>>;

    /// Brings a deleted version back under its number, with its tags. Aliases do not come back.
    ///
    /// # Errors
    /// `NotFound` when there is no such version, or it was purged; `FailedPrecondition` when it is not deleted.
    async fn restore_version(&self, model: &ModelName, version: Version, actor: &Actor) -> Result<ModelVersion>;

    /// Deleted models that are not purged, oldest deletion first.
    ///
    /// # Errors
    /// `InvalidArgument` for a page token that is not ours.
    async fn deleted_models(&self, page: &PageRequest) -> Result<Page<DeletedModel>>;

    /// Brings a deleted model back with its tags and versions, those among them that were deleted before it as deleted
    /// ones. Aliases and open approvals do not come back: what is to serve is decided anew.
    ///
    /// # Errors
    /// `NotFound` when it is not in the trash; `AlreadyExists` when the name was taken again.
    async fn restore_model(&self, id: TrashId, actor: &Actor) -> Result<RegisteredModel>;

    /// Deletes for good. Numbers of purged versions are still not given again. Packages that nothing else refers to
    /// become garbage.
    ///
    /// # Errors
    /// Only the common ones.
    async fn purge(&self, options: Purge) -> Result<Purged>;
}

#[async_trait]
impl<T: Trash + ?Sized> Trash for Arc<T> {
    async fn deleted_versions(&self, model: &ModelName, page: &PageRequest) -> Result<Page<DeletedVersion>> {
        (**self).deleted_versions(model, page).await
    }
    async fn restore_version(&self, model: &ModelName, version: Version, actor: &Actor) -> Result<ModelVersion> {
        (**self).restore_version(model, version, actor).await
    }
    async fn deleted_models(&self, page: &PageRequest) -> Result<Page<DeletedModel>> {
        (**self).deleted_models(page).await
    }
    async fn restore_model(&self, id: TrashId, actor: &Actor) -> Result<RegisteredModel> {
        (**self).restore_model(id, actor).await
    }
    async fn purge(&self, options: Purge) -> Result<Purged> {
        (**self).purge(options).await
    }
}
