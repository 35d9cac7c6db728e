//! A write transaction: it holds the one writing connection from `BEGIN IMMEDIATE` to the append to the log, and waits
//! for the disk without it. [`SqliteTransaction`] is for whoever awaits its statements, [`Here`] for a thread that may
//! wait for the disk itself.
//!
//! Invariant: no statement runs outside the transaction. SQLite undoes a whole transaction when, say, the disk fills;
//! what comes after is refused rather than written on its own.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use mlops_core::{Error, Result};
use rusqlite::Connection;
use tokio::{sync::oneshot, time::error::Elapsed};

use super::{
    Durability,
    error::{from_sqlite, is_busy},
    pool::{Lease, Pool, blocking, roll_back},
    statement,
};
use crate::meta::{
    Dialect, Transaction,
    value::{Row, Value},
};

/// Pause between two attempts for the lock that another process holds. It does not grow, so a process that has waited
/// long has the same chance as one that has just come.
const RETRY: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct SqliteTransaction {
    /// Absent while a statement runs, and for good when the caller gave up on one.
    lease: Option<Lease>,
    durability: Durability,
}

impl SqliteTransaction {
    pub(super) async fn begin(writer: &Arc<Pool>, durability: Durability, timeout: Duration) -> Result<Self> {
        durability.check()?;
        let mut lease = writer.lease().await?;
        tokio::time::timeout(timeout, locked(&mut lease)).await.map_err(too_late(timeout))??;
        Ok(Self { lease: Some(lease), durability })
    }

    fn lease(&mut self) -> Result<Lease> {
        let given_up = || Error::failed_precondition("the transaction was undone: a statement of it was given up");
        self.lease.take().ok_or_else(given_up)
    }

    async fn run<T: Send + 'static>(
        &mut self,
        job: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut lease = self.lease()?;
        let (lease, outcome) = blocking(move || {
            let outcome = lease.connection().and_then(alive).and_then(job);
            Ok((lease, outcome))
        })
        .await?;
        self.lease = Some(lease);
        outcome
    }
}

/// Tries until this process has the write lock. Dropping it half-way undoes it.
pub(super) async fn locked(lease: &mut Lease) -> Result<()> {
    while !try_lock(lease.connection()?)? {
        tokio::time::sleep(RETRY).await;
    }
    Ok(())
}

/// What is said when [`locked`] took too long.
pub(super) fn too_late(timeout: Duration) -> impl Fn(Elapsed) -> Error {
    move |_| {
        let waited = timeout.as_millis();
        Error::unavailable(format!("metadata database is locked by another process, waited {waited} ms for it"))
    }
}

/// Takes a few microseconds and waits for nothing, so it runs where it is called.
fn try_lock(connection: &Connection) -> Result<bool> {
    roll_back(connection).map_err(from_sqlite)?;
    match connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.raw_execute()) {
        Ok(_) => Ok(true),
        Err(error) if is_busy(&error) => Ok(false),
        Err(error) => Err(from_sqlite(error)),
    }
}

/// # Errors
/// `FailedPrecondition` when no transaction is open.
pub(super) fn alive(connection: &Connection) -> Result<&Connection> {
    if connection.is_autocommit() {
        return Err(Error::failed_precondition("the transaction was undone by an error before"));
    }
    Ok(connection)
}

/// Appends the transaction of a connection to the log.
pub(super) fn append(lease: &mut Lease) -> Result<()> {
    let connection = lease.connection().and_then(alive)?;
    let commit = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.raw_execute());
    commit.map(drop).map_err(from_sqlite)
}

/// Appends to the log, passes the connection on, and leaves the answer to whoever syncs.
fn commit(mut lease: Lease, durability: &Durability, done: oneshot::Sender<Result<()>>) {
    let appended = append(&mut lease);
    if let (Ok(()), Ok(connection)) = (&appended, lease.connection()) {
        durability.appended(connection);
    }
    drop(lease);
    match appended {
        Ok(()) => durability.sync(vec![done]),
        // A caller that no longer waits does not want the answer.
        refused => drop(done.send(refused)),
    }
}

/// A transaction whose statements run where they are called. Whoever lends the connection has begun it, and ends it.
#[derive(Debug)]
pub(super) struct Here<'a>(pub(super) &'a mut Lease);

impl Here<'_> {
    fn connection(&mut self) -> Result<&Connection> {
        self.0.connection().and_then(alive)
    }
}

#[async_trait]
impl Transaction for Here<'_> {
    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        statement::execute(self.connection()?, sql, params)
    }

    async fn execute_many(&mut self, sql: &str, rows: Vec<Vec<Value>>) -> Result<u64> {
        statement::execute_many(self.connection()?, sql, &rows)
    }

    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        statement::query(self.connection()?, sql, params)
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        Err(Error::internal("a job does not commit; whoever carries it out does"))
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        let (sql, params) = (sql.to_owned(), params.to_vec());
        self.run(move |connection| statement::execute(connection, &sql, &params)).await
    }

    async fn execute_many(&mut self, sql: &str, rows: Vec<Vec<Value>>) -> Result<u64> {
        let sql = sql.to_owned();
        self.run(move |connection| statement::execute_many(connection, &sql, &rows)).await
    }

    async fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        let (sql, params) = (sql.to_owned(), params.to_vec());
        self.run(move |connection| statement::query(connection, &sql, &params)).await
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let (lease, durability) = (self.lease()?, self.durability);
        let (done, answer) = oneshot::channel();
        // Not awaited: the thread may go on to sync for others, and answers before.
        drop(tokio::task::spawn_blocking(move || commit(lease, &durability, done)));
        let ended = |_| Error::unavailable("metadata database: the runtime shut down during a commit");
        answer.await.map_err(ended)?
    }

    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }
}
