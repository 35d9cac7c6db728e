//! Moves the write-ahead log into the database file beside the writers, so that the log stays short and no commit pays
//! for the move.
//!
//! Invariant: SQLite itself syncs the log before it copies and the file before it lets the log start over, so a
//! checkpoint at any moment, by any process, takes nothing from what a commit was promised. A checkpoint that fails
//! costs nothing but space: the log keeps all, and the next one tries again.

use std::sync::{
    Arc, Mutex, PoisonError, TryLockError,
    atomic::{AtomicU32, Ordering},
};

use mlops_core::Result;
use rusqlite::Connection;

use super::{error::from_sqlite, file::File};

/// Lengths of the log, in pages of 4 KiB, at which something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Growth after which a checkpoint runs beside the writers.
    pub(super) pages: u32,
    /// Length from which on a checkpoint holds up the writers for a moment, because beside writers that never pause the
    /// log would never start over.
    pub(super) pages_max: u32,
}

/// 8 MiB and 48 MiB.
pub(super) const LIMITS: Limits = Limits { pages: 2048, pages_max: 12_288 };

/// When and how the log of one file is moved.
#[derive(Debug)]
pub(super) struct Checkpoint {
    file: File,
    limits: Limits,
    connection: Mutex<Option<Connection>>,
    /// Length of the log at the last attempt.
    tried_at: AtomicU32,
}

impl Checkpoint {
    pub(super) fn new(file: File, limits: Limits) -> Self {
        Self { file, limits, connection: Mutex::default(), tried_at: AtomicU32::new(0) }
    }

    /// Looks at the length of the log after a commit; `writer` has not yet been passed on.
    pub(super) fn after_commit(self: &Arc<Self>, writer: &Connection) -> Result<()> {
        let pages = run(writer, "PRAGMA wal_checkpoint(NOOP)")?;
        let tried_at = Some(self.tried_at.load(Ordering::Relaxed)).filter(|tried_at| *tried_at <= pages);
        // Shorter than before: it has started over.
        let tried_at = tried_at.unwrap_or(0);
        let due = tried_at.saturating_add(self.limits.pages) <= pages;
        self.tried_at.store(if due { pages } else { tried_at }, Ordering::Relaxed);
        if !due {
            return Ok(());
        }
        if pages < self.limits.pages_max {
            let this = Arc::clone(self);
            // Not awaited: see the invariant. The runtime waits for it when it ends.
            drop(tokio::task::spawn_blocking(move || this.beside_writers()));
            return Ok(());
        }
        run(writer, "PRAGMA wal_checkpoint(RESTART)").map(drop)
    }

    fn beside_writers(&self) -> Result<()> {
        let mut connection = match self.connection.try_lock() {
            Ok(connection) => connection,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return Ok(()),
        };
        let open = match connection.take() {
            Some(open) => open,
            None => self.file.writer()?,
        };
        run(connection.insert(open), "PRAGMA wal_checkpoint(PASSIVE)").map(drop)
    }

    pub(super) fn close(&self) {
        drop(self.connection.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Gives the pages in the log.
fn run(connection: &Connection, pragma: &str) -> Result<u32> {
    let mut statement = connection.prepare_cached(pragma).map_err(from_sqlite)?;
    // -1 where there is no log.
    let pages = statement.query_row([], |row| row.get::<_, i64>(1)).map_err(from_sqlite)?;
    Ok(u32::try_from(pages).unwrap_or(0))
}
