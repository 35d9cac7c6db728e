//! What SQLite reports, in the words of the SDK.
//!
//! Invariant: messages name tables and columns, never a value.

use mlops_core::{Error, ErrorKind};
use rusqlite::{Error as SqliteError, ErrorCode, ffi};

pub(super) fn from_sqlite(error: SqliteError) -> Error {
    let (kind, message) = match &error {
        SqliteError::SqliteFailure(failure, text) => {
            describe(*failure, text.as_deref().unwrap_or("SQLite gives no reason"))
        }
        SqliteError::SqlInputError { msg, .. } => (ErrorKind::Internal, format!("metadata statement failed: {msg}")),
        _ => (ErrorKind::Internal, format!("metadata database: {error}")),
    };
    Error::new(kind, message).with_source(error)
}

/// Whether another connection holds a lock, so that trying again helps.
pub(super) fn is_busy(error: &SqliteError) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn describe(failure: ffi::Error, text: &str) -> (ErrorKind, String) {
    match failure.code {
        ErrorCode::ConstraintViolation => match failure.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
                (ErrorKind::AlreadyExists, format!("a row with this key exists: {text}"))
            }
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY | ffi::SQLITE_CONSTRAINT_CHECK => {
                (ErrorKind::FailedPrecondition, format!("metadata constraint: {text}"))
            }
            _ => (ErrorKind::Internal, format!("metadata statement failed: {text}")),
        },
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            (ErrorKind::Unavailable, "metadata database is locked by another process".to_owned())
        }
        ErrorCode::DiskFull => (ErrorKind::ResourceExhausted, "metadata database: disk is full".to_owned()),
        ErrorCode::OutOfMemory => (ErrorKind::ResourceExhausted, "metadata database: memory is short".to_owned()),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
            (ErrorKind::DataLoss, format!("metadata database is damaged: {text}"))
        }
        ErrorCode::CannotOpen | ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed => {
            (ErrorKind::Unavailable, format!("metadata database cannot be reached: {text}"))
        }
        _ => (ErrorKind::Internal, format!("metadata statement failed: {text}")),
    }
}
