//! Metadata in one SQLite file, in write-ahead mode: many readers, one writer at a time, several processes.
//!
//! Invariant: a committed transaction is on disk ([`SqliteSettings::power_loss_safe`]) before `commit` returns.
//! Transactions that end at about the same time share one sync of the log. A reader may see a transaction a moment
//! before it is on disk; a transaction that has seen it is not acknowledged before it.

mod checkpoint;
mod error;
mod file;
mod pool;
mod queue;
mod statement;
mod sync;
mod transaction;

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::Result;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use self::{
    checkpoint::{Checkpoint, LIMITS},
    error::from_sqlite,
    file::File,
    pool::{Pool, blocking},
    queue::Queue,
    sync::GroupSync,
    transaction::SqliteTransaction,
};
use super::{
    Dialect, Job, MetaStore, Transaction,
    value::{Row, Value},
};

/// How a SQLite metadata file is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SqliteSettings {
    /// Connections for reading, opened when first needed; one more writes. 1 to 1,024, default 4.
    pub readers_max: u32,
    /// How long to wait for another process that is writing, in milliseconds. Default 10,000.
    pub busy_timeout_ms: u64,
    /// Whether a commit survives the loss of power and not just of the process. Default true; a
    /// commit then waits for the disk.
    pub power_loss_safe: bool,
    /// For how long transactions that wait together are put into one, in milliseconds; at most 64 are. Default 2: those
    /// that are done wait for the last.
    pub round_ms: u64,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self { readers_max: 4, busy_timeout_ms: 10_000, power_loss_safe: true, round_ms: 2 }
    }
}

/// A SQLite metadata database. Clones share it. Statements run on the blocking threads of the tokio runtime.
#[derive(Debug, Clone)]
pub struct SqliteMetaStore {
    readers: Arc<Pool>,
    writer: Arc<Pool>,
    queue: Queue,
    durability: Durability,
    busy_timeout: Duration,
}

impl SqliteMetaStore {
    /// Opens the file, creating it when it is absent.
    ///
    /// # Errors
    /// `Unavailable` naming the path when it cannot be opened or is no SQLite database; `FailedPrecondition` where the
    /// file system allows no write-ahead log.
    pub async fn open(path: &Path, settings: SqliteSettings) -> Result<Self> {
        let file = File::new(path, settings);
        let opening = file.clone();
        let (connection, log) = blocking(move || {
            let connection = opening.writer()?;
            let log = opening.log(&connection)?;
            Ok((connection, log))
        })
        .await?;
        let log = Arc::new(log);
        let checkpoint = Checkpoint::new(file.clone(), settings.power_loss_safe.then(|| Arc::clone(&log)), LIMITS);
        let group = GroupSync::new(move || log.sync_data());
        Ok(Self::with_parts(file, settings, connection, group, checkpoint))
    }

    /// Opens a file that another program wrote, to be read only: nothing is created, no mode is changed, and a
    /// transaction that writes fails.
    ///
    /// # Errors
    /// `Unavailable` naming the path when it does not exist or cannot be opened, `DataLoss` when it is no SQLite
    /// database.
    pub async fn open_read_only(path: &Path, settings: SqliteSettings) -> Result<Self> {
        let file = File::new(path, settings);
        let opening = file.clone();
        let first = blocking(move || {
            let connection = opening.reader()?;
            connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(())).map_err(from_sqlite)?;
            Ok(connection)
        })
        .await?;
        let readers = Pool::new(settings.readers_max, move || file.reader());
        Ok(Self::of(readers, Pool::holding(first), Durability::default(), settings))
    }

    fn with_parts(
        file: File,
        settings: SqliteSettings,
        connection: Connection,
        group: GroupSync,
        checkpoint: Checkpoint,
    ) -> Self {
        let durability = Durability {
            group: settings.power_loss_safe.then(|| Arc::new(group)),
            checkpoint: Some(Arc::new(checkpoint)),
        };
        let readers = Pool::new(settings.readers_max, move || file.reader());
        Self::of(readers, Pool::holding(connection), durability, settings)
    }

    fn of(readers: Arc<Pool>, writer: Arc<Pool>, durability: Durability, settings: SqliteSettings) -> Self {
        let busy_timeout = Duration::from_millis(settings.busy_timeout_ms);
        let queue = Queue::new(Arc::clone(&writer), durability.clone(), &settings);
        Self { readers, writer, queue, durability, busy_timeout }
    }

    /// A database that lives as long as the handle, for tests and trials.
    ///
    /// # Errors
    /// `Unavailable` when memory is short.
    pub async fn in_memory() -> Result<Self> {
        let connection = Connection::open_in_memory().map_err(from_sqlite)?;
        file::prepare(&connection).map_err(from_sqlite)?;
        let only = Pool::holding(connection);
        // Nothing is synced, so no round has to end for that.
        let settings = SqliteSettings { round_ms: 3_600_000, ..SqliteSettings::default() };
        Ok(Self::of(Arc::clone(&only), only, Durability::default(), settings))
    }

    /// Waits for running statements and closes the file. Optional: dropping is safe as well.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        if let Some(checkpoint) = &self.durability.checkpoint {
            checkpoint.close();
        }
    }
}

#[async_trait]
impl MetaStore for SqliteMetaStore {
    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let transaction = SqliteTransaction::begin(&self.writer, self.durability.clone(), self.busy_timeout).await?;
        Ok(Box::new(transaction))
    }

    async fn transact(&self, job: Box<dyn Job>) -> Result<()> {
        self.queue.carry_out(job).await
    }

    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let mut lease = self.readers.lease().await?;
        let (sql, params) = (sql.to_owned(), params.to_vec());
        blocking(move || statement::query(lease.connection()?, &sql, &params)).await
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }
}

/// What happens to a transaction once it is in the log; nothing in memory.
#[derive(Debug, Clone, Default)]
struct Durability {
    group: Option<Arc<GroupSync>>,
    checkpoint: Option<Arc<Checkpoint>>,
}

impl Durability {
    fn check(&self) -> Result<()> {
        self.group.as_ref().map_or(Ok(()), |group| group.check())
    }

    /// Answers transactions that have been appended, once they are on disk.
    fn sync(&self, appended: Vec<oneshot::Sender<Result<()>>>) {
        match &self.group {
            Some(group) => group.join(appended),
            // A caller that no longer waits does not want the answer.
            None => appended.into_iter().for_each(|done| drop(done.send(Ok(())))),
        }
    }

    /// Looks after the log; before the connection is passed on.
    fn appended(&self, writer: &Connection) {
        if let Some(checkpoint) = &self.checkpoint {
            // The commit stands whether or not the log could be moved; the next commit tries again.
            drop(checkpoint.after_commit(writer));
        }
    }
}

#[cfg(test)]
mod tests;
