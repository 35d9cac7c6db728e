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
#[cfg(feature = "postgres")]
mod postgres;
mod reader;
mod record;
mod redb;
#[cfg(feature = "redis")]
mod redis;
mod resolved;
mod writer;

pub use answer::{FeatureStatus, OnlineFeatures};
pub use memory::MemoryOnlineStore;
pub use plan::ReadPlan;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOnlineSettings, PostgresOnlineStore};
pub use reader::OnlineReader;
pub use record::Update;
pub(crate) use record::{LatestHead, Stored};
pub use redb::{Durability, RedbOnlineStore, RedbSettings};
#[cfg(feature = "redis")]
pub use redis::{RedisOnlineSettings, RedisOnlineStore};
pub(crate) use resolved::{Place, ResolvedView};
pub use writer::{OnlineWriter, PushReceipt};
pub(crate) use writer::{changes, write_batch};

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

/// Some records of a view.
#[derive(Debug, Clone, Default)]
pub struct ScanPage {
    /// Keys and records.
    pub records: Vec<(EntityKey, Bytes)>,
    /// Where the next page begins, in the store's own terms; none when this is the last.
    pub next: Option<Bytes>,
}

/// Keeps the records of views.
#[async_trait]
pub trait OnlineStore: fmt::Debug + Send + Sync + 'static {
    /// Applies every update and moves the watermark forward in one transaction: readers see all of it or nothing. A
    /// store that divides large batches says so; each piece is a transaction then, and the watermark moves last.
    /// Durable when it returns, unless the store was opened as relaxed. Repeating a batch changes nothing.
    ///
    /// # Errors
    /// `Unavailable` or `ResourceExhausted` when the store cannot write, `DataLoss` when a stored record is damaged;
    /// nothing was applied then. Where a connection breaks during the write it may have been applied all the same;
    /// writing again is right in any case. `Conflict` when other writers were faster too many times.
    async fn write(&self, batch: WriteBatch) -> Result<()>;

    /// The records of all keys, in order, none for an unknown key. All are of one moment.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read.
    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<Bytes>>>>;

    /// About `records_max` records of `table`, in any order, beginning at `from`, which an earlier page told, or at the
    /// beginning. Whoever follows the pages to the end sees every record that was there all the time at least once.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read.
    async fn scan(&self, table: &str, from: Option<Bytes>, records_max: usize) -> Result<ScanPage>;

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
    async fn scan(&self, table: &str, from: Option<Bytes>, records_max: usize) -> Result<ScanPage> {
        (**self).scan(table, from, records_max).await
    }
    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        (**self).watermark(table).await
    }
    async fn flush(&self) -> Result<()> {
        (**self).flush().await
    }
}
