//! What a record names and another store keeps.

use mlops_core::{ErrorKind, Result};

/// What a link leads to; none when it is gone or not for whoever follows it, which is no reason to refuse the record.
pub(crate) fn linked<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(None),
        Err(error) => Err(error),
    }
}
