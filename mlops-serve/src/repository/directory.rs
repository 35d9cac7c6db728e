//! A directory as a source of models: `ROOT/<model>/<version>/manifest.json` and the files it lists.
//!
//! A version's directory without a manifest may hold a bare [`ONNX_FILE`](crate::ONNX_FILE) or
//! [`ENSEMBLE_FILE`](crate::ENSEMBLE_FILE). `ROOT/<model>/aliases.json` may map aliases to
//! versions. Files outside the version's directory are never read, whatever a manifest says.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
};

use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{
    Alias, Digest, Error, ModelName, ModelPackage, ModelRef, ModelSource, ModelVersionId, PackageManifest, Result,
    Selector, Version,
};

use super::bare::{BareFiles, bare_file};

/// Largest package that is read, bytes.
pub(super) const PACKAGE_BYTES_MAX: u64 = 4 << 30;
/// Largest manifest or alias file that is read, bytes.
pub(super) const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// Model packages in a directory.
#[derive(Debug, Clone)]
pub struct DirectorySource {
    root: PathBuf,
    bare: BareFiles,
}

impl DirectorySource {
    /// Reads below `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), bare: BareFiles::default() }
    }

    /// Reads bare ONNX files under the limits of this runtime; under default ones otherwise.
    #[cfg(feature = "onnx")]
    #[must_use]
    pub fn with_onnx(mut self, runtime: crate::OnnxRuntime) -> Self {
        self.bare = BareFiles::reading_with(runtime);
        self
    }

    /// The models that have a directory, in order.
    ///
    /// # Errors
    /// `Unavailable` when the directory cannot be read.
    pub fn models(&self) -> Result<Vec<ModelName>> {
        let mut names: Vec<ModelName> = entries(&self.root)?.iter().filter_map(|name| name.parse().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Writes a package where this source finds it.
    ///
    /// # Errors
    /// `AlreadyExists` when the version is there, `InvalidArgument` for an unsafe path, `Unavailable` when the disk
    /// refuses.
    pub fn write(&self, name: &ModelName, version: Version, package: &ModelPackage) -> Result<()> {
        let model = self.model_dir(name)?;
        let (target, partial) = (model.join(version.to_string()), model.join(format!(".{version}.partial")));
        if target.exists() {
            return Err(Error::already_exists(format!(
                "model \"{name}\" version {version} is in the directory already"
            )));
        }
        for (path, bytes) in package.files() {
            write_file(&partial.join(inside(path)?), bytes)?;
        }
        write_file(&partial.join("manifest.json"), &package.manifest_json()?)?;
        fs::rename(&partial, &target).map_err(|error| unavailable(&target, error))
    }

    fn model_dir(&self, name: &ModelName) -> Result<PathBuf> {
        Ok(self.root.join(inside(name.as_str())?))
    }

    fn resolve_blocking(&self, reference: &ModelRef) -> Result<ModelVersionId> {
        let name = reference.name.clone();
        let model = self.model_dir(&name)?;
        if !model.is_dir() {
            return Err(Error::not_found(format!("model \"{name}\" has no directory in the repository")));
        }
        let version = match &reference.selector {
            Selector::Version(version) => *version,
            Selector::Latest => newest(&name, &model)?,
            Selector::Alias(alias) => aliased(&name, &model, alias)?,
        };
        let directory = model.join(version.to_string());
        match Content::of(&directory) {
            Some(Content::Package) => {}
            Some(Content::Bare) => {
                let digest = digest_of(&self.bare.manifest(&directory)?)?;
                return Ok(ModelVersionId { name, version, digest });
            }
            None => {
                return Err(Error::not_found(format!("model \"{name}\" has no version {version} in the repository")));
            }
        }
        let path = directory.join("manifest.json");
        let manifest: PackageManifest = parse(&path, &read(&path, MANIFEST_BYTES_MAX)?)?;
        Ok(ModelVersionId { name, version, digest: digest_of(&manifest)? })
    }

    fn fetch_blocking(&self, id: &ModelVersionId) -> Result<ModelPackage> {
        let directory = self.model_dir(&id.name)?.join(id.version.to_string());
        if Content::of(&directory) == Some(Content::Bare) {
            return unchanged(id, self.bare.package(&directory)?);
        }
        let path = directory.join("manifest.json");
        let manifest: PackageManifest = parse(&path, &read(&path, MANIFEST_BYTES_MAX)?)?;
        let mut files = BTreeMap::new();
        let mut room = PACKAGE_BYTES_MAX;
        for name in manifest.files.keys() {
            let bytes = read(&directory.join(inside(name)?), room)?;
            room = room.saturating_sub(bytes.len() as u64);
            files.insert(name.clone(), Bytes::from(bytes));
        }
        unchanged(id, ModelPackage::from_parts(manifest, files)?)
    }
}

/// The digest of the package with this manifest.
fn digest_of(manifest: &PackageManifest) -> Result<Digest> {
    let json = serde_json::to_vec(manifest)
        .map_err(|error| Error::internal("package manifest cannot be written as JSON").with_source(error))?;
    Ok(Digest::of(&json))
}

/// The package, when it is the one that was asked for.
fn unchanged(id: &ModelVersionId, package: ModelPackage) -> Result<ModelPackage> {
    if package.digest()? == id.digest {
        return Ok(package);
    }
    Err(Error::data_loss(format!("model \"{}\" version {} changed while it was read", id.name, id.version)))
}

/// What a version's directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Package,
    Bare,
}

impl Content {
    fn of(directory: &Path) -> Option<Self> {
        if directory.join("manifest.json").is_file() {
            return Some(Self::Package);
        }
        bare_file(directory).map(|_| Self::Bare)
    }
}

#[async_trait]
impl ModelSource for DirectorySource {
    async fn resolve(&self, reference: &ModelRef) -> Result<ModelVersionId> {
        let (this, reference) = (self.clone(), reference.clone());
        blocking(move || this.resolve_blocking(&reference)).await
    }

    async fn fetch(&self, id: &ModelVersionId) -> Result<ModelPackage> {
        let (this, id) = (self.clone(), id.clone());
        blocking(move || this.fetch_blocking(&id)).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(Error::internal("reading the model directory panicked").with_source(error)))
}

/// A relative path that stays where it is put.
fn inside(path: &str) -> Result<&Path> {
    let path = Path::new(path);
    let safe = path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().next().is_some();
    if safe { Ok(path) } else { Err(Error::invalid_argument(format!("path {path:?} leads out of its directory"))) }
}

fn newest(name: &ModelName, model: &Path) -> Result<Version> {
    let versions = entries(model)?.into_iter().filter_map(|entry| entry.parse::<Version>().ok());
    let complete = versions.filter(|version| Content::of(&model.join(version.to_string())).is_some());
    complete.max().ok_or_else(|| Error::not_found(format!("model \"{name}\" has no version in the repository")))
}

fn aliased(name: &ModelName, model: &Path, alias: &Alias) -> Result<Version> {
    let path = model.join("aliases.json");
    let missing = || Error::not_found(format!("model \"{name}\" has no alias \"{alias}\" in the repository"));
    if !path.is_file() {
        return Err(missing());
    }
    let aliases: BTreeMap<Alias, Version> = parse(&path, &read(&path, MANIFEST_BYTES_MAX)?)?;
    aliases.get(alias).copied().ok_or_else(missing)
}

fn entries(directory: &Path) -> Result<Vec<String>> {
    let listing = fs::read_dir(directory).map_err(|error| unavailable(directory, error))?;
    let names = listing.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter(|name| !name.starts_with('.')).collect())
}

pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let size = fs::metadata(path).map_err(|error| missing_file(path, error))?.len();
    if size > bytes_max {
        return Err(Error::resource_exhausted(format!("file {path:?} has {size} bytes; at most {bytes_max} are read")));
    }
    fs::read(path).map_err(|error| missing_file(path, error))
}

pub(super) fn missing_file(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::data_loss(format!("file {path:?} is missing")).with_source(error),
        _ => unavailable(path, error),
    }
}

fn unavailable(path: &Path, error: std::io::Error) -> Error {
    Error::unavailable(format!("path {path:?} cannot be used")).with_source(error)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| unavailable(parent, error))?;
    }
    fs::write(path, bytes).map_err(|error| unavailable(path, error))
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::data_loss(format!("file {path:?} is damaged")).with_source(error))
}

#[cfg(test)]
mod tests {
    use mlops_core::{DataType, ErrorKind, Signature, TensorSpec};

    use super::*;

    #[tokio::test]
    async fn newest_named_and_aliased_versions_are_found_and_damage_is_not_served() {
        let root = tempfile::tempdir().unwrap();
        let source = DirectorySource::new(root.path());
        let name: ModelName = "fraud".parse().unwrap();
        let signature = Signature::new([], [TensorSpec::column("score", DataType::Float64)]).unwrap();
        for version in [1, 2, 10] {
            let package = ModelPackage::new("f", signature.clone()).with_file("a/b.bin", vec![version as u8]);
            source.write(&name, Version(version), &package).unwrap();
        }
        fs::write(root.path().join("fraud/aliases.json"), r#"{"champion":2}"#).unwrap();
        let resolve = async |text: &str| source.resolve(&text.parse().unwrap()).await.map(|id| id.version.0);
        assert_eq!(resolve("fraud").await.unwrap(), 10);
        assert_eq!(resolve("fraud@champion").await.unwrap(), 2);
        assert_eq!(resolve("fraud/3").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(resolve("..").await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let id = source.resolve(&"fraud/2".parse().unwrap()).await.unwrap();
        assert_eq!(source.fetch(&id).await.unwrap().file("a/b.bin").unwrap().as_ref(), [2]);
        fs::write(root.path().join("fraud/2/a/b.bin"), "x").unwrap();
        assert_eq!(source.fetch(&id).await.unwrap_err().kind(), ErrorKind::DataLoss);
    }
}
