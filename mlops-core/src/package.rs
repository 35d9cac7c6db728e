//! What a stored model consists of: a manifest and files, addressed by one digest.
//!
//! Invariant: the manifest lists the digest of every file, and the package digest covers the
//! manifest, so two packages with one digest are the same model.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    id::{Digest, FeatureRef, RunId},
    schema::Signature,
};

/// The manifest layout that this version writes.
pub const FORMAT_VERSION: u32 = 1;
/// The file in which a package keeps an example of its input: JSON in the shape the serving protocol takes.
pub const INPUT_EXAMPLE_FILE: &str = "input_example.json";
/// The file in which a package keeps the profile of the data it was trained on, as `mlops-monitor` writes it.
pub const REFERENCE_PROFILE_FILE: &str = "reference_profile.json";
/// The note that names the version a model was trained further from, such as `fraud/3`.
pub const PARENT_NOTE: &str = "parent";
/// Longest path of a file within a package, in bytes.
pub const FILE_PATH_BYTES_MAX: usize = 512;
/// Most files in one package.
pub const FILES_MAX: usize = 10_000;

/// Everything about a model but its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PackageManifest {
    /// Layout of this manifest; readers refuse a higher one than they know.
    pub format_version: u32,
    /// Which loader reads the files, such as `mlops.gbdt` or `onnx`.
    pub flavor: String,
    /// Inputs and outputs.
    pub signature: Signature,
    /// The run that produced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<RunId>,
    /// Versions of the data it was trained on: table or dataset name to version digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub data_versions: BTreeMap<String, String>,
    /// The features it was trained on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<FeatureRef>,
    /// Metrics at registration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Free notes: seed, hyper-parameters, toolchain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<String, String>,
    /// Digest of each file by its path within the package.
    pub files: BTreeMap<String, Digest>,
}

impl PackageManifest {
    /// Reads a manifest that came from outside, as [`ModelPackage::manifest_json`] writes it.
    ///
    /// # Errors
    /// `DataLoss` when it is not a manifest, `FailedPrecondition` when it is of a newer format, `InvalidArgument` as
    /// [`PackageManifest::check`].
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let manifest: Self = serde_json::from_slice(json).map_err(|error| {
            Error::data_loss(format!("the manifest of a package is damaged: {error}")).with_source(error)
        })?;
        manifest.check_format()?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks that the package can be kept anywhere: there are at most [`FILES_MAX`] files; each path is plain and
    /// relative (parts joined by `/`, none of them empty, `.` or `..`, without backslash, colon or control character,
    /// and not the name that the manifest has on disk), so that it can be written below any directory; and metrics
    /// are finite, because JSON knows no others.
    ///
    /// # Errors
    /// `InvalidArgument` naming the path or metric.
    pub fn check(&self) -> Result<()> {
        if let Some((metric, value)) = self.metrics.iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::invalid_argument(format!(
                "metric {metric:?} of a model package is {value}; leave it out"
            )));
        }
        if self.files.len() > FILES_MAX {
            return Err(Error::invalid_argument(format!(
                "model package has {} files; at most {FILES_MAX} are allowed",
                self.files.len()
            )));
        }
        self.files.keys().try_for_each(|path| check_path(path))
    }

    /// Digest of the input example, when the package has one.
    #[must_use]
    pub fn input_example(&self) -> Option<&Digest> {
        self.files.get(INPUT_EXAMPLE_FILE)
    }

    /// Digest of the reference profile, when the package has one.
    #[must_use]
    pub fn reference_profile(&self) -> Option<&Digest> {
        self.files.get(REFERENCE_PROFILE_FILE)
    }

    fn check_format(&self) -> Result<()> {
        let found = self.format_version;
        if found <= FORMAT_VERSION {
            return Ok(());
        }
        Err(Error::failed_precondition(format!(
            "model package has format {found}, this version reads up to {FORMAT_VERSION}; upgrade mlops"
        )))
    }
}

fn check_path(path: &str) -> Result<()> {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    let odd = |c: char| matches!(c, '\\' | ':') || c.is_control();
    let lies_in_manifest = path.split('/').next() == Some("manifest.json");
    if path.len() <= FILE_PATH_BYTES_MAX && path.split('/').all(plain) && !path.contains(odd) && !lies_in_manifest {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "file path {path:?} of a model package is not plain and relative; use at most {FILE_PATH_BYTES_MAX} bytes, \
         parts joined by '/', none of them empty, \".\" or \"..\", no backslash or colon, and not manifest.json"
    )))
}

/// A manifest together with the bytes of its files.
///
/// ```
/// use mlops_core::{DataType, ModelPackage, Signature, TensorSpec};
///
/// let signature = Signature::new([], [TensorSpec::column("score", DataType::Float64)])?;
/// let package = ModelPackage::new("constant", signature).with_file("model.json", "{\"value\":0.5}");
/// package.verify()?;
/// assert_eq!(package.file("model.json")?.len(), 13);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct ModelPackage {
    /// What the files are.
    pub manifest: PackageManifest,
    files: BTreeMap<String, Bytes>,
}

impl ModelPackage {
    /// A package without files yet.
    #[must_use]
    pub fn new(flavor: impl Into<String>, signature: Signature) -> Self {
        let manifest = PackageManifest {
            format_version: FORMAT_VERSION,
            flavor: flavor.into(),
            signature,
            run_id: None,
            data_versions: BTreeMap::new(),
            features: Vec::new(),
            metrics: BTreeMap::new(),
            notes: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        Self { manifest, files: BTreeMap::new() }
    }

    /// Puts a stored manifest and its files together again.
    ///
    /// # Errors
    /// `FailedPrecondition` when the manifest is of a newer format, `DataLoss` when a file is
    /// missing, superfluous or does not match its digest.
    pub fn from_parts(manifest: PackageManifest, files: BTreeMap<String, Bytes>) -> Result<Self> {
        let package = Self { manifest, files };
        package.verify()?;
        Ok(package)
    }

    /// Adds or replaces a file and records its digest.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let (path, bytes) = (path.into(), bytes.into());
        self.manifest.files.insert(path.clone(), Digest::of(&bytes));
        self.files.insert(path, bytes);
        self
    }

    /// Adds an example of the input, kept in [`INPUT_EXAMPLE_FILE`].
    #[must_use]
    pub fn with_input_example(self, json: impl Into<Bytes>) -> Self {
        self.with_file(INPUT_EXAMPLE_FILE, json)
    }

    /// Adds the profile of the data the model was trained on, kept in [`REFERENCE_PROFILE_FILE`].
    #[must_use]
    pub fn with_reference_profile(self, profile: impl Into<Bytes>) -> Self {
        self.with_file(REFERENCE_PROFILE_FILE, profile)
    }

    /// The example of the input, when there is one.
    #[must_use]
    pub fn input_example(&self) -> Option<&Bytes> {
        self.files.get(INPUT_EXAMPLE_FILE)
    }

    /// The profile of the data the model was trained on, when there is one.
    #[must_use]
    pub fn reference_profile(&self) -> Option<&Bytes> {
        self.files.get(REFERENCE_PROFILE_FILE)
    }

    /// The bytes of one file.
    ///
    /// # Errors
    /// `NotFound` naming the path.
    pub fn file(&self, path: &str) -> Result<&Bytes> {
        self.files.get(path).ok_or_else(|| {
            Error::not_found(format!("model package of flavor {:?} has no file {path:?}", self.manifest.flavor))
        })
    }

    /// All files in order of their paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.files.iter().map(|(path, bytes)| (path.as_str(), bytes))
    }

    /// The digest that names this package: that of the canonical JSON of its manifest.
    ///
    /// # Errors
    /// `Internal` when the manifest cannot be written as JSON.
    pub fn digest(&self) -> Result<Digest> {
        Ok(Digest::of(&self.manifest_json()?))
    }

    /// The manifest as canonical JSON (maps are ordered).
    ///
    /// # Errors
    /// `Internal` when the manifest cannot be written as JSON.
    pub fn manifest_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&self.manifest)
            .map_err(|error| Error::internal("package manifest cannot be written as JSON").with_source(error))
    }

    /// Checks every file against its digest.
    ///
    /// # Errors
    /// As [`ModelPackage::from_parts`].
    pub fn verify(&self) -> Result<()> {
        self.manifest.check_format()?;
        for (path, digest) in &self.manifest.files {
            let Some(bytes) = self.files.get(path) else {
                return Err(Error::data_loss(format!("model package lacks its file {path:?}")));
            };
            let actual = Digest::of(bytes);
            if actual != *digest {
                return Err(Error::data_loss(format!(
                    "file {path:?} of the model package has digest {}, expected {}",
                    actual.short(),
                    digest.short()
                )));
            }
        }
        if let Some(path) = self.files.keys().find(|path| !self.manifest.files.contains_key(*path)) {
            return Err(Error::data_loss(format!("model package has a file {path:?} that its manifest does not list")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{DataType, TensorSpec};

    fn package() -> ModelPackage {
        let signature = Signature::new([], [TensorSpec::column("score", DataType::Float64)]).unwrap();
        ModelPackage::new("constant", signature).with_file("model.json", "{}").with_file("notes/a.txt", "x")
    }

    #[test]
    fn digest_depends_on_every_byte() {
        let digest = package().digest().unwrap();
        assert_eq!(digest, package().digest().unwrap());
        assert_ne!(digest, package().with_file("model.json", "{ }").digest().unwrap());
    }

    #[test]
    fn damage_is_found_and_named() {
        let parts = |edit: fn(&mut PackageManifest, &mut BTreeMap<String, Bytes>)| {
            let ModelPackage { mut manifest, mut files } = package();
            edit(&mut manifest, &mut files);
            ModelPackage::from_parts(manifest, files).unwrap_err().message().to_owned()
        };
        assert!(parts(|_, f| drop(f.insert("model.json".into(), "[]".into()))).contains("model.json"));
        assert!(parts(|_, f| drop(f.remove("notes/a.txt"))).contains("lacks its file"));
        assert!(parts(|_, f| drop(f.insert("extra".into(), "".into()))).contains("does not list"));
        assert!(parts(|m, _| m.format_version = 2).contains("upgrade"));
    }

    #[test]
    fn examples_and_profiles_are_files_with_known_names() {
        let plain = package();
        assert!(plain.input_example().is_none() && plain.manifest.reference_profile().is_none());
        let full = plain.with_input_example("[1]").with_reference_profile("{}");
        assert_eq!(full.file("input_example.json").unwrap(), full.input_example().unwrap());
        assert_eq!(full.file("reference_profile.json").unwrap(), full.reference_profile().unwrap());
        assert_eq!(full.manifest.input_example(), Some(&Digest::of(b"[1]")));
        let read = PackageManifest::from_json(&full.manifest_json().unwrap()).unwrap();
        assert_eq!(read, full.manifest);
    }

    #[test]
    fn paths_that_leave_the_package_are_refused() {
        let check = |path: &str| package().with_file(path, "x").manifest.check();
        for good in ["a", "a/b.c", "..a", "a b/ü", "sub/manifest.json"] {
            check(good).unwrap();
        }
        let long = "x".repeat(513);
        let bad = [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "a/../b",
            "..",
            "a\\b",
            "c:d",
            "a\0",
            &long,
            "manifest.json",
            "manifest.json/x",
        ];
        for bad in bad {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(PackageManifest::from_json(b"{").is_err());
    }
}
