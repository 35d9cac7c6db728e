//! What the operating system reports, as the SDK's error.

use std::{io, path::Path};

use mlops_core::{Error, ErrorKind};

use crate::fault::is_full;

/// `attempt` (such as `cannot read`) failed for `path`.
pub(super) fn io_error(attempt: &str, path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        _ if is_full(&error) => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{attempt} {}", path.display())).with("path", path.display()).with_source(error)
}

/// The object store's error while it did `attempt`.
pub(super) fn store_error(attempt: &str, path: &object_store::path::Path, error: object_store::Error) -> Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } => ErrorKind::PermissionDenied,
        object_store::Error::Unauthenticated { .. } => ErrorKind::Unauthenticated,
        error if is_full(error) => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("{attempt} {path} of the remote")).with("path", path).with_source(error)
}
