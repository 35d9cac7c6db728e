//! Blobs in pieces, for those too large to hold.
//!
//! Invariant: at most [`PARTS_MAX`] + 2 parts of [`PART_BYTES`] are in memory for each blob that is stored, and bytes
//! whose digest is wrong neither become a blob nor reach the end of a stream unnoticed.

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use mlops_core::{Digest, DigestBuilder, Error, Result};
use object_store::{ObjectStoreExt as _, WriteMultipart};

use super::{BlobStore, damaged, from_store};

/// Bytes in pieces of any size.
pub type ByteStream = BoxStream<'static, Result<Bytes>>;

/// Bytes that are sent to the store at a time.
pub const PART_BYTES: usize = 6 << 20;
/// Parts on their way at the same time.
pub const PARTS_MAX: usize = 2;

impl BlobStore {
    /// The bytes of a digest in pieces. When they have another digest, the last item is the error `DataLoss`: what came
    /// before it must then not be used.
    ///
    /// # Errors
    /// As [`BlobStore::get`].
    pub async fn get_stream(&self, digest: &Digest) -> Result<ByteStream> {
        let found = self.store.get(&self.path(digest)).await.map_err(|error| from_store(error, digest))?;
        self.check_size(found.meta.size)?;
        let expected = *digest;
        let pieces = found.into_stream().map_err(move |error| from_store(error, &expected)).boxed();
        Ok(verified(pieces, expected))
    }

    /// Stores bytes that are known to have this digest; durable when it returns. Gives how many bytes were stored: none
    /// when the digest is there already, and then nothing is read from `bytes`.
    ///
    /// # Errors
    /// `DataLoss` when they have another digest, `ResourceExhausted` when they exceed
    /// [`super::BlobSettings::bytes_max`] or the store is full, `Unavailable` when the store cannot be written, and the
    /// errors of `bytes`; nothing is stored then.
    pub async fn put_stream(&self, digest: &Digest, mut bytes: ByteStream) -> Result<Option<u64>> {
        if self.contains(digest).await? {
            return Ok(None);
        }
        let mut head = BytesMut::new();
        while head.len() <= PART_BYTES {
            let Some(piece) = bytes.try_next().await? else {
                return self.put_known(digest, head.freeze()).await.map(Some);
            };
            head.extend_from_slice(&piece);
        }
        let upload = self.store.put_multipart(&self.path(digest)).await.map_err(|error| from_store(error, digest))?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let whole = stream::once(std::future::ready(Ok(head.freeze()))).chain(bytes).boxed();
        match self.write_pieces(digest, whole, &mut writer).await {
            Ok(length) => {
                writer.finish().await.map_err(|error| from_store(error, digest))?;
                Ok(Some(length))
            }
            Err(error) => {
                // The first error is the one to report; the parts of an upload that was given up are invisible.
                let _ = writer.abort().await;
                Err(error)
            }
        }
    }

    async fn put_known(&self, digest: &Digest, bytes: Bytes) -> Result<u64> {
        let (actual, length) = (Digest::of(&bytes), bytes.len() as u64);
        if actual != *digest {
            return Err(foreign(digest, &actual));
        }
        self.put(bytes).await.map(|_| length)
    }

    async fn write_pieces(&self, digest: &Digest, mut bytes: ByteStream, writer: &mut WriteMultipart) -> Result<u64> {
        let (mut builder, mut length) = (DigestBuilder::default(), 0_u64);
        while let Some(piece) = bytes.try_next().await? {
            length = length.saturating_add(piece.len() as u64);
            self.check_size(length)?;
            builder.update(&piece);
            writer.wait_for_capacity(PARTS_MAX).await.map_err(|error| from_store(error, digest))?;
            writer.put(piece);
        }
        match builder.finish() {
            actual if actual == *digest => Ok(length),
            actual => Err(foreign(digest, &actual)),
        }
    }
}

/// The same pieces; when together they have another digest, the last item is the error `DataLoss`.
#[must_use]
pub fn verified(pieces: ByteStream, digest: Digest) -> ByteStream {
    let state = (pieces, Some(DigestBuilder::default()));
    let checked = stream::try_unfold(state, move |(mut pieces, builder)| async move {
        let Some(mut builder) = builder else { return Ok(None) };
        match pieces.try_next().await? {
            Some(piece) => {
                builder.update(&piece);
                Ok(Some((piece, (pieces, Some(builder)))))
            }
            None => match builder.finish() {
                actual if actual == digest => Ok(None),
                actual => Err(damaged(&digest, &actual)),
            },
        }
    });
    checked.boxed()
}

fn foreign(digest: &Digest, actual: &Digest) -> Error {
    let (short, actual) = (digest.short(), actual.short());
    Error::data_loss(format!("bytes offered as blob {short} have digest {actual}; nothing was stored"))
        .with("digest", digest)
}
