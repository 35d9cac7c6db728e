//! `manifest.json`: what a checkpoint consists of and what it is of.
//!
//! Invariant: it is the last file to be written and names all others with length and SHA-256, so
//! that a missing, cut or changed file is noticed before anything of it is used.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use mlops_core::{Digest, Error, Result};
use serde::{Deserialize, Serialize};

use super::{folder::of_disk, identity::Identity};

/// The layout that this version writes and reads.
pub(super) const FORMAT_VERSION: u32 = 1;

pub(super) const MANIFEST_FILE: &str = "manifest.json";

/// Bytes that a manifest may have.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// Bytes that one other file may have.
const FILE_BYTES_MAX: u64 = 64 << 30;

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEntry {
    bytes: u64,
    sha256: Digest,
}

impl FileEntry {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, sha256: Digest::of(bytes) }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    pub(super) format_version: u32,
    pub(super) step: u64,
    pub(super) valid_loss: Option<f64>,
    pub(super) identity: Identity,
    pub(super) files: BTreeMap<String, FileEntry>,
}

/// A whole checkpoint, as listed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Its directory.
    pub path: PathBuf,
    /// Steps done: updates of a network's weights, or rounds of boosting.
    pub step: u64,
    /// Mean loss of its weights over held-out rows, where it was written right after they were
    /// judged.
    pub valid_loss: Option<f64>,
}

impl Manifest {
    pub(super) fn info(&self, path: PathBuf) -> CheckpointInfo {
        CheckpointInfo { path, step: self.step, valid_loss: self.valid_loss }
    }

    /// Reads all files and checks each.
    ///
    /// # Errors
    /// `DataLoss` naming the file that is missing, of another length or of other content.
    pub(super) fn read_files(&self, directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
        let read = |(name, entry): (&String, &FileEntry)| {
            let plain = !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.');
            let path = directory.join(name);
            if !plain || entry.bytes > FILE_BYTES_MAX {
                return Err(damaged(&directory.join(MANIFEST_FILE), "it names a file that cannot be"));
            }
            let length = fs::metadata(&path).map_err(|error| of_disk(&path, error))?.len();
            if length != entry.bytes {
                return Err(damaged(&path, &format!("{} bytes were written, {length} are found", entry.bytes)));
            }
            let bytes = fs::read(&path).map_err(|error| of_disk(&path, error))?;
            if Digest::of(&bytes) != entry.sha256 {
                return Err(damaged(&path, "its content has changed since it was written"));
            }
            Ok((name.clone(), bytes))
        };
        self.files.iter().map(read).collect()
    }
}

pub(super) fn damaged(path: &Path, how: &str) -> Error {
    Error::data_loss(format!("checkpoint file {} is damaged: {how}", path.display())).with("path", path.display())
}

/// Reads the manifest of a checkpoint.
///
/// # Errors
/// `DataLoss` naming the file when it is missing or damaged, `FailedPrecondition` when it is of a
/// newer format.
pub(super) fn read(directory: &Path) -> Result<Manifest> {
    let path = directory.join(MANIFEST_FILE);
    let length = fs::metadata(&path).map_err(|error| of_disk(&path, error))?.len();
    if length > MANIFEST_BYTES_MAX {
        return Err(damaged(&path, "it is too long"));
    }
    let bytes = fs::read(&path).map_err(|error| of_disk(&path, error))?;
    let json: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| damaged(&path, "it is no JSON").with_source(error))?;
    let version = json.get("format_version").and_then(serde_json::Value::as_u64);
    if version.is_some_and(|version| version > u64::from(FORMAT_VERSION)) {
        return Err(Error::failed_precondition(format!(
            "checkpoint file {} has format {}, this version reads {FORMAT_VERSION}; upgrade mlops",
            path.display(),
            version.unwrap_or_default()
        )));
    }
    serde_json::from_value(json).map_err(|error| damaged(&path, "fields are missing or wrong").with_source(error))
}
