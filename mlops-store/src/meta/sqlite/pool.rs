//! Connections to one file, each lent to one user at a time, opened when first needed.
//!
//! Invariant: what a user left open is rolled back when the connection comes back, and no connection closes before the
//! pool does: the log of the file would go with the last one. SQLite is called on the blocking threads of the runtime,
//! never on those that drive futures, but for what neither reads rows nor writes: an attempt to begin, and a rollback.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mlops_core::{Error, Result};
use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

/// How long a caller waits for its turn within this process.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);

type Open = Box<dyn Fn() -> Result<Connection> + Send + Sync>;

/// At most `size` connections.
pub(super) struct Pool {
    open: Open,
    size: u32,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(size: u32, open: impl Fn() -> Result<Connection> + Send + Sync + 'static) -> Arc<Self> {
        let size = size.clamp(1, 1024);
        let turns = Arc::new(Semaphore::new(usize::try_from(size).unwrap_or(1)));
        Arc::new(Self { open: Box::new(open), size, idle: Mutex::default(), turns })
    }

    /// The one connection of a pool, open already.
    pub(super) fn holding(connection: Connection) -> Arc<Self> {
        let pool = Self::new(1, || Err(closed()));
        pool.idle().push(connection);
        pool
    }

    /// The right to use a connection, first come, first served.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<Lease> {
        let turn = match Arc::clone(&self.turns).try_acquire_owned() {
            Ok(turn) => turn,
            Err(TryAcquireError::Closed) => return Err(closed()),
            Err(TryAcquireError::NoPermits) => self.wait().await?,
        };
        Ok(self.lend(turn))
    }

    /// The same if nobody has to be waited for.
    pub(super) fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        Arc::clone(&self.turns).try_acquire_owned().ok().map(|turn| self.lend(turn))
    }

    fn lend(self: &Arc<Self>, turn: OwnedSemaphorePermit) -> Lease {
        Lease { connection: self.idle().pop(), pool: Arc::clone(self), _turn: turn }
    }

    async fn wait(&self) -> Result<OwnedSemaphorePermit> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(&self.turns).acquire_owned()).await;
        let late = |_| Error::unavailable(format!("metadata database: no turn within {} s", TURN_TIMEOUT.as_secs()));
        turn.map_err(late)?.map_err(|_| closed())
    }

    /// Waits for all leases to end and closes the connections.
    pub(super) async fn close(&self) {
        // An error means that it is closed already.
        if let Ok(all) = self.turns.acquire_many(self.size).await {
            all.forget();
            self.turns.close();
            let idle = std::mem::take(&mut *self.idle());
            // The runtime ends only after its blocking threads, so nothing is left to report.
            drop(tokio::task::spawn_blocking(move || drop(idle)).await);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> Error {
    Error::unavailable("metadata database is closed")
}

/// A connection for one user; it goes back when dropped.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Option<Connection>,
    pool: Arc<Pool>,
    _turn: OwnedSemaphorePermit,
}

impl Lease {
    /// The connection, opened now if this is its first use.
    pub(super) fn connection(&mut self) -> Result<&Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => (self.pool.open)()?,
        };
        Ok(self.connection.insert(connection))
    }
}

/// Ends a transaction that is open.
pub(super) fn roll_back(connection: &Connection) -> Result<(), rusqlite::Error> {
    if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("ROLLBACK") }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // Should it fail, then the next user sees to it.
        drop(roll_back(&connection));
        self.pool.idle().push(connection);
    }
}

/// Runs a job that may wait for the disk or for another process.
pub(super) async fn blocking<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(job).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::unavailable("metadata database: the runtime is shutting down")),
    }
}
