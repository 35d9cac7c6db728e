//! Uploads that go on where they were cut off.
//!
//! Invariant: a part that was acknowledged is kept under its digest until the upload is completed or aborted, so that
//! sending it again costs and changes nothing; the file appears whole or not at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use mlops_core::{Digest, Error, Result};

use super::ArtifactStore;

/// Most parts of one resumable upload.
pub const RESUMED_PARTS_MAX: u32 = 100_000;
/// Largest part, in bytes (64 MiB).
const PART_BYTES_MAX: usize = 64 << 20;
/// Where parts wait, below the root of the store.
pub(super) const WAITING: &str = ".uploads";

/// An upload in parts of your own choice that survives the death of the program, on any store.
///
/// ```
/// use mlops_core::Digest;
/// use mlops_registry::ArtifactStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let files = ArtifactStore::in_memory();
/// let mut upload = files.resume_upload("1/r/artifacts/model.bin", "job-7").await?;
/// upload.put_part(1, "first, ".into()).await?;
/// drop(upload);
///
/// // After a crash, the same path and key.
/// let mut upload = files.resume_upload("1/r/artifacts/model.bin", "job-7").await?;
/// assert!(upload.has(1, &Digest::of(b"first, ")));
/// upload.put_part(2, "second".into()).await?;
/// upload.complete(2).await?;
/// assert_eq!(files.get("1/r/artifacts/model.bin").await?, "first, second");
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct ResumableUpload {
    files: ArtifactStore,
    path: String,
    directory: String,
    parts: BTreeMap<u32, Digest>,
}

impl ArtifactStore {
    /// Begins an upload, or goes on with the one of that path and key. The key is the caller's name for what is
    /// uploaded; two programs must not use one key at the same time.
    ///
    /// # Errors
    /// As [`ArtifactStore::put`].
    pub async fn resume_upload(&self, path: &str, key: &str) -> Result<ResumableUpload> {
        // Checks the path.
        self.location(path).await?;
        let name = Digest::of(format!("{path}\0{key}").as_bytes());
        let directory = format!("{WAITING}/{name}");
        let mut parts = BTreeMap::new();
        for (file, _) in self.files(&directory).await? {
            let Some((number, digest)) = parse_name(&file) else { continue };
            if let Some(other) = parts.insert(number, digest) {
                // The program died while it replaced a part; which one counts is for the caller to say again.
                self.delete(&format!("{directory}/{}", part_name(number, &other))).await?;
                self.delete(&format!("{directory}/{file}")).await?;
                parts.remove(&number);
            }
        }
        Ok(ResumableUpload { files: self.clone(), path: path.to_owned(), directory, parts })
    }
}

impl ResumableUpload {
    /// Whether part `number` with these contents was acknowledged, now or before a crash.
    #[must_use]
    pub fn has(&self, number: u32, digest: &Digest) -> bool {
        self.parts.get(&number) == Some(digest)
    }

    /// Keeps part `number`, counted from 1, and gives its digest. Repeating it changes nothing; other contents replace
    /// the earlier ones.
    ///
    /// # Errors
    /// `InvalidArgument` for a number out of range or a part of more than 64 MiB, otherwise as [`ArtifactStore::put`].
    pub async fn put_part(&mut self, number: u32, bytes: Bytes) -> Result<Digest> {
        if !(1..=RESUMED_PARTS_MAX).contains(&number) || bytes.len() > PART_BYTES_MAX {
            return Err(Error::invalid_argument(format!(
                "part {number} of {} bytes: parts count from 1 to {RESUMED_PARTS_MAX} and have at most {PART_BYTES_MAX} bytes",
                bytes.len()
            )));
        }
        let digest = Digest::of(&bytes);
        if self.has(number, &digest) {
            return Ok(digest);
        }
        self.files.put(&self.file(number, &digest), bytes).await?;
        if let Some(earlier) = self.parts.insert(number, digest) {
            self.files.delete(&self.file(number, &earlier)).await?;
        }
        Ok(digest)
    }

    /// Makes the file of parts 1 to `parts`, forgets them, and gives the size in bytes.
    ///
    /// # Errors
    /// `FailedPrecondition` naming the first part that is missing, `DataLoss` when a part is not what was
    /// acknowledged, otherwise as [`ArtifactStore::put`]. The parts are kept then.
    pub async fn complete(self, parts: u32) -> Result<u64> {
        let missing = (1..=parts).find(|number| !self.parts.contains_key(number));
        if missing.is_some() || parts == 0 {
            return Err(Error::failed_precondition(format!(
                "artifact {:?}: part {} of {parts} is missing; send it first",
                self.path,
                missing.unwrap_or(1)
            )));
        }
        let pieces = stream::iter(self.parts.range(1..=parts)).then(|(&number, digest)| self.read(number, digest));
        let size = self.files.put_pieces(&self.path, pieces).await?;
        self.abort().await?;
        Ok(size)
    }

    /// Forgets the parts; the file is as it was.
    ///
    /// # Errors
    /// As [`ArtifactStore::delete`].
    pub async fn abort(self) -> Result<()> {
        self.files.delete(&self.directory).await.map(drop)
    }

    async fn read(&self, number: u32, digest: &Digest) -> Result<Bytes> {
        let bytes = self.files.get(&self.file(number, digest)).await?;
        if Digest::of(&bytes) == *digest {
            return Ok(bytes);
        }
        Err(Error::data_loss(format!("artifact {:?}: part {number} is not what was sent; send it again", self.path)))
    }

    fn file(&self, number: u32, digest: &Digest) -> String {
        format!("{}/{}", self.directory, part_name(number, digest))
    }
}

fn part_name(number: u32, digest: &Digest) -> String {
    format!("{number}-{digest}")
}

fn parse_name(name: &str) -> Option<(u32, Digest)> {
    let (number, digest) = name.split_once('-')?;
    Some((number.parse().ok()?, digest.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn parts_survive_and_come_together_in_order() {
        let files = ArtifactStore::in_memory();
        let begin = async || files.resume_upload("r/big", "k").await.unwrap();
        let mut upload = begin().await;
        upload.put_part(2, "b".into()).await.unwrap();
        let missing = begin().await.complete(2).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::FailedPrecondition);
        assert!(missing.message().contains("part 1 of 2"));

        let mut upload = begin().await;
        assert!(upload.has(2, &Digest::of(b"b")) && !upload.has(1, &Digest::of(b"a")));
        upload.put_part(1, "x".into()).await.unwrap();
        upload.put_part(1, "a".into()).await.unwrap();
        assert_eq!(files.get("r/big").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(begin().await.complete(2).await.unwrap(), 2);
        assert_eq!(files.get("r/big").await.unwrap(), "ab");
        assert!(begin().await.parts.is_empty(), "completed parts are forgotten");
        for entry in files.entries("").await.unwrap() {
            assert_eq!(entry.name, "r", "waiting parts are not listed");
        }
    }

    #[tokio::test]
    async fn a_part_that_changed_on_disk_is_data_loss_and_half_a_replacement_is_absent() {
        let files = ArtifactStore::in_memory();
        let mut upload = files.resume_upload("r/f", "k").await.unwrap();
        upload.put_part(1, "good".into()).await.unwrap();
        let place = upload.file(1, &Digest::of(b"good"));
        files.put(&place, "evil".into()).await.unwrap();
        assert_eq!(upload.complete(1).await.unwrap_err().kind(), ErrorKind::DataLoss);

        let upload = files.resume_upload("r/f", "k").await.unwrap();
        files.put(&upload.file(1, &Digest::of(b"new")), "new".into()).await.unwrap();
        let mut upload = files.resume_upload("r/f", "k").await.unwrap();
        assert!(upload.parts.is_empty());
        assert!(upload.put_part(0, "x".into()).await.is_err());
        upload.put_part(1, "good".into()).await.unwrap();
        upload.complete(1).await.unwrap();
        assert_eq!(files.get("r/f").await.unwrap(), "good");
    }
}
