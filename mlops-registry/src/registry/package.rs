//! Packages as manifests and blobs: to move them between registries without holding them.
//!
//! Invariant: a version is registered only when every blob of its package is stored and has its digest. Not for small
//! models: [`mlops_core::ModelSource::fetch`] gives them whole.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mlops_core::{Digest, Error, ModelName, ModelPackage, PackageManifest, Result, ResultExt as _};
use mlops_store::{BlobStore, ByteStream, blob::verified};
use tokio::io::AsyncWriteExt as _;

use super::{
    record::{CreateVersion, ModelVersion},
    store::ModelRegistry,
};

/// Largest manifest of a package, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 16 << 20;
/// The manifest's name beside the files of a package in a directory.
pub const MANIFEST_FILE: &str = "manifest.json";

/// Where the bytes of blobs can be read.
#[async_trait]
pub trait BlobSource: fmt::Debug + Send + Sync {
    /// The bytes of a blob in pieces. The source need not verify them: who stores them does.
    ///
    /// # Errors
    /// `NotFound`, `DataLoss` (also as the last item) when the bytes have another digest, `Unavailable`.
    async fn open(&self, digest: &Digest) -> Result<ByteStream>;

    /// The size of a blob in bytes.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    async fn size(&self, digest: &Digest) -> Result<u64>;
}

#[async_trait]
impl BlobSource for BlobStore {
    async fn size(&self, digest: &Digest) -> Result<u64> {
        self.size(digest).await
    }

    async fn open(&self, digest: &Digest) -> Result<ByteStream> {
        self.get_stream(digest).await
    }
}

/// A registry that keeps packages itself and can take over those of another.
#[async_trait]
pub trait Packages: ModelRegistry + BlobSource {
    /// The manifest of a package, verified against the digest.
    ///
    /// # Errors
    /// `NotFound`, `DataLoss`, `Unavailable`.
    async fn manifest(&self, package: &Digest) -> Result<PackageManifest> {
        read_manifest(self.as_blobs(), package).await.map(|(manifest, _)| manifest)
    }

    /// Copies the blobs of a package that are not here yet, memory bounded, and registers it under the next number.
    /// What was copied before a failure stays until the garbage is collected; a repeated call goes on from there.
    ///
    /// # Errors
    /// As [`ModelRegistry::create_version`], and those of the source.
    async fn receive_version(
        &self,
        model: &ModelName,
        package: &Digest,
        from: &dyn BlobSource,
        options: CreateVersion,
    ) -> Result<Received>;

    /// This as a mere source of blobs.
    fn as_blobs(&self) -> &dyn BlobSource;
}

#[async_trait]
impl<T: BlobSource + ?Sized> BlobSource for Arc<T> {
    async fn open(&self, digest: &Digest) -> Result<ByteStream> {
        (**self).open(digest).await
    }
    async fn size(&self, digest: &Digest) -> Result<u64> {
        (**self).size(digest).await
    }
}

#[async_trait]
impl<T: Packages + ?Sized> Packages for Arc<T> {
    async fn manifest(&self, package: &Digest) -> Result<PackageManifest> {
        (**self).manifest(package).await
    }
    async fn receive_version(
        &self,
        model: &ModelName,
        package: &Digest,
        from: &dyn BlobSource,
        options: CreateVersion,
    ) -> Result<Received> {
        (**self).receive_version(model, package, from, options).await
    }
    fn as_blobs(&self) -> &dyn BlobSource {
        (**self).as_blobs()
    }
}

/// What [`Packages::receive_version`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The version.
    pub version: ModelVersion,
    /// Blobs that were copied; the others were here already.
    pub blobs_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
}

/// The manifest of a package and the JSON that the digest is of.
pub(crate) async fn read_manifest(from: &dyn BlobSource, package: &Digest) -> Result<(PackageManifest, Bytes)> {
    let what = || format!("reading the manifest of package {}", package.short());
    let mut pieces = from.open(package).await.context(what())?;
    let mut json = BytesMut::new();
    while let Some(piece) = pieces.try_next().await.context(what())? {
        if json.len() + piece.len() > MANIFEST_BYTES_MAX {
            return Err(Error::resource_exhausted(format!(
                "the manifest of package {} is over {MANIFEST_BYTES_MAX} bytes",
                package.short()
            )));
        }
        json.extend_from_slice(&piece);
    }
    let json = json.freeze();
    if Digest::of(&json) != *package {
        return Err(Error::data_loss(format!("the manifest of package {} has another digest", package.short())));
    }
    Ok((PackageManifest::from_json(&json).context(what())?, json))
}

/// Writes a package into a new directory: its manifest as [`MANIFEST_FILE`] beside its files. Every file is verified
/// while it is written, and memory is bounded; the directory appears when all of it is there.
///
/// # Errors
/// `AlreadyExists` when there is something at `directory`; `Unavailable` when it cannot be written; else as
/// [`BlobSource::open`].
pub async fn download(from: &dyn BlobSource, package: &Digest, directory: &Path) -> Result<PackageManifest> {
    let failed = |error: std::io::Error| {
        Error::unavailable(format!("directory {} cannot be written: {error}", directory.display())).with_source(error)
    };
    if tokio::fs::try_exists(directory).await.map_err(failed)? {
        return Err(Error::already_exists(format!("{} is there already; name a new directory", directory.display())));
    }
    let (manifest, json) = read_manifest(from, package).await?;
    let mut aside = directory.as_os_str().to_owned();
    aside.push(format!(".{}.part", package.short()));
    let aside = Path::new(&aside);
    let write = async {
        for (path, digest) in &manifest.files {
            write_file(from, digest, &aside.join(path)).await?;
        }
        tokio::fs::create_dir_all(aside).await.map_err(failed)?;
        tokio::fs::write(aside.join(MANIFEST_FILE), &json).await.map_err(failed)?;
        tokio::fs::rename(aside, directory).await.map_err(failed)
    };
    if let Err(error) = write.await {
        // What was begun is of no use; the first error is the one to report.
        let _ = tokio::fs::remove_dir_all(aside).await;
        return Err(error);
    }
    Ok(manifest)
}

async fn write_file(from: &dyn BlobSource, digest: &Digest, path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::unavailable(format!("file {} cannot be written: {error}", path.display())).with_source(error)
    };
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await.map_err(failed)?;
    }
    let mut file = tokio::fs::File::create(path).await.map_err(failed)?;
    let mut pieces = verified(from.open(digest).await?, *digest);
    while let Some(piece) = pieces.try_next().await? {
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.sync_all().await.map_err(failed)
}

/// A package in memory as a source of its blobs.
#[derive(Debug)]
pub(crate) struct InMemory(BTreeMap<Digest, Bytes>);

impl InMemory {
    /// The blobs of a package, and its digest.
    pub(crate) fn new(package: &ModelPackage) -> Result<(Digest, Self)> {
        let json = Bytes::from(package.manifest_json()?);
        let digest = Digest::of(&json);
        let mut blobs = BTreeMap::from([(digest, json)]);
        for (path, bytes) in package.files() {
            if let Some(digest) = package.manifest.files.get(path) {
                blobs.insert(*digest, bytes.clone());
            }
        }
        Ok((digest, Self(blobs)))
    }

    fn blob(&self, digest: &Digest) -> Result<&Bytes> {
        self.0.get(digest).ok_or_else(|| Error::not_found(format!("the package has no blob {}", digest.short())))
    }
}

#[async_trait]
impl BlobSource for InMemory {
    async fn open(&self, digest: &Digest) -> Result<ByteStream> {
        Ok(stream::once(std::future::ready(Ok(self.blob(digest)?.clone()))).boxed())
    }

    async fn size(&self, digest: &Digest) -> Result<u64> {
        self.blob(digest).map(|bytes| bytes.len() as u64)
    }
}
