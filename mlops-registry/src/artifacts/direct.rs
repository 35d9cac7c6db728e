//! Files that clients read from and write to the store itself, by URLs that are signed for a while.
//!
//! Invariant: a URL is given only for a path that [`ArtifactStore::put`] would take; a store that cannot sign says so
//! in its capabilities and by `Unimplemented`.

use std::time::Duration;

use mlops_core::{Error, Result};
use object_store::ObjectStoreExt as _;

use super::{ArtifactStore, cloud::SigningParts, from_store};

/// Most parts of one upload; S3 takes no more.
pub const UPLOAD_PARTS_MAX: u16 = 10_000;
/// Longest time for which a URL is signed: seven days, the longest that S3 takes.
pub const SIGNED_SECONDS_MAX: u64 = 7 * 24 * 3_600;
/// Longest id of an upload and tag of a part, in bytes.
const TOKEN_BYTES_MAX: usize = 2_048;

/// What a store can do beyond reading and writing through this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ArtifactCapabilities {
    /// It signs URLs by which clients read a file from it.
    pub signed_downloads: bool,
    /// It signs URLs by which clients send it a file in parts.
    pub signed_parts: bool,
}

/// A URL by which anybody reads one file until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDownload {
    /// The URL; as secret as the file.
    pub url: String,
    /// Size of the file in bytes.
    pub size: u64,
}

/// Where to send one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPart {
    /// Its number, from 1.
    pub number: u16,
    /// Where to `PUT` it; as secret as the file.
    pub url: String,
}

/// An upload that a client makes in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUpload {
    /// Its id, by which it is completed or aborted.
    pub id: String,
    /// Where the parts go. All but the last must have at least 5 MiB.
    pub parts: Vec<SignedPart>,
}

impl ArtifactStore {
    /// What the store can do.
    #[must_use]
    pub fn capabilities(&self) -> ArtifactCapabilities {
        let signed_parts = self.signing.as_ref().is_some_and(|signing| signing.parts().is_some());
        ArtifactCapabilities { signed_downloads: self.signing.is_some(), signed_parts }
    }

    /// Signs a read that is valid from now for `valid`, at most [`SIGNED_SECONDS_MAX`].
    ///
    /// # Errors
    /// `NotFound`, `Unimplemented` when the store cannot sign, otherwise as [`ArtifactStore::put`].
    pub async fn sign_download(&self, path: &str, valid: Duration) -> Result<SignedDownload> {
        let at = self.location(path).await?;
        let Some(signing) = &self.signing else {
            return Err(Error::unimplemented("this artifact store cannot sign URLs; read the file through the server"));
        };
        let size = self.store.head(&at).await.map_err(|error| from_store(error, path))?.size;
        let url = signing.read(&at, check_term(valid)?).await?;
        Ok(SignedDownload { url: url.into(), size })
    }

    /// Begins an upload of `parts` parts that the client sends to the store itself. The file appears, whole, when the
    /// upload is completed; parts of an upload that never is are the store's to expire (a lifecycle rule on S3).
    ///
    /// # Errors
    /// `InvalidArgument` for no parts or more than [`UPLOAD_PARTS_MAX`], `Unimplemented` when the store cannot sign
    /// parts, otherwise as [`ArtifactStore::put`].
    pub async fn begin_upload(&self, path: &str, parts: u16, valid: Duration) -> Result<SignedUpload> {
        let at = self.location(path).await?;
        if !(1..=UPLOAD_PARTS_MAX).contains(&parts) {
            return Err(Error::invalid_argument(format!(
                "an upload has 1 to {UPLOAD_PARTS_MAX} parts, not {parts}; choose larger parts"
            )));
        }
        let (id, parts) = self.parts()?.begin(&at, parts, check_term(valid)?).await?;
        Ok(SignedUpload { id, parts })
    }

    /// Makes the file of parts that were sent; `tags` are the entity tags the store answered, part by part.
    ///
    /// # Errors
    /// `InvalidArgument` for an id or tag that cannot be one, `Unavailable` when the store refuses, otherwise as
    /// [`ArtifactStore::begin_upload`].
    pub async fn complete_upload(&self, path: &str, id: &str, tags: Vec<String>) -> Result<()> {
        let at = self.location(path).await?;
        check_token("upload id", id)?;
        tags.iter().try_for_each(|tag| check_token("entity tag", tag))?;
        if tags.is_empty() || tags.len() > usize::from(UPLOAD_PARTS_MAX) {
            return Err(Error::invalid_argument(format!("an upload has 1 to {UPLOAD_PARTS_MAX} parts")));
        }
        self.parts()?.complete(&at, id, tags).await
    }

    /// Forgets the parts of an upload.
    ///
    /// # Errors
    /// As [`ArtifactStore::complete_upload`].
    pub async fn abort_upload(&self, path: &str, id: &str) -> Result<()> {
        let at = self.location(path).await?;
        check_token("upload id", id)?;
        self.parts()?.abort(&at, id).await
    }

    fn parts(&self) -> Result<&dyn SigningParts> {
        // MLflow's clients send the file whole when a refusal begins with these words.
        self.signing.as_ref().and_then(|signing| signing.parts()).ok_or_else(|| {
            Error::unimplemented("Multipart upload is not supported for the current artifact repository")
        })
    }
}

fn check_term(valid: Duration) -> Result<Duration> {
    if (1..=SIGNED_SECONDS_MAX).contains(&valid.as_secs()) {
        return Ok(valid);
    }
    Err(Error::invalid_argument(format!(
        "a URL is signed for 1 to {SIGNED_SECONDS_MAX} seconds, not {}",
        valid.as_secs()
    )))
}

fn check_token(what: &str, token: &str) -> Result<()> {
    if !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "{what} must be 1 to {TOKEN_BYTES_MAX} printable ASCII letters, as the store gave it"
    )))
}
