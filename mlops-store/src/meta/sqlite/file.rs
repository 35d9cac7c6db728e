//! One database file: how connections to it are opened, and its write-ahead log.
//!
//! Invariant: every writing connection is in write-ahead mode and leaves the sync of a commit to the group; SQLite
//! still syncs around checkpoints (`synchronous = NORMAL`).

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use mlops_core::{Error, Result};
use rusqlite::{Connection, Error as SqliteError, OpenFlags, config::DbConfig};

use super::{
    SqliteSettings,
    error::{from_sqlite, is_busy},
    statement::STATEMENTS_MAX,
};

/// Where the file is and how it is used.
#[derive(Debug, Clone)]
pub(super) struct File {
    path: PathBuf,
    settings: SqliteSettings,
}

impl File {
    pub(super) fn new(path: &Path, settings: SqliteSettings) -> Self {
        Self { path: path.to_owned(), settings }
    }

    /// A connection that writes. It never waits for a lock: whoever uses it tries again.
    pub(super) fn writer(&self) -> Result<Connection> {
        let (read_write, create) = (OpenFlags::SQLITE_OPEN_READ_WRITE, OpenFlags::SQLITE_OPEN_CREATE);
        let connection = self.open(read_write | create)?;
        let mode = self.write_ahead(&connection).map_err(|error| self.named(error))?;
        if mode != "wal" {
            return Err(Error::failed_precondition(format!(
                "metadata database {} is in journal mode {mode:?} and cannot change to write-ahead; keep it on a local disk",
                self.path.display()
            ))
            .with("path", self.path.display()));
        }
        connection.busy_timeout(Duration::ZERO).map_err(from_sqlite)?;
        Ok(connection)
    }

    /// A connection that cannot write.
    pub(super) fn reader(&self) -> Result<Connection> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // There are several of them, and the system keeps the pages of the file once for all.
        connection.execute_batch("PRAGMA cache_size = -1024").map_err(from_sqlite)?;
        Ok(connection)
    }

    /// The write-ahead log of an open connection, its place in the directory made durable.
    ///
    /// SQLite takes no lock on this file, so a second handle disturbs none, and it is neither removed nor replaced
    /// while a connection is open.
    pub(super) fn log(&self, writer: &Connection) -> Result<fs::File> {
        let opened = || -> io::Result<fs::File> {
            // As SQLite resolved it: the log lies beside the file that a link points to.
            let resolved = writer.path().map_or_else(|| self.path.clone(), PathBuf::from);
            let mut log = OsString::from(&resolved);
            log.push("-wal");
            let log = fs::File::options().read(true).write(true).open(log)?;
            sync_directory(&resolved)?;
            Ok(log)
        };
        opened().map_err(|error| {
            Error::unavailable(format!("log of metadata database {} cannot be opened: {error}", self.path.display()))
                .with("path", self.path.display())
                .with_source(error)
        })
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection> {
        let open = || {
            let connection = Connection::open_with_flags(&self.path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
            prepare(&connection)?;
            let most = u64::try_from(i32::MAX).unwrap_or_default();
            connection.busy_timeout(Duration::from_millis(self.settings.busy_timeout_ms.min(most)))?;
            Ok(connection)
        };
        open().map_err(|error| self.named(error))
    }

    /// Gives the mode it is in. Reading once makes the log exist.
    fn write_ahead(&self, connection: &Connection) -> Result<String, SqliteError> {
        connection.execute_batch("PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0")?;
        let mode = self.patiently(|| connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)))?;
        self.patiently(|| connection.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(())))?;
        Ok(mode)
    }

    /// SQLite does not wait where two connections change the mode at once, although one of them soon has.
    fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T, SqliteError>) -> Result<T, SqliteError> {
        let mut left = self.settings.busy_timeout_ms;
        loop {
            match attempt() {
                Err(error) if is_busy(&error) && 0 < left => {
                    left -= 1;
                    std::thread::sleep(Duration::from_millis(1));
                }
                outcome => return outcome,
            }
        }
    }

    fn named(&self, error: SqliteError) -> Error {
        Error::unavailable(format!("metadata database {} cannot be opened: {error}", self.path.display()))
            .with("path", self.path.display())
            .with_source(error)
    }
}

/// What every connection has.
pub(super) fn prepare(connection: &Connection) -> Result<(), SqliteError> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Else a statement whose plan looked at a value is prepared again each time that it is bound to another one, which
    // takes longer than to run it. No plan of ours depends on a value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch("PRAGMA foreign_keys = ON")
}

#[cfg(unix)]
fn sync_directory(file: &Path) -> io::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(directory)?.sync_all()
}

/// Where directories cannot be opened, the file system keeps names by itself.
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}
