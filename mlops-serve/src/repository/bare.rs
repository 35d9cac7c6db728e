//! A model file without a manifest: `ROOT/<model>/<version>/model.onnx`, as other model servers lay it out, or
//! `ensemble.json`.
//!
//! The manifest is made of what the file says of itself. It is made once per content, and so is the finding that a file
//! cannot be served: a file of the same length and time of change counts as unchanged.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use mlops_core::{ModelPackage, PackageManifest, Result, ResultExt as _};

use super::{
    directory::{PACKAGE_BYTES_MAX, missing_file, read},
    refused::Refused,
};
#[cfg(feature = "onnx")]
use crate::OnnxRuntime;
use crate::{ENSEMBLE_FILE, EnsembleRuntime, ONNX_FILE};

/// Most files that are remembered; beyond, all are forgotten and looked at anew.
const REMEMBERED_MAX: usize = 10_000;

type Stamp = (u64, Option<SystemTime>);
type Found = std::result::Result<PackageManifest, Refused>;

/// What is known of bare files, by path.
#[derive(Debug, Clone, Default)]
pub(super) struct BareFiles {
    seen: Arc<Mutex<BTreeMap<PathBuf, (Stamp, Found)>>>,
    /// Reads the files, under its limits.
    #[cfg(feature = "onnx")]
    runtime: OnnxRuntime,
}

impl BareFiles {
    /// Files that this runtime reads.
    #[cfg(feature = "onnx")]
    pub(super) fn reading_with(runtime: OnnxRuntime) -> Self {
        Self { runtime, ..Self::default() }
    }

    /// The manifest of the package that the file in `directory` makes.
    pub(super) fn manifest(&self, directory: &Path) -> Result<PackageManifest> {
        let path = directory.join(file_in(directory));
        let metadata = fs::metadata(&path).map_err(|error| missing_file(&path, error))?;
        let stamp = (metadata.len(), metadata.modified().ok());
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
        if let Some((_, found)) = known.filter(|(known, _)| *known == stamp) {
            return found.map_err(Refused::into_error);
        }
        let bytes = read(&path, PACKAGE_BYTES_MAX)?;
        let found = if path.ends_with(ENSEMBLE_FILE) {
            EnsembleRuntime::package(bytes).context(format!("file {path:?}")).map(|package| package.manifest)
        } else {
            self.describe(&path, bytes)
        };
        let found = found.map_err(|error| Refused::of(&error));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.clear();
        }
        seen.insert(path, (stamp, found.clone()));
        found.map_err(Refused::into_error)
    }

    /// The package that the file in `directory` makes.
    ///
    /// # Errors
    /// `DataLoss` when the file is another than the one that was described.
    pub(super) fn package(&self, directory: &Path) -> Result<ModelPackage> {
        let manifest = self.manifest(directory)?;
        let file = file_in(directory);
        let bytes = Bytes::from(read(&directory.join(file), PACKAGE_BYTES_MAX)?);
        ModelPackage::from_parts(manifest, [(file.to_owned(), bytes)].into())
    }

    #[cfg(feature = "onnx")]
    fn describe(&self, path: &Path, bytes: Vec<u8>) -> Result<PackageManifest> {
        Ok(self.runtime.package(bytes).context(format!("file {path:?}"))?.manifest)
    }

    /// Without the runtime, such a file has no signature.
    #[cfg(not(feature = "onnx"))]
    fn describe(&self, path: &Path, _: Vec<u8>) -> Result<PackageManifest> {
        Err(mlops_core::Error::failed_precondition(format!(
            "file {path:?} has no manifest.json beside it; build with feature \"onnx\""
        )))
    }
}

/// The bare file of a version's directory, if it has one.
pub(super) fn bare_file(directory: &Path) -> Option<&'static str> {
    [ONNX_FILE, ENSEMBLE_FILE].into_iter().find(|file| directory.join(file).is_file())
}

fn file_in(directory: &Path) -> &'static str {
    bare_file(directory).unwrap_or(ONNX_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_model_is_looked_at_once_until_it_changes() {
        let root = tempfile::tempdir().unwrap();
        let files = BareFiles::default();
        let looks = || files.seen.lock().unwrap().values().map(|(stamp, _)| stamp.0).collect::<Vec<_>>();
        fs::write(root.path().join(ONNX_FILE), "no model").unwrap();
        let first = files.manifest(root.path()).unwrap_err();
        assert_eq!(looks(), [8]);
        // What is remembered is told, whatever a second look would find.
        for (_, found) in files.seen.lock().unwrap().values_mut() {
            *found = Err(Refused::of(&mlops_core::Error::data_loss("remembered")));
        }
        let second = files.manifest(root.path()).unwrap_err();
        assert_eq!((second.kind(), second.message()), (mlops_core::ErrorKind::DataLoss, "remembered"));
        fs::write(root.path().join(ONNX_FILE), "no model either").unwrap();
        assert_eq!(files.manifest(root.path()).unwrap_err().kind(), first.kind());
        assert_eq!(looks(), [15]);
    }
}
