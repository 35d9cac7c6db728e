//! What disks and files do wrong, in the words of the SDK. Every error names the path, in its text and as context.

use std::{
    io::{self, ErrorKind as Io},
    path::Path,
};

use arrow_schema::ArrowError;
use mlops_core::{Error, ErrorKind};
use parquet::errors::ParquetError;

/// Key of the context that names the file.
pub(super) const PATH: &str = "path";
/// Key of the context that names the row within the file, from 0 on.
pub(super) const ROW: &str = "row";

/// An error about `path`.
pub(super) fn about(kind: ErrorKind, path: &Path, text: impl std::fmt::Display) -> Error {
    Error::new(kind, format!("file {path:?} {text}")).with(PATH, path.display())
}

/// The operating system refused `path`.
pub(super) fn of_disk(path: &Path, error: io::Error) -> Error {
    about(kind_of(&error), path, format!("cannot be used: {error}")).with_source(error)
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        Io::NotFound => ErrorKind::NotFound,
        Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    }
}

/// `path` could not be read as Parquet.
pub(super) fn of_reading(path: &Path, error: ParquetError) -> Error {
    match disk(&error) {
        Some(cause) => about(kind_of(cause), path, format!("cannot be read: {error}")).with_source(error),
        None => about(ErrorKind::DataLoss, path, format!("is damaged or no Parquet file: {error}")).with_source(error),
    }
}

/// The rows of `path` could not be read.
pub(super) fn of_rows(path: &Path, error: ArrowError) -> Error {
    let cause = match &error {
        ArrowError::IoError(_, cause) => Some(cause),
        ArrowError::ExternalError(cause) => cause.downcast_ref::<io::Error>(),
        _ => None,
    };
    let kind = cause.filter(|cause| !ends_early(cause)).map_or(ErrorKind::DataLoss, kind_of);
    about(kind, path, format!("cannot be read or is damaged: {error}")).with_source(error)
}

/// `path` could not be written as Parquet.
pub(super) fn of_writing(path: &Path, error: ParquetError) -> Error {
    let kind = match (&error, disk(&error)) {
        (_, Some(cause)) => kind_of(cause),
        (ParquetError::NYI(_), None) => ErrorKind::Unimplemented,
        _ => ErrorKind::Internal,
    };
    about(kind, path, format!("cannot be written: {error}")).with_source(error)
}

/// The refusal of the operating system behind an error, where there is one; a file that ends early is a damaged file.
fn disk(error: &ParquetError) -> Option<&io::Error> {
    let ParquetError::External(cause) = error else { return None };
    cause.downcast_ref::<io::Error>().filter(|cause| !ends_early(cause))
}

fn ends_early(cause: &io::Error) -> bool {
    matches!(cause.kind(), Io::UnexpectedEof | Io::InvalidData)
}
