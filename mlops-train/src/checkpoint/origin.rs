//! The latest checkpoint of another fit, from which a fit begins.

use std::path::{Path, PathBuf};

use mlops_core::{Digest, Error, Result};

use super::{
    folder,
    manifest::{self, MANIFEST_FILE, Manifest},
    session::to_json,
};

/// A checkpoint that is read and never written.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
}

impl Origin {
    /// The latest one in a directory.
    ///
    /// # Errors
    /// `FailedPrecondition` when there is none, `DataLoss` naming a manifest that is damaged.
    pub(super) fn find(directory: &Path) -> Result<Self> {
        let Some(path) = folder::steps(directory)?.pop() else {
            return Err(Error::failed_precondition(format!(
                "directory {} has no checkpoint to begin with",
                directory.display()
            ))
            .with("path", directory.display()));
        };
        Ok(Self { manifest: manifest::read(&path)?, path })
    }

    /// What tells it from any other checkpoint: its manifest has the digests of all files.
    pub(super) fn digest(&self) -> Result<Digest> {
        Ok(Digest::of(&to_json(MANIFEST_FILE, &self.manifest)?))
    }
}
