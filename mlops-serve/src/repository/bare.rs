//! A model file without a manifest: `ROOT/<model>/<version>/model.onnx`, as other model servers lay it out.
//!
//! The manifest is made of what the file says of itself. The digest is computed once per content: a file of the same
//! length and time of change counts as unchanged.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

#[cfg(not(feature = "onnx"))]
use mlops_core::Error;
use mlops_core::{Digest, ModelPackage, Result};

/// The file that is looked for.
pub(super) const BARE_FILE: &str = "model.onnx";
/// Most digests that are remembered; beyond, all are forgotten and computed anew.
const REMEMBERED_MAX: usize = 10_000;

type Stamp = (u64, Option<SystemTime>);

/// Digests of bare files by path.
#[derive(Debug, Clone, Default)]
pub(super) struct BareFiles {
    seen: Arc<Mutex<BTreeMap<PathBuf, (Stamp, Digest)>>>,
}

impl BareFiles {
    /// The digest of the package that the file in `directory` makes.
    pub(super) fn digest(&self, directory: &Path) -> Result<Digest> {
        let path = directory.join(BARE_FILE);
        let metadata = fs::metadata(&path).map_err(|error| super::directory::missing_file(&path, error))?;
        let stamp = (metadata.len(), metadata.modified().ok());
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&path).copied();
        if let Some((_, digest)) = known.filter(|(known, _)| *known == stamp) {
            return Ok(digest);
        }
        let digest = package(directory)?.digest()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.clear();
        }
        seen.insert(path, (stamp, digest));
        Ok(digest)
    }
}

/// The package that the file in `directory` makes.
#[cfg(feature = "onnx")]
pub(super) fn package(directory: &Path) -> Result<ModelPackage> {
    use mlops_core::ResultExt;

    let path = directory.join(BARE_FILE);
    let bytes = super::directory::read(&path, super::directory::PACKAGE_BYTES_MAX)?;
    crate::OnnxRuntime::default().package(bytes).context(format!("file {path:?}"))
}

/// Without the runtime, such a file has no signature.
#[cfg(not(feature = "onnx"))]
pub(super) fn package(directory: &Path) -> Result<ModelPackage> {
    Err(Error::failed_precondition(format!(
        "directory {directory:?} holds {BARE_FILE} without a manifest.json; build with feature \"onnx\""
    )))
}
