//! Packages in the blob store.

use std::collections::BTreeMap;

use async_trait::async_trait;
use mlops_core::{Digest, ModelName, ModelPackage, ModelVersionId, PackageManifest, Result, ResultExt as _};
use mlops_store::ByteStream;

use super::SqlModelRegistry;
use crate::registry::{
    package::{BlobSource, InMemory, Packages, Received, read_manifest},
    record::{CreateVersion, ModelVersion, VersionSource},
};

#[async_trait]
impl BlobSource for SqlModelRegistry {
    async fn open(&self, digest: &Digest) -> Result<ByteStream> {
        self.blobs.get_stream(digest).await
    }

    async fn size(&self, digest: &Digest) -> Result<u64> {
        self.blobs.size(digest).await
    }
}

#[async_trait]
impl Packages for SqlModelRegistry {
    async fn receive_version(
        &self,
        model: &ModelName,
        package: &Digest,
        from: &dyn BlobSource,
        options: CreateVersion,
    ) -> Result<Received> {
        self.admit_version(model, &VersionSource::Package(*package), &options).await?;
        let (manifest, _) = read_manifest(from, package).await?;
        let run_id = options.run_id.clone().or_else(|| manifest.run_id.clone());
        let options = CreateVersion { run_id, ..options };
        let upload = self.pin(package, &manifest).await?;
        let outcome = async {
            let copied = self.copy_blobs(&upload, from).await?;
            let source = VersionSource::Package(*package);
            let (version, fresh) = self.register(model, source, &options, Some(&upload)).await?;
            Ok((Received { version, blobs_copied: copied.blobs, bytes_copied: copied.bytes }, fresh))
        };
        let outcome = outcome.await;
        if !matches!(outcome, Ok((_, true))) {
            self.abandon(&upload).await;
        }
        outcome.map(|(received, _)| received)
    }

    fn as_blobs(&self) -> &dyn BlobSource {
        self
    }
}

impl SqlModelRegistry {
    pub(super) async fn create_from_package(
        &self,
        model: &ModelName,
        package: &ModelPackage,
        options: CreateVersion,
    ) -> Result<ModelVersion> {
        package.verify()?;
        package.manifest.check()?;
        let (digest, blobs) = InMemory::new(package)?;
        self.receive_version(model, &digest, &blobs, options).await.map(|received| received.version)
    }

    pub(super) async fn read_manifest(&self, package: &Digest) -> Result<PackageManifest> {
        read_manifest(self, package).await.map(|(manifest, _)| manifest)
    }

    pub(super) async fn fetch_package(&self, id: &ModelVersionId) -> Result<ModelPackage> {
        let what = || format!("fetching version {} of model \"{}\"", id.version, id.name);
        let manifest = self.read_manifest(&id.digest).await.context(what())?;
        let mut files = BTreeMap::new();
        for (path, digest) in &manifest.files {
            files.insert(path.clone(), self.blobs.get(digest).await.context(what())?);
        }
        ModelPackage::from_parts(manifest, files).context(what())
    }
}
