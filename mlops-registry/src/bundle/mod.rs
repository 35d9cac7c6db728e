//! Registered models in one file: to keep, to hand over, to move where no network reaches.
//!
//! Invariant: a bundle holds every blob that its versions refer to, each under its digest; what is read is verified, and
//! nothing in a bundle can name a place on this machine. A plain tar file, so that `tar -tf` shows what is in it.
//! Not a backup of the whole registry: approvals, policies and the trash stay where they are.

mod file;
mod record;
mod tar;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use mlops_core::{ModelName, Result};
use serde::{Deserialize, Serialize};

pub use file::{BundleHeader, BundleReader, export, import};
pub use record::{Deletion, ModelRecord, VERSION_NUMBER_MAX, VersionRecord};

use crate::registry::{Actor, BlobSource};

/// A registry whose models can leave and come in whole.
#[async_trait]
pub trait Bundles: BlobSource + fmt::Debug + Send + Sync + 'static {
    /// A model, its versions that are not deleted, and the moves of its aliases, as they are at one moment.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    async fn export_model(&self, model: &ModelName) -> Result<ModelRecord>;

    /// Takes a model over: packages first, then everything else in one transaction with its audit row. Versions keep
    /// their numbers. What is there already stays as it is, so that a repeated import changes nothing.
    ///
    /// # Errors
    /// `InvalidArgument` when the record contradicts itself; `AlreadyExists` when a version or alias of it is another
    /// one here; `FailedPrecondition` when a policy protects an alias; `PermissionDenied`, `DataLoss`, `Unavailable`.
    async fn import_model(
        &self,
        record: &ModelRecord,
        from: &dyn BlobSource,
        options: &ImportModel,
    ) -> Result<Imported>;

    /// This as a mere source of blobs.
    fn as_blob_source(&self) -> &dyn BlobSource;
}

#[async_trait]
impl<T: Bundles + ?Sized> Bundles for Arc<T> {
    async fn export_model(&self, model: &ModelName) -> Result<ModelRecord> {
        (**self).export_model(model).await
    }
    async fn import_model(
        &self,
        record: &ModelRecord,
        from: &dyn BlobSource,
        options: &ImportModel,
    ) -> Result<Imported> {
        (**self).import_model(record, from, options).await
    }
    fn as_blob_source(&self) -> &dyn BlobSource {
        (**self).as_blob_source()
    }
}

/// How to take a model over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportModel {
    /// Set its aliases too; policies of the registry hold for them. Default: yes.
    pub aliases: bool,
    /// Take the history of its aliases along. Default: yes.
    pub history: bool,
    /// Who does it.
    pub actor: Actor,
}

impl Default for ImportModel {
    fn default() -> Self {
        Self { aliases: true, history: true, actor: Actor::default() }
    }
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// Versions that are new.
    pub versions_added: u64,
    /// Versions that were there already.
    pub versions_present: u64,
    /// Blobs that were copied.
    pub blobs_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
}

impl Imported {
    fn add(&mut self, other: Self) {
        self.versions_added += other.versions_added;
        self.versions_present += other.versions_present;
        self.blobs_copied += other.blobs_copied;
        self.bytes_copied += other.bytes_copied;
    }
}
