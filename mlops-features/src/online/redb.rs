//! An online store in one redb file: embedded, transactional, one writer and many readers.
//!
//! Each view is one redb table of key to record, and `watermarks` holds the view's event time; a write changes both
//! in one transaction. After a fault of the disk redb serves nothing more from what it has open, so the file is closed
//! and opened again, as it is on the disk, by whoever comes next.

use std::{
    fmt,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Error, ErrorKind, Result, Timestamp};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, TableError};
use serde::{Deserialize, Serialize};

use super::{EntityKey, OnlineStore, ReadKeys, ScanPage, Update, WriteBatch};
use crate::fault::is_full;

/// How often a call may meet faults of others before it is one itself.
const ATTEMPTS_MAX: usize = 8;

const WATERMARKS: TableDefinition<'_, &str, i64> = TableDefinition::new("watermarks");

/// When a write is safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// When the call returns.
    #[default]
    PerWrite,
    /// After the next [`OnlineStore::flush`]; a crash or a fault of the disk before it loses whole writes, the latest
    /// first, never a part of one. For replays, whose source is the offline table.
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
    path: PathBuf,
    /// None between a fault of the disk and the next call.
    database: RwLock<Option<Database>>,
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
    /// `FailedPrecondition` when another process has it open, `DataLoss` when it is damaged, `ResourceExhausted` when
    /// the disk is full, `Unavailable` when it cannot be read or created.
    pub fn open(path: impl AsRef<Path>, settings: RedbSettings) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let database = RwLock::new(Some(open(&path, &settings)?));
        Ok(Self { inner: Arc::new(Inner { path, database, settings, relaxed: AtomicU32::new(0) }) })
    }
}

fn open(path: &Path, settings: &RedbSettings) -> Result<Database> {
    Database::builder().set_cache_size(settings.cache_bytes).create(path).map_err(|error| {
        let kind = match &error {
            redb::DatabaseError::DatabaseAlreadyOpen => ErrorKind::FailedPrecondition,
            redb::DatabaseError::Storage(redb::StorageError::Io(error)) if is_full(error) => {
                ErrorKind::ResourceExhausted
            }
            redb::DatabaseError::Storage(redb::StorageError::Io(_)) => ErrorKind::Unavailable,
            _ => ErrorKind::DataLoss,
        };
        Error::new(kind, format!("online store {} cannot be opened", path.display())).with_source(error)
    })
}

fn failed(error: impl Into<redb::Error>) -> Error {
    let error: redb::Error = error.into();
    let kind = match &error {
        redb::Error::Corrupted(_) => ErrorKind::DataLoss,
        redb::Error::ValueTooLarge(_) => ErrorKind::ResourceExhausted,
        redb::Error::Io(error) if is_full(error) => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("online store: {error}")).with_source(error)
}

/// What a failed call says of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The disk failed just now.
    New,
    /// It failed before, for someone else.
    Old,
}

fn fault<T>(outcome: &Result<T>) -> Option<Fault> {
    let source = std::error::Error::source(outcome.as_ref().err()?)?;
    match source.downcast_ref::<redb::Error>()? {
        redb::Error::Io(_) => Some(Fault::New),
        redb::Error::PreviousIo => Some(Fault::Old),
        _ => None,
    }
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
    /// Does `work` with the database, once more after someone else's fault.
    fn with<T>(&self, work: impl Fn(&Database) -> Result<T>) -> Result<T> {
        for _ in 0..ATTEMPTS_MAX {
            let outcome = match self.opened()?.as_ref() {
                Some(database) => work(database),
                // Another one has just failed.
                None => continue,
            };
            let Some(fault) = fault(&outcome) else { return outcome };
            tracing::warn!(path = %self.path.display(), "the disk of the online store failed; it is opened again");
            *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
            if fault == Fault::New {
                return outcome;
            }
        }
        Err(Error::unavailable(format!("online store {}: its disk fails again and again", self.path.display())))
    }

    /// The database, opened if it is not.
    fn opened(&self) -> Result<RwLockReadGuard<'_, Option<Database>>> {
        let known = self.database.read().unwrap_or_else(PoisonError::into_inner);
        if known.is_some() {
            return Ok(known);
        }
        drop(known);
        {
            let mut closed = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if closed.is_none() {
                *closed = Some(open(&self.path, &self.settings)?);
            }
        }
        Ok(self.database.read().unwrap_or_else(PoisonError::into_inner))
    }

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

    fn write(&self, database: &Database, batch: &WriteBatch) -> Result<()> {
        let mut transaction = database.begin_write().map_err(failed)?;
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

    fn read(database: &Database, reads: &[ReadKeys]) -> Result<Vec<Vec<Option<Bytes>>>> {
        let transaction = database.begin_read().map_err(failed)?;
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
    fn scan(database: &Database, table: &str, from: Option<&Bytes>, records_max: usize) -> Result<ScanPage> {
        let transaction = database.begin_read().map_err(failed)?;
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

    fn watermark(database: &Database, table: &str) -> Result<Option<Timestamp>> {
        let transaction = database.begin_read().map_err(failed)?;
        match transaction.open_table(WATERMARKS) {
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(failed(error)),
            Ok(watermarks) => {
                let found = watermarks.get(table).map_err(failed)?;
                Ok(found.map(|guard| Timestamp::from_micros(guard.value())))
            }
        }
    }

    fn flush(&self, database: &Database) -> Result<()> {
        let mut transaction = database.begin_write().map_err(failed)?;
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
        blocking(move || inner.with(|database| inner.write(database, &batch))).await
    }

    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<Bytes>>>> {
        let keys: usize = reads.iter().map(|read| read.keys.len()).sum();
        if keys <= self.inner.settings.keys_in_place_max {
            return self.inner.with(|database| Inner::read(database, &reads));
        }
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.with(|database| Inner::read(database, &reads))).await
    }

    async fn scan(&self, table: &str, from: Option<Bytes>, records_max: usize) -> Result<ScanPage> {
        let (inner, table) = (Arc::clone(&self.inner), table.to_owned());
        blocking(move || inner.with(|database| Inner::scan(database, &table, from.as_ref(), records_max))).await
    }

    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        self.inner.with(|database| Inner::watermark(database, table))
    }

    async fn flush(&self) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.with(|database| inner.flush(database))).await
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
