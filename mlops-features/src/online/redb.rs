//! An online store in one redb file: embedded, transactional, one writer and many readers.
//!
//! Each view is one redb table of key to record, and `watermarks` holds the view's event time; a write changes both
//! in one transaction.

use std::{
    fmt,
    ops::Bound,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Error, ErrorKind, Result, Timestamp};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError};
use serde::{Deserialize, Serialize};

use super::{EntityKey, OnlineStore, ReadKeys, ScanPage, Update, WriteBatch};

const WATERMARKS: TableDefinition<'_, &str, i64> = TableDefinition::new("watermarks");

/// When a write is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// When the call returns.
    #[default]
    PerWrite,
    /// After the next [`OnlineStore::flush`]; a crash before it loses whole writes, the latest first, never a part of
    /// one. For replays, whose source is the offline table.
    Relaxed,
}

/// How the file is used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct RedbSettings {
    /// When a write is safe.
    pub durability: Durability,
    /// Memory for pages.
    pub cache_bytes: usize,
    /// Relaxed writes after which one is made durable, which lets the file reuse its pages.
    pub relaxed_writes_max: u32,
    /// Keys up to which a read is done in place; a larger one goes to a blocking thread.
    pub keys_in_place_max: usize,
}

impl Default for RedbSettings {
    fn default() -> Self {
        Self {
            durability: Durability::PerWrite,
            cache_bytes: 64 << 20,
            relaxed_writes_max: 4_096,
            keys_in_place_max: 64,
        }
    }
}

/// One redb file.
pub struct RedbOnlineStore {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    settings: RedbSettings,
    relaxed: AtomicU32,
}

impl fmt::Debug for RedbOnlineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbOnlineStore").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}

impl RedbOnlineStore {
    /// Opens the file at `path`, creating it when there is none. One process at a time.
    ///
    /// # Errors
    /// `FailedPrecondition` when another process has it open, `DataLoss` when it is damaged, `Unavailable` when it
    /// cannot be read or created.
    pub fn open(path: impl AsRef<Path>, settings: RedbSettings) -> Result<Self> {
        let path = path.as_ref();
        let database = Database::builder().set_cache_size(settings.cache_bytes).create(path).map_err(|error| {
            let kind = match &error {
                redb::DatabaseError::DatabaseAlreadyOpen => ErrorKind::FailedPrecondition,
                redb::DatabaseError::Storage(redb::StorageError::Io(_)) => ErrorKind::Unavailable,
                _ => ErrorKind::DataLoss,
            };
            Error::new(kind, format!("online store {} cannot be opened", path.display())).with_source(error)
        })?;
        Ok(Self { inner: Arc::new(Inner { database, settings, relaxed: AtomicU32::new(0) }) })
    }
}

fn failed(error: impl Into<redb::Error>) -> Error {
    let error: redb::Error = error.into();
    let kind = match &error {
        redb::Error::Corrupted(_) => ErrorKind::DataLoss,
        redb::Error::ValueTooLarge(_) => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("online store: {error}")).with_source(error)
}

/// Applies updates in order of keys, so that neighbours are written while their page is at hand. What lies after the
/// last key goes in through one gap, page by page: a new view is filled in half the time.
fn apply(table: &mut Table<'_, &'static [u8], &'static [u8]>, updates: &[(EntityKey, Update)]) -> Result<()> {
    let mut updates: Vec<_> = updates.iter().collect();
    updates.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let last = table.last().map_err(failed)?.map(|(key, _)| Bytes::copy_from_slice(key.value()));
    let known = updates.partition_point(|(key, _)| last.as_ref().is_some_and(|last| key <= last));
    let (known, new) = updates.split_at(known);
    for (key, update) in known {
        let after = {
            let before = table.get(key.as_ref()).map_err(failed)?;
            update.apply(before.as_ref().map(|guard| guard.value()))?
        };
        table.insert(key.as_ref(), after.as_slice()).map_err(failed)?;
    }
    if new.is_empty() {
        return Ok(());
    }
    let mut gap = table.upper_bound_mut(Bound::<&[u8]>::Unbounded).map_err(failed)?;
    for (key, update) in new {
        gap.insert_before(key.as_ref(), update.apply(None)?.as_slice()).map_err(failed)?;
    }
    gap.close().map_err(failed)
}

impl Inner {
    /// Whether this write is to be synced: always, or every `relaxed_writes_max`-th.
    fn durability(&self) -> redb::Durability {
        let relaxed = self.settings.durability == Durability::Relaxed;
        let since = self.relaxed.fetch_add(1, Ordering::Relaxed);
        if relaxed && since < self.settings.relaxed_writes_max {
            return redb::Durability::None;
        }
        self.relaxed.store(0, Ordering::Relaxed);
        redb::Durability::Immediate
    }

    fn write(&self, batch: &WriteBatch) -> Result<()> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction.set_durability(self.durability()).map_err(failed)?;
        {
            // A watermark alone makes no table.
            if !batch.updates.is_empty() {
                let definition = TableDefinition::<&[u8], &[u8]>::new(&batch.table);
                let mut table = transaction.open_table(definition).map_err(failed)?;
                apply(&mut table, &batch.updates)?;
            }
            let mut watermarks = transaction.open_table(WATERMARKS).map_err(failed)?;
            let before = watermarks.get(batch.table.as_ref()).map_err(failed)?.map(|guard| guard.value());
            let after = before.max(batch.watermark.map(Timestamp::as_micros));
            if let Some(after) = after.filter(|_| after != before) {
                watermarks.insert(batch.table.as_ref(), after).map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }

    fn read(&self, reads: &[ReadKeys]) -> Result<Vec<Vec<Option<Bytes>>>> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let mut answers = Vec::with_capacity(reads.len());
        for read in reads {
            let definition = TableDefinition::<&[u8], &[u8]>::new(&read.table);
            let table = match transaction.open_table(definition) {
                Ok(table) => table,
                Err(TableError::TableDoesNotExist(_)) => {
                    answers.push(vec![None; read.keys.len()]);
                    continue;
                }
                Err(error) => return Err(failed(error)),
            };
            let get = |key: &Bytes| {
                let found = table.get(key.as_ref()).map_err(failed)?;
                Ok(found.map(|guard| Bytes::copy_from_slice(guard.value())))
            };
            answers.push(read.keys.iter().map(get).collect::<Result<_>>()?);
        }
        Ok(answers)
    }

    /// In order of keys; a page begins after the last key of the one before.
    fn scan(&self, table: &str, from: Option<&Bytes>, records_max: usize) -> Result<ScanPage> {
        let transaction = self.database.begin_read().map_err(failed)?;
        let table = match transaction.open_table(TableDefinition::<&[u8], &[u8]>::new(table)) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(ScanPage::default()),
            Err(error) => return Err(failed(error)),
        };
        let start = from.map_or(Bound::Unbounded, |from| Bound::Excluded(&from[..]));
        let found = table.range::<&[u8]>((start, Bound::Unbounded)).map_err(failed)?;
        let mut records = Vec::new();
        for found in found.take(records_max.max(1)) {
            let (key, record) = found.map_err(failed)?;
            records.push((Bytes::copy_from_slice(key.value()), Bytes::copy_from_slice(record.value())));
        }
        let next = records.last().map(|(key, _)| key.clone());
        Ok(ScanPage { records, next })
    }

    fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        let transaction = self.database.begin_read().map_err(failed)?;
        match transaction.open_table(WATERMARKS) {
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(failed(error)),
            Ok(watermarks) => {
                let found = watermarks.get(table).map_err(failed)?;
                Ok(found.map(|guard| Timestamp::from_micros(guard.value())))
            }
        }
    }

    fn flush(&self) -> Result<()> {
        let mut transaction = self.database.begin_write().map_err(failed)?;
        transaction.set_durability(redb::Durability::Immediate).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        self.relaxed.store(0, Ordering::Relaxed);
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("an online store operation panicked"))?
}

#[async_trait]
impl OnlineStore for RedbOnlineStore {
    async fn write(&self, batch: WriteBatch) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.write(&batch)).await
    }

    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<Bytes>>>> {
        let keys: usize = reads.iter().map(|read| read.keys.len()).sum();
        if keys <= self.inner.settings.keys_in_place_max {
            return self.inner.read(&reads);
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.read(&reads)).await
    }

    async fn scan(&self, table: &str, from: Option<Bytes>, records_max: usize) -> Result<ScanPage> {
        let (inner, table) = (Arc::clone(&self.inner), table.to_owned());
        blocking(move || inner.scan(&table, from.as_ref(), records_max)).await
    }

    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        self.inner.watermark(table)
    }

    async fn flush(&self) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.flush()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_promises_of_an_online_store() {
        let home = tempfile::tempdir().unwrap();
        let count = AtomicU32::new(0);
        let make = || {
            let name = format!("{}.redb", count.fetch_add(1, Ordering::Relaxed));
            let store = RedbOnlineStore::open(home.path().join(name), RedbSettings::default());
            async { store }
        };
        super::super::conformance::all(make).await.unwrap();
    }

    #[tokio::test]
    async fn a_flushed_relaxed_store_opens_again_with_its_watermark() {
        let home = tempfile::tempdir().unwrap();
        let settings = RedbSettings { durability: Durability::Relaxed, ..RedbSettings::default() };
        let path = home.path().join("online.redb");
        let store = RedbOnlineStore::open(&path, settings.clone()).unwrap();
        let watermark = Some(Timestamp::from_micros(7));
        store.write(WriteBatch { table: "v".into(), updates: Vec::new(), watermark }).await.unwrap();
        store.flush().await.unwrap();
        let again = RedbOnlineStore::open(&path, settings.clone()).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::FailedPrecondition);
        drop(store);
        let store = RedbOnlineStore::open(&path, settings).unwrap();
        assert_eq!(store.watermark("v").await.unwrap(), watermark);
    }
}
