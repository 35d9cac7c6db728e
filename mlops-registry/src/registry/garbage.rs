//! Blobs that nothing refers to any more.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::Result;
use serde::{Deserialize, Serialize};

use super::record::Actor;

/// How to collect garbage.
///
/// ```
/// use std::time::Duration;
/// use mlops_registry::CollectGarbage;
///
/// let look = CollectGarbage { dry_run: true, ..CollectGarbage::default() };
/// assert_eq!(look.grace, Duration::from_secs(24 * 3_600));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CollectGarbage {
    /// Blobs stored within this time are left alone, by the clock of the blob store. Registrations are safe without
    /// it; it is for programs that put blobs into the store by other ways. Default: a day.
    pub grace: Duration,
    /// Only look, delete nothing.
    pub dry_run: bool,
    /// Who does it.
    pub actor: Actor,
}

impl Default for CollectGarbage {
    fn default() -> Self {
        Self { grace: Duration::from_secs(24 * 3_600), dry_run: false, actor: Actor::default() }
    }
}

/// A number of blobs and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobCount {
    /// How many.
    pub blobs: u64,
    /// Their bytes together.
    pub bytes: u64,
}

impl BlobCount {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.blobs += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// What a collection found and did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GarbageReport {
    /// All that is stored.
    pub stored: BlobCount,
    /// Of these, what versions and what is in the trash refer to, and what a registration on its way has pinned.
    pub reachable: BlobCount,
    /// Of these, what is too young to be looked at.
    pub young: BlobCount,
    /// Of these, the garbage; deleted unless it was a dry run.
    pub garbage: BlobCount,
}

/// Deletes blobs that nothing refers to.
#[async_trait]
pub trait GarbageCollector: fmt::Debug + Send + Sync + 'static {
    /// Deletes every blob that no version refers to, nor anything that can be restored, nor a registration on its way;
    /// those registered meanwhile included. A collection that is cut off at any point leaves nothing that is referred
    /// to damaged, and the next one finishes it. The authorizer is asked for [`mlops_core::Action::Delete`] on models
    /// of any name, and each batch is deleted only with its audit row.
    ///
    /// The blob store must belong to one registry alone, and a deletion that it was asked for takes effect within five
    /// minutes or not at all.
    ///
    /// # Errors
    /// `FailedPrecondition` while another collection runs, up to ten minutes after one was cut off; `DataLoss` when the manifest
    /// of a version cannot be read and so nobody knows what it refers to; `PermissionDenied`, `Unavailable`.
    async fn collect_garbage(&self, options: &CollectGarbage) -> Result<GarbageReport>;
}

#[async_trait]
impl<T: GarbageCollector + ?Sized> GarbageCollector for Arc<T> {
    async fn collect_garbage(&self, options: &CollectGarbage) -> Result<GarbageReport> {
        (**self).collect_garbage(options).await
    }
}
