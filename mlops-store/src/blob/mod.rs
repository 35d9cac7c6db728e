//! Content-addressed blobs: bytes named by their SHA-256, on any `object_store` URL.
//!
//! Invariant: what is stored under a digest has that digest, checked on every read. Storing the
//! same bytes twice is the same as once, so a retry after a crash never doubles anything.
//! Layout: `sha256/<first two digits>/<remaining 62 digits>` below the prefix.

mod stream;

use std::{path::Path as FilePath, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use mlops_core::{Digest, Error, ErrorKind, Result, Timestamp};
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, local::LocalFileSystem, memory::InMemory, path::Path};
use serde::{Deserialize, Serialize};
use url::Url;

pub use stream::{ByteStream, PART_BYTES, PARTS_MAX, verified};

/// One stored blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobEntry {
    /// What it is called by.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// When it was stored, by the clock of the store.
    pub stored: Timestamp,
}

/// Limits of a blob store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlobSettings {
    /// Largest blob accepted or read, in bytes. Default 2 GiB.
    pub bytes_max: u64,
}

impl Default for BlobSettings {
    fn default() -> Self {
        Self { bytes_max: 2 << 30 }
    }
}

/// Blobs by digest.
///
/// ```
/// use mlops_store::BlobStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let blobs = BlobStore::in_memory();
/// let digest = blobs.put("hello".into()).await?;
/// assert_eq!(blobs.get(&digest).await?, "hello");
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct BlobStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    settings: BlobSettings,
}

impl BlobStore {
    /// Blobs below `prefix` of a store the application made.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path, settings: BlobSettings) -> Self {
        Self { store, prefix, settings }
    }

    /// Blobs in memory, for tests and trials.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Arc::new(InMemory::new()), Path::default(), BlobSettings::default())
    }

    /// Blobs in a local directory, created when absent.
    ///
    /// # Errors
    /// `Unavailable` naming the directory when it cannot be created.
    pub fn local(directory: &FilePath) -> Result<Self> {
        let named = |message: String| {
            Error::unavailable(format!("blob directory {}: {message}", directory.display()))
                .with("path", directory.display())
        };
        std::fs::create_dir_all(directory).map_err(|error| named(error.to_string()).with_source(error))?;
        let store = LocalFileSystem::new_with_prefix(directory).map_err(|error| named(error.to_string()))?;
        Ok(Self::new(Arc::new(store), Path::default(), BlobSettings::default()))
    }

    /// Blobs at a URL: `file:///dir`, `memory:///`, and with `object_store`'s features also
    /// `s3://bucket/prefix`, `gs://...`, `az://...`.
    ///
    /// # Errors
    /// `InvalidArgument` when the URL is not understood.
    pub fn from_url(url: &str) -> Result<Self> {
        let bad = |message: String| Error::invalid_argument(format!("blob store URL {url:?}: {message}"));
        let parsed = Url::parse(url).map_err(|error| bad(error.to_string()))?;
        let (store, prefix) = object_store::parse_url(&parsed).map_err(|error| bad(error.to_string()))?;
        Ok(Self::new(Arc::from(store), prefix, BlobSettings::default()))
    }

    fn path(&self, digest: &Digest) -> Path {
        let text = digest.to_string();
        let (directory, file) = text.split_at(2);
        self.prefix.clone().join("sha256").join(directory).join(file)
    }

    /// Stores bytes and returns their digest; durable when it returns.
    ///
    /// # Errors
    /// `ResourceExhausted` when they exceed [`BlobSettings::bytes_max`] or the store is full; nothing is stored then.
    /// `Unavailable` when the store cannot be written.
    pub async fn put(&self, bytes: Bytes) -> Result<Digest> {
        self.check_size(bytes.len() as u64)?;
        let digest = Digest::of(&bytes);
        let path = self.path(&digest);
        match self.store.put_opts(&path, bytes.into(), PutMode::Create.into()).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(digest),
            Err(error) => Err(from_store(error, &digest)),
        }
    }

    /// The bytes of a digest.
    ///
    /// # Errors
    /// `NotFound`, `DataLoss` when the stored bytes have another digest, `ResourceExhausted` when
    /// they exceed [`BlobSettings::bytes_max`], `Unavailable`.
    pub async fn get(&self, digest: &Digest) -> Result<Bytes> {
        let found = self.store.get(&self.path(digest)).await.map_err(|error| from_store(error, digest))?;
        self.check_size(found.meta.size)?;
        let bytes = found.bytes().await.map_err(|error| from_store(error, digest))?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(damaged(digest, &actual));
        }
        Ok(bytes)
    }

    /// Whether a digest is stored.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be read.
    pub async fn contains(&self, digest: &Digest) -> Result<bool> {
        match self.store.head(&self.path(digest)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(from_store(error, digest)),
        }
    }

    /// The size of a blob in bytes.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn size(&self, digest: &Digest) -> Result<u64> {
        let found = self.store.head(&self.path(digest)).await;
        found.map(|meta| meta.size).map_err(|error| from_store(error, digest))
    }

    /// Removes a blob; removing one that is absent is no error. The caller knows that nothing
    /// refers to it.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be written.
    pub async fn delete(&self, digest: &Digest) -> Result<()> {
        match self.store.delete(&self.path(digest)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(from_store(error, digest)),
        }
    }

    /// Every stored blob, in no particular order. Those stored or deleted meanwhile may or may not be among them.
    ///
    /// Each item fails with `Unavailable` when the store cannot be listed.
    #[must_use]
    pub fn list(&self) -> BoxStream<'static, Result<BlobEntry>> {
        let listing = self.store.list(Some(&self.prefix.clone().join("sha256")));
        let entry = |meta: object_store::ObjectMeta| {
            let parts: Vec<_> = meta.location.parts().collect();
            let text: String = parts.iter().skip(parts.len().saturating_sub(2)).map(AsRef::as_ref).collect();
            let stored = Timestamp::from_micros(meta.last_modified.timestamp_micros());
            text.parse().ok().map(|digest| BlobEntry { digest, bytes: meta.size, stored })
        };
        let entries = listing.map_err(|error| Error::unavailable(format!("blob store: {error}")).with_source(error));
        entries.try_filter_map(move |meta| std::future::ready(Ok(entry(meta)))).boxed()
    }

    fn check_size(&self, bytes: u64) -> Result<()> {
        if bytes <= self.settings.bytes_max {
            return Ok(());
        }
        Err(Error::resource_exhausted(format!(
            "blob has {bytes} bytes, the limit is {}; raise BlobSettings::bytes_max",
            self.settings.bytes_max
        )))
    }
}

fn damaged(digest: &Digest, actual: &Digest) -> Error {
    let (digest_short, actual) = (digest.short(), actual.short());
    Error::data_loss(format!("blob {digest_short} holds bytes with digest {actual}; restore it from a copy"))
        .with("digest", digest)
}

fn from_store(error: object_store::Error, digest: &Digest) -> Error {
    let kind = match error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::PermissionDenied { .. } => ErrorKind::PermissionDenied,
        object_store::Error::Unauthenticated { .. } => ErrorKind::Unauthenticated,
        _ if is_full(&error) => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    };
    let message = match kind {
        ErrorKind::NotFound => format!("blob {} is not stored", digest.short()),
        ErrorKind::ResourceExhausted => {
            let full = "the store is full, or takes no file of this size; free some space or raise the limit, and store it again";
            format!("blob {}: {full}", digest.short())
        }
        _ => format!("blob store: {error}"),
    };
    Error::new(kind, message).with("digest", digest).with_source(error)
}

/// Whether an error comes from a disk or quota that is used up.
#[must_use]
pub fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    kinds.any(|kind| matches!(kind, StorageFull | QuotaExceeded | FileTooLarge))
}
