//! What stands behind a failure to write.

use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};

/// Whether `error` comes from a disk or quota that is used up.
pub(crate) fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kinds.any(|kind| matches!(kind, StorageFull | QuotaExceeded | FileTooLarge))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_found_behind_other_errors() {
        let behind = |kind: std::io::ErrorKind| object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(std::io::Error::from(kind)),
        };
        assert!(is_full(&deltalake::DeltaTableError::ObjectStore { source: behind(StorageFull) }));
        assert!(!is_full(&deltalake::DeltaTableError::ObjectStore { source: behind(std::io::ErrorKind::TimedOut) }));
    }
}
