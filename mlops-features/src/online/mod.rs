//! The latest values of every entity, by key.
//!
//! A store keeps one opaque record per view and key: the latest row and the recent events. How a record changes is
//! in [`Update::apply`], the same for every back end, so a back end only has to apply updates atomically.

mod answer;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod key;
mod memory;
mod plan;
mod reader;
mod record;
mod redb;
mod resolved;
mod writer;

pub use answer::{FeatureStatus, OnlineFeatures};
pub use memory::MemoryOnlineStore;
pub use plan::ReadPlan;
pub use reader::OnlineReader;
pub use record::Update;
pub use redb::{Durability, RedbOnlineStore, RedbSettings};
pub(crate) use resolved::ResolvedView;
pub(crate) use writer::write_batch;
pub use writer::{OnlineWriter, PushReceipt};

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Result, Timestamp};

/// Encoded join key of one entity; equal for equal values of equal types only.
pub type EntityKey = Bytes;

/// Changes to one view, applied together.
#[derive(Debug, Clone)]
pub struct WriteBatch {
    /// Which view, in which definition.
    pub table: Arc<str>,
    /// What changes, by key; each key once.
    pub updates: Vec<(EntityKey, Update)>,
    /// Event time up to which the view is complete once this is applied; never moves back.
    pub watermark: Option<Timestamp>,
}

/// Which records to read.
#[derive(Debug, Clone)]
pub struct ReadKeys {
    /// Which view, in which definition.
    pub table: Arc<str>,
    /// Which entities; a key may repeat.
    pub keys: Vec<EntityKey>,
}

/// Keeps the records of views.
#[async_trait]
pub trait OnlineStore: fmt::Debug + Send + Sync + 'static {
    /// Applies every update and moves the watermark forward in one transaction: readers see all of it or nothing.
    /// Durable when it returns, unless the store was opened as relaxed. Repeating a batch changes nothing.
    ///
    /// # Errors
    /// `Unavailable` or `ResourceExhausted` when the store cannot write, `DataLoss` when a stored record is damaged;
    /// nothing was applied then.
    async fn write(&self, batch: WriteBatch) -> Result<()>;

    /// The records of all keys, in order, none for an unknown key. All are of one moment.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read.
    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<Bytes>>>>;

    /// The event time up to which `table` is complete.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read.
    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>>;

    /// Makes everything written so far durable.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot write.
    async fn flush(&self) -> Result<()>;
}

#[async_trait]
impl<T: OnlineStore + ?Sized> OnlineStore for Arc<T> {
    async fn write(&self, batch: WriteBatch) -> Result<()> {
        (**self).write(batch).await
    }
    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<Bytes>>>> {
        (**self).read(reads).await
    }
    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        (**self).watermark(table).await
    }
    async fn flush(&self) -> Result<()> {
        (**self).flush().await
    }
}
