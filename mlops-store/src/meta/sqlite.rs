//! Metadata in one SQLite file, in write-ahead mode: many readers, one writer at a time.
//!
//! Invariant: a committed transaction is on disk ([`SqliteSettings::power_loss_safe`]) before
//! `commit` returns.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use sqlx::{
    AssertSqlSafe, Column as _, Executor as _, Row as _, Sqlite, SqlitePool, TypeInfo as _, ValueRef as _,
    sqlite::{
        SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};

use super::{
    Dialect, MetaStore, Transaction,
    value::{Row, Type, Value},
};

/// How a SQLite metadata file is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SqliteSettings {
    /// Connections for reading; one more writes. Default 4.
    pub readers_max: u32,
    /// How long to wait for another process that is writing, in milliseconds. Default 10,000.
    pub busy_timeout_ms: u64,
    /// Whether a commit survives the loss of power and not just of the process. Default true; a
    /// commit then waits for the disk.
    pub power_loss_safe: bool,
}

impl Default for SqliteSettings {
    fn default() -> Self {
        Self { readers_max: 4, busy_timeout_ms: 10_000, power_loss_safe: true }
    }
}

/// A SQLite metadata database.
#[derive(Debug, Clone)]
pub struct SqliteMetaStore {
    readers: SqlitePool,
    writer: SqlitePool,
}

impl SqliteMetaStore {
    /// Opens the file, creating it when it is absent.
    ///
    /// # Errors
    /// `Unavailable` naming the path when it cannot be opened or is no SQLite database.
    pub async fn open(path: &Path, settings: SqliteSettings) -> Result<Self> {
        let synchronous = if settings.power_loss_safe { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .busy_timeout(Duration::from_millis(settings.busy_timeout_ms))
            .foreign_keys(true);
        let named = |error: sqlx::Error| {
            Error::unavailable(format!("metadata database {} cannot be opened: {error}", path.display()))
                .with("path", path.display())
                .with_source(error)
        };
        let writer = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(named)?;
        let readers = SqlitePoolOptions::new()
            .max_connections(settings.readers_max.max(1))
            .connect_with(options.read_only(true))
            .await
            .map_err(named)?;
        Ok(Self { readers, writer })
    }

    /// A database that lives as long as the handle, for tests and trials.
    ///
    /// # Errors
    /// `Unavailable` when memory is short.
    pub async fn in_memory() -> Result<Self> {
        let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(from_sqlx)?;
        Ok(Self { readers: writer.clone(), writer })
    }

    /// Waits for running statements and closes the file. Optional: dropping is safe as well.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[async_trait]
impl MetaStore for SqliteMetaStore {
    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        let inner = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(from_sqlx)?;
        Ok(Box::new(SqliteTransaction { inner }))
    }

    async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let rows = self.readers.fetch_all(bind(sql, params)).await.map_err(from_sqlx)?;
        convert(&rows)
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }
}

#[derive(Debug)]
struct SqliteTransaction {
    inner: sqlx::Transaction<'static, Sqlite>,
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        let done = self.inner.execute(bind(sql, params)).await.map_err(from_sqlx)?;
        Ok(done.rows_affected())
    }

    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let rows = self.inner.fetch_all(bind(sql, params)).await.map_err(from_sqlx)?;
        convert(&rows)
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.inner.commit().await.map_err(from_sqlx)
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }
}

/// The text of every statement is ours; values travel as parameters.
fn bind(sql: &str, params: &[Value]) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    params.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match value {
        Value::Null(_) => query.bind(None::<String>),
        Value::Int(v) => query.bind(*v),
        Value::Real(v) => query.bind(*v),
        Value::Text(v) => query.bind(v.clone()),
        Value::Blob(v) => query.bind(v.clone()),
    })
}

fn convert(rows: &[SqliteRow]) -> Result<Vec<Row>> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let columns: Arc<[String]> = first.columns().iter().map(|column| column.name().to_owned()).collect();
    let row = |row: &SqliteRow| {
        let values = (0..columns.len()).map(|index| value_at(row, index)).collect::<Result<_, _>>();
        values.map(|values| Row::new(Arc::clone(&columns), values)).map_err(from_sqlx)
    };
    rows.iter().map(row).collect()
}

fn value_at(row: &SqliteRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null(Type::Text));
    }
    let name = raw.type_info().into_owned();
    Ok(match name.name() {
        "INTEGER" | "BOOLEAN" => Value::Int(row.try_get_unchecked(index)?),
        "REAL" => Value::Real(row.try_get_unchecked(index)?),
        "BLOB" => Value::Blob(row.try_get_unchecked(index)?),
        _ => Value::Text(row.try_get_unchecked(index)?),
    })
}

pub(super) fn from_sqlx(error: sqlx::Error) -> Error {
    let (kind, message) = match &error {
        sqlx::Error::Database(database) if database.is_unique_violation() => {
            (ErrorKind::AlreadyExists, format!("a row with this key exists: {}", database.message()))
        }
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // SQLITE_BUSY and its extended codes; PostgreSQL serialisation failure and deadlock.
            Some("5" | "261" | "517" | "6") => {
                (ErrorKind::Unavailable, "metadata database is locked by another process".to_owned())
            }
            Some("40001" | "40P01") => (ErrorKind::Conflict, "a concurrent transaction was faster".to_owned()),
            // SQLITE_FULL; PostgreSQL disk full.
            Some("13" | "53100") => (ErrorKind::ResourceExhausted, "metadata database: disk is full".to_owned()),
            // SQLITE_CORRUPT, SQLITE_NOTADB.
            Some("11" | "26") => (ErrorKind::DataLoss, format!("metadata database is damaged: {}", database.message())),
            _ if database.is_foreign_key_violation() || database.is_check_violation() => {
                (ErrorKind::FailedPrecondition, format!("metadata constraint: {}", database.message()))
            }
            _ => (ErrorKind::Internal, format!("metadata statement failed: {}", database.message())),
        },
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            (ErrorKind::Unavailable, format!("metadata database cannot be reached: {error}"))
        }
        _ => (ErrorKind::Internal, format!("metadata database: {error}")),
    };
    Error::new(kind, message).with_source(error)
}
