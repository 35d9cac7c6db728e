//! Moves the write-ahead log into the database file beside the writers, so that no commit pays
//! for the bulk of the move.
//!
//! Beside writers that never pause the log would never start over, so once all but its newest pages have been moved, a
//! writer moves those and starts it over. That keeps it short, and the disk overwrites in place, which syncs several
//! times faster than a file that grows.
//!
//! Invariant: SQLite itself syncs the log before it copies and the file before it lets the log start over, so a
//! checkpoint at any moment, by any process, takes nothing from what a commit was promised. A checkpoint that fails
//! costs nothing but space: the log keeps all, and the next one tries again.

use std::{
    fs,
    io::{self, Seek as _, SeekFrom, Write as _},
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use mlops_core::{Error, Result};
use rusqlite::Connection;

use super::{error::from_sqlite, file::File, pool::roll_back};

/// Lengths of the log, in pages of 4 KiB, at which something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Growth after which a checkpoint runs beside the writers.
    pub(super) pages: u32,
    /// Length at which writers wait for that checkpoint if it has not ended.
    pub(super) pages_max: u32,
}

/// 4 MiB and 48 MiB.
pub(super) const LIMITS: Limits = Limits { pages: 1024, pages_max: 12_288 };

/// Bytes that a page takes in the log, with its header (SQLite file format, section 4.1).
const FRAME: u64 = 4096 + 24;

/// How long a writer waits for readers of the log before it leaves the start for another time.
const READERS_TIMEOUT: Duration = Duration::from_millis(20);

/// When and how the log of one file is moved.
#[derive(Debug)]
pub(super) struct Checkpoint {
    file: File,
    /// The log itself, where commits wait for the disk.
    log: Option<Arc<fs::File>>,
    limits: Limits,
    connection: Mutex<Option<Connection>>,
    /// Length of the log at the last attempt.
    tried_at: AtomicU32,
    /// Whether all but the newest pages have been moved, so that the log can start over at little cost.
    moved: AtomicBool,
    reserved: AtomicBool,
}

impl Checkpoint {
    pub(super) fn new(file: File, log: Option<Arc<fs::File>>, limits: Limits) -> Self {
        Self {
            file,
            log,
            limits,
            connection: Mutex::default(),
            tried_at: AtomicU32::new(0),
            moved: AtomicBool::default(),
            reserved: AtomicBool::default(),
        }
    }

    /// Looks at the length of the log after a commit; `writer` has not yet been passed on.
    pub(super) fn after_commit(self: &Arc<Self>, writer: &Connection) -> Result<()> {
        let pages = run(writer, "PRAGMA wal_checkpoint(NOOP)")?;
        if self.limits.pages / 4 <= pages && !self.reserved.swap(true, Ordering::AcqRel) {
            self.reserve(writer)?;
        }
        let tried_at = Some(self.tried_at.load(Ordering::Relaxed)).filter(|tried_at| *tried_at <= pages);
        // Shorter than before: it has started over.
        let tried_at = tried_at.unwrap_or(0);
        let due = tried_at.saturating_add(self.limits.pages) <= pages;
        self.tried_at.store(if due { pages } else { tried_at }, Ordering::Relaxed);
        if self.moved.swap(false, Ordering::AcqRel) || (due && self.limits.pages_max <= pages) {
            return self.start_over(writer);
        }
        if due {
            let this = Arc::clone(self);
            // Not awaited: see the invariant. The runtime waits for it when it ends.
            drop(tokio::task::spawn_blocking(move || this.beside_writers()));
        }
        Ok(())
    }

    /// Gives the log its usual length at once, in zeros. A sync of a file that has grown waits for the journal of the
    /// file system and all that others have put in it; a sync of bytes written over does not.
    ///
    /// SQLite takes zeros for the end of the log, as their checksum is wrong. Nobody else appends meanwhile: it needs
    /// the lock that is held here.
    fn reserve(&self, writer: &Connection) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        writer.execute_batch("BEGIN IMMEDIATE").map_err(from_sqlite)?;
        let filled = fill(log, u64::from(self.limits.pages + self.limits.pages / 4) * FRAME);
        roll_back(writer).map_err(from_sqlite)?;
        filled.map_err(|error| Error::unavailable(format!("the log cannot grow: {error}")).with_source(error))
    }

    /// Waits for the checkpoint beside it and for readers of the log; who reads from then on finds all in the file.
    fn start_over(&self, writer: &Connection) -> Result<()> {
        let _alone = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        writer.busy_timeout(READERS_TIMEOUT).map_err(from_sqlite)?;
        let outcome = run(writer, "PRAGMA wal_checkpoint(RESTART)");
        writer.busy_timeout(Duration::ZERO).map_err(from_sqlite)?;
        outcome.map(drop)
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
        run(connection.insert(open), "PRAGMA wal_checkpoint(PASSIVE)")?;
        self.moved.store(true, Ordering::Release);
        Ok(())
    }

    pub(super) fn close(&self) {
        drop(self.connection.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn fill(mut log: &fs::File, length: u64) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 1 << 16];
    while log.seek(SeekFrom::End(0))? < length {
        log.write_all(ZEROS)?;
    }
    log.sync_data()
}

/// Gives the pages in the log.
fn run(connection: &Connection, pragma: &str) -> Result<u32> {
    let mut statement = connection.prepare_cached(pragma).map_err(from_sqlite)?;
    // -1 where there is no log.
    let pages = statement.query_row([], |row| row.get::<_, i64>(1)).map_err(from_sqlite)?;
    Ok(u32::try_from(pages).unwrap_or(0))
}
