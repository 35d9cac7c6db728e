//! Blobs on their way to a version that refers to them.
//!
//! Invariant: from before a blob is looked for until the transaction that refers to it, it is pinned. A collector spares
//! what is pinned or referred to, and looks and condemns in one transaction; so a version never refers to a blob that
//! was collected, whoever else registers or collects at the same time.

use std::{collections::BTreeSet, time::Duration};

use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream};
use mlops_core::{Digest, Error, PackageManifest, Result, ResultExt as _};
use mlops_store::{Transaction, TransactionExt as _, params};

use super::SqlModelRegistry;
use crate::{registry::package::BlobSource, retry::on_conflict};

/// How long an upload may take. After that its pins are void, and it cannot be registered.
pub(super) const UPLOAD_MAX: Duration = Duration::from_secs(24 * 3_600);
/// How often, and how many milliseconds apart, a condemned blob is looked at until it is gone.
const CONDEMNED_LOOKS_MAX: u32 = 200;
const CONDEMNED_PAUSE: Duration = Duration::from_millis(20);
/// Blobs that are copied at the same time.
const COPIES_MAX: usize = 2;

/// The blobs of one package, pinned.
#[derive(Debug)]
pub(super) struct Upload {
    id: u64,
    package: Digest,
    blobs: BTreeSet<Digest>,
}

enum Pinned {
    Done(u64),
    Condemned(Digest),
}

/// What copying came to.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Copied {
    pub(super) blobs: u64,
    pub(super) bytes: u64,
}

impl SqlModelRegistry {
    /// Pins the blobs of a package, waiting for a collector that is about to delete one of them.
    pub(super) async fn pin(&self, package: &Digest, manifest: &PackageManifest) -> Result<Upload> {
        let blobs: BTreeSet<Digest> = manifest.files.values().copied().chain([*package]).collect();
        let mut condemned = *package;
        for _ in 0..CONDEMNED_LOOKS_MAX {
            match on_conflict!(self.try_pin(&blobs))? {
                Pinned::Done(id) => return Ok(Upload { id, package: *package, blobs }),
                Pinned::Condemned(blob) => condemned = blob,
            }
            tokio::time::sleep(CONDEMNED_PAUSE).await;
        }
        Err(Error::unavailable(format!(
            "blob {} of the package is being collected as garbage; if no collection runs, one was cut off: run one to \
             finish it",
            condemned.short()
        )))
    }

    async fn try_pin(&self, blobs: &BTreeSet<Digest>) -> Result<Pinned> {
        let mut tx = self.meta.begin().await?;
        let sql = "INSERT INTO registry_upload (at) VALUES ($1) RETURNING id";
        let id: u64 = tx.query_one(sql, params![self.clock.now()]).await?.get("id")?;
        for blob in blobs {
            let text = blob.to_string();
            let sql = "SELECT blob FROM registry_condemned WHERE blob = $1";
            if tx.query_opt(sql, params![&text]).await?.is_some() {
                return Ok(Pinned::Condemned(*blob));
            }
            tx.execute("INSERT INTO registry_pin (upload, blob) VALUES ($1, $2)", params![id, text]).await?;
        }
        tx.commit().await?;
        Ok(Pinned::Done(id))
    }

    /// Copies what is not stored yet, the manifest last: where a manifest is, its files are.
    pub(super) async fn copy_blobs(&self, upload: &Upload, from: &dyn BlobSource) -> Result<Copied> {
        let mut files: Vec<BoxFuture<'_, Result<Copied>>> = Vec::with_capacity(upload.blobs.len());
        for blob in upload.blobs.iter().filter(|blob| **blob != upload.package) {
            files.push(self.copy_blob(blob, from).boxed());
        }
        let sum = |sum: Copied, next: Copied| {
            std::future::ready(Ok(Copied { blobs: sum.blobs + next.blobs, bytes: sum.bytes + next.bytes }))
        };
        let files = stream::iter(files).buffer_unordered(COPIES_MAX).try_fold(Copied::default(), sum).await?;
        let manifest = self.copy_blob(&upload.package, from).await?;
        Ok(Copied { blobs: files.blobs + manifest.blobs, bytes: files.bytes + manifest.bytes })
    }

    async fn copy_blob(&self, blob: &Digest, from: &dyn BlobSource) -> Result<Copied> {
        if self.blobs.contains(blob).await? {
            return Ok(Copied::default());
        }
        let stored = self.blobs.put_stream(blob, from.open(blob).await?).await.context("storing a model package")?;
        Ok(stored.map_or_else(Copied::default, |bytes| Copied { blobs: 1, bytes }))
    }

    /// Gives up the pins of an upload that registered nothing. Should this fail too, they become void by themselves.
    pub(super) async fn abandon(&self, upload: &Upload) {
        let outcome = on_conflict!(async {
            let mut tx = self.meta.begin().await?;
            release(tx.as_mut(), upload).await?;
            tx.commit().await
        });
        if let Err(error) = outcome {
            tracing::warn!(error = %error.chain(), "the pins of an upload stay until they are void");
        }
    }
}

/// Turns the pins of an upload into the list of what its package refers to, in the transaction of the version that
/// refers to the package.
pub(super) async fn settle(tx: &mut dyn Transaction, upload: &Upload) -> Result<()> {
    if release(tx, upload).await? != upload.blobs.len() as u64 {
        return Err(Error::failed_precondition(format!(
            "the upload of package {} took over {} hours, and its files may have been collected; register it again",
            upload.package.short(),
            UPLOAD_MAX.as_secs() / 3_600
        )));
    }
    index_package(tx, &upload.package, &upload.blobs).await
}

async fn release(tx: &mut dyn Transaction, upload: &Upload) -> Result<u64> {
    tx.execute("DELETE FROM registry_upload WHERE id = $1", params![upload.id]).await?;
    tx.execute("DELETE FROM registry_pin WHERE upload = $1", params![upload.id]).await
}

/// Writes down which blobs a package refers to.
pub(super) async fn index_package(
    tx: &mut dyn Transaction,
    package: &Digest,
    blobs: impl IntoIterator<Item = &Digest>,
) -> Result<()> {
    let sql =
        "INSERT INTO registry_package_blob (package, blob) VALUES ($1, $2) ON CONFLICT (package, blob) DO NOTHING";
    for blob in blobs {
        tx.execute(sql, params![package.to_string(), blob.to_string()]).await?;
    }
    Ok(())
}
