//! A remote: the same layout as the cache, on a local disk or behind any object store.
//!
//! Invariants: nothing is sent whose bytes are not what its name says, and nothing received is kept before its hash
//! was found right. Every step can be repeated.

use std::{collections::HashSet, fs::File, io::Write as _, sync::Arc};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mlops_core::{Error, Result};
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart, path::Path};

use super::{
    fault::{io_error, store_error},
    hashing::{Hasher, update_legacy},
    objects::{ObjectDir, missing},
    oid::{Layout, ObjectId},
    repo::blocking,
    stat_cache::StatCache,
};

/// Objects up to this size go in one request.
const SINGLE_BYTES_MAX: u64 = 8 << 20;
/// Parts of larger ones.
const PART_BYTES: usize = 8 << 20;
/// Parts on their way at once for one object.
const PARTS_AHEAD: usize = 4;
/// From this many objects on, listing is cheaper than asking for each.
const LISTED_FROM: usize = 256;

/// Where objects are shared.
#[derive(Debug, Clone)]
pub(super) enum Remote {
    Local(ObjectDir),
    Store { store: Arc<dyn ObjectStore>, root: Path },
}

/// What is moved, at most how many at once.
pub(super) struct Moves<'a> {
    pub(super) cache: &'a ObjectDir,
    pub(super) stats: &'a Arc<StatCache>,
    pub(super) at_once: usize,
}

impl Remote {
    fn key(root: &Path, id: &ObjectId, layout: Layout) -> Path {
        let (head, tail) = id.parts();
        let prefix = layout.prefix().split('/').filter(|part| !part.is_empty()).map(Into::into);
        Path::from_iter(root.parts().chain(prefix).chain([head.into(), tail.into()]))
    }

    /// Which of `ids` (with their sizes, where known) are there. One that is there with another size does not count.
    pub(super) async fn present(&self, ids: &[(ObjectId, Option<u64>)], at_once: usize) -> Result<HashSet<ObjectId>> {
        let (store, root) = match self {
            Self::Local(directory) => {
                let (directory, ids) = (directory.clone(), ids.to_vec());
                return blocking(move || {
                    let mut found = HashSet::new();
                    for (id, size) in ids {
                        let there = directory.find(&id, Layout::Files)?;
                        if there.is_some_and(|(_, metadata)| size.is_none_or(|size| size == metadata.len())) {
                            found.insert(id);
                        }
                    }
                    Ok(found)
                })
                .await;
            }
            Self::Store { store, root } => (store, root),
        };
        if ids.len() >= LISTED_FROM {
            return list_present(store, root, ids).await;
        }
        let ask = |(id, size): (ObjectId, Option<u64>)| {
            let key = Self::key(root, &id, Layout::Files);
            async move {
                match store.head(&key).await {
                    Ok(meta) => Ok(size.is_none_or(|size| size == meta.size).then_some(id)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(store_error("cannot look for", &key, error)),
                }
            }
        };
        let found: Vec<_> = stream::iter(ids.to_vec()).map(ask).buffer_unordered(at_once.max(1)).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Sends an object of the cache. Bytes sent.
    pub(super) async fn send(&self, id: ObjectId, moves: &Moves<'_>) -> Result<u64> {
        let cache = moves.cache.clone();
        let (store, root) = match self {
            Self::Local(directory) => {
                let directory = directory.clone();
                return blocking(move || directory.copy_from(&cache, &id, Layout::Files)).await;
            }
            Self::Store { store, root } => (store, root),
        };
        let key = Self::key(root, &id, Layout::Files);
        let found = blocking({
            let cache = cache.clone();
            move || cache.find(&id, Layout::Files)
        });
        let (path, metadata) = found.await?.ok_or_else(|| missing(&id, cache.root()))?;
        let size = metadata.len();
        if size <= SINGLE_BYTES_MAX {
            let bytes = blocking(move || cache.read(&id, Layout::Files, SINGLE_BYTES_MAX)).await?;
            let sent = store.put(&key, bytes.into()).await;
            return sent.map(|_| size).map_err(|error| store_error("cannot send", &key, error));
        }
        let upload = store.put_multipart(&key).await.map_err(|error| store_error("cannot send", &key, error))?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut source = Source { file: blocking(move || open(&path)).await?, hasher: Hasher::default() };
        loop {
            let (next, part) = blocking(move || source.next()).await?;
            source = next;
            if part.is_empty() {
                break;
            }
            upload.wait_for_capacity(PARTS_AHEAD).await.map_err(|error| store_error("cannot send", &key, error))?;
            upload.put(part);
        }
        if source.hasher.finish() != id.md5() {
            // A failed abort leaves parts that the store's own lifetime rules remove.
            let _ = upload.abort().await;
            let checked = blocking({
                let stats = Arc::clone(moves.stats);
                move || cache.check(&id, Layout::Files, &stats).map(drop)
            });
            checked.await?;
            return Err(Error::conflict(format!("object {id} changed while it was sent; push again")));
        }
        upload.finish().await.map_err(|error| store_error("cannot send", &key, error))?;
        Ok(size)
    }

    /// Brings an object into the cache. Bytes received.
    ///
    /// # Errors
    /// `NotFound` when the remote does not have it, `DataLoss` when what it has is damaged.
    pub(super) async fn receive(&self, id: ObjectId, layout: Layout, moves: &Moves<'_>) -> Result<u64> {
        let cache = moves.cache.clone();
        let (store, root) = match self {
            Self::Local(directory) => {
                let directory = directory.clone();
                return blocking(move || cache.copy_from(&directory, &id, layout)).await;
            }
            Self::Store { store, root } => (store, root),
        };
        let key = Self::key(root, &id, layout);
        let got = store.get(&key).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => {
                Error::not_found(format!("object {id} is not on the remote; push it from where it was made"))
                    .with("object", id)
                    .with_source(error)
            }
            error => store_error("cannot fetch", &key, error),
        })?;
        let mut chunks = got.into_stream();
        let file = blocking({
            let cache = cache.clone();
            move || cache.scratch()
        });
        let mut sink = Sink::new(file.await?, if id.is_directory() { Layout::Files } else { layout });
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| store_error("cannot fetch", &key, error))?;
            sink = blocking(move || sink.take(&chunk)).await?;
        }
        blocking(move || sink.finish(&cache, id, layout)).await
    }
}

fn open(path: &std::path::Path) -> Result<(File, std::path::PathBuf)> {
    let file = File::open(path).map_err(|error| io_error("cannot read", path, error))?;
    Ok((file, path.to_owned()))
}

/// A file that is read in parts and hashed on the way.
struct Source {
    file: (File, std::path::PathBuf),
    hasher: Hasher,
}

impl Source {
    fn next(mut self) -> Result<(Self, Bytes)> {
        use std::io::Read as _;
        let (file, path) = &mut self.file;
        let mut part = Vec::with_capacity(PART_BYTES);
        let read = file.take(PART_BYTES as u64).read_to_end(&mut part);
        read.map_err(|error| io_error("cannot read", path, error))?;
        self.hasher.update(&part);
        Ok((self, part.into()))
    }
}

/// A file that is written in pieces and hashed on the way, as `layout` hashes.
struct Sink {
    file: super::atomic::Temporary,
    hasher: Hasher,
    layout: Layout,
    /// Of a legacy object the piece that is not full yet: text was recognized piece by piece.
    piece: Vec<u8>,
    size: u64,
}

/// The pieces of [`super::hashing`].
const PIECE: usize = 1 << 20;

impl Sink {
    fn new(file: super::atomic::Temporary, layout: Layout) -> Self {
        Self { file, hasher: Hasher::default(), layout, piece: Vec::new(), size: 0 }
    }

    fn take(mut self, chunk: &[u8]) -> Result<Self> {
        let path = self.file.path().to_owned();
        self.file.write_all(chunk).map_err(|error| io_error("cannot write", &path, error))?;
        self.size += chunk.len() as u64;
        if self.layout == Layout::Files {
            self.hasher.update(chunk);
            return Ok(self);
        }
        for part in chunk.chunks(PIECE) {
            let (fits, rest) = part.split_at(part.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(fits);
            if self.piece.len() == PIECE {
                update_legacy(&mut self.hasher, &self.piece);
                self.piece.clear();
            }
            self.piece.extend_from_slice(rest);
        }
        Ok(self)
    }

    fn finish(mut self, cache: &ObjectDir, id: ObjectId, layout: Layout) -> Result<u64> {
        if !self.piece.is_empty() {
            update_legacy(&mut self.hasher, &self.piece);
        }
        if self.hasher.finish() != id.md5() {
            return Err(Error::data_loss(format!(
                "object {id} of the remote does not have the content that its name says; it is not kept"
            ))
            .with("object", id));
        }
        cache.install(self.file, &id, layout)?;
        Ok(self.size)
    }
}

async fn list_present(
    store: &Arc<dyn ObjectStore>,
    root: &Path,
    ids: &[(ObjectId, Option<u64>)],
) -> Result<HashSet<ObjectId>> {
    let wanted: std::collections::HashMap<_, _> = ids.iter().copied().collect();
    let prefix = Path::from_iter(root.parts().chain(Layout::Files.prefix().split('/').map(Into::into)));
    let mut found = HashSet::new();
    let mut listing = store.list(Some(&prefix));
    while let Some(meta) = listing.next().await {
        let meta = meta.map_err(|error| store_error("cannot list", &prefix, error))?;
        let parts: Vec<_> = meta.location.parts().collect();
        let [.., head, tail] = parts.as_slice() else { continue };
        let Ok(id) = format!("{}{}", head.as_ref(), tail.as_ref()).parse::<ObjectId>() else { continue };
        if wanted.get(&id).is_some_and(|size| size.is_none_or(|size| size == meta.size)) {
            found.insert(id);
        }
    }
    Ok(found)
}
