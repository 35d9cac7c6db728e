//! Files of runs on an object store.
//!
//! Invariant: a file lies below the directory of its run; a path that could leave it is refused before the store is
//! asked. One file is held in memory whole and is at most [`RUN_ARTIFACT_BYTES_MAX`] bytes.

use std::{path::Path as FilePath, sync::Arc};

use bytes::Bytes;
use futures::TryStreamExt as _;
use mlops_core::{Error, Result, RunId};
use object_store::{ObjectStore, ObjectStoreExt as _, local::LocalFileSystem, memory::InMemory, path::Path};
use url::Url;

/// Largest file that a run takes in one piece, in bytes (1 GiB).
pub const RUN_ARTIFACT_BYTES_MAX: u64 = 1 << 30;
/// Longest path of a file below its run, in bytes.
pub const RUN_ARTIFACT_PATH_MAX: usize = 1_024;
/// Most files that one listing gives.
pub const RUN_ARTIFACTS_LISTED_MAX: usize = 100_000;

/// Where the files of runs lie: `<prefix>/<run id>/artifacts/<path>`.
///
/// ```
/// use mlops_core::RunId;
/// use mlops_registry::RunArtifacts;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let files = RunArtifacts::in_memory();
/// let run = RunId::new("run-1")?;
/// files.put(&run, "plots/roc.svg", "<svg/>".into()).await?;
/// assert_eq!(files.get(&run, "plots/roc.svg").await?, "<svg/>");
/// assert!(files.put(&run, "../other/model.json", "{}".into()).await.is_err());
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct RunArtifacts {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    bytes_max: u64,
}

impl RunArtifacts {
    /// Files below `prefix` of a store the application made.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix, bytes_max: RUN_ARTIFACT_BYTES_MAX }
    }

    /// Files in memory, for tests and trials.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Arc::new(InMemory::new()), Path::default())
    }

    /// Files in a local directory, created when absent.
    ///
    /// # Errors
    /// `Unavailable` naming the directory when it cannot be created.
    pub fn local(directory: &FilePath) -> Result<Self> {
        let named = |message: String| {
            Error::unavailable(format!("artifact directory {}: {message}", directory.display()))
                .with("path", directory.display())
        };
        std::fs::create_dir_all(directory).map_err(|error| named(error.to_string()).with_source(error))?;
        let store = LocalFileSystem::new_with_prefix(directory).map_err(|error| named(error.to_string()))?;
        Ok(Self::new(Arc::new(store), Path::default()))
    }

    /// Files at a URL: `file:///dir`, `memory:///`, and with `object_store`'s features also `s3://bucket/prefix` and
    /// the like.
    ///
    /// # Errors
    /// `InvalidArgument` when the URL is not understood.
    pub fn from_url(url: &str) -> Result<Self> {
        let bad = |message: String| Error::invalid_argument(format!("artifact URL is not usable: {message}"));
        let parsed = Url::parse(url).map_err(|error| bad(error.to_string()))?;
        let (store, prefix) = object_store::parse_url(&parsed).map_err(|error| bad(error.to_string()))?;
        Ok(Self::new(Arc::from(store), prefix))
    }

    /// Lowers the largest file that is taken or given, in bytes; at most [`RUN_ARTIFACT_BYTES_MAX`].
    #[must_use]
    pub fn with_bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes.min(RUN_ARTIFACT_BYTES_MAX);
        self
    }

    /// Stores a file of a run, replacing an earlier one at that path.
    ///
    /// # Errors
    /// `InvalidArgument` when the path is not a plain relative one, `ResourceExhausted` when the file is too large,
    /// `Unavailable` when the store cannot be written.
    pub async fn put(&self, run: &RunId, path: &str, bytes: Bytes) -> Result<()> {
        let at = self.location(run, path)?;
        self.check_size(path, bytes.len() as u64)?;
        self.store.put(&at, bytes.into()).await.map(drop).map_err(|error| from_store(error, path))
    }

    /// A file of a run.
    ///
    /// # Errors
    /// `NotFound`, otherwise as [`RunArtifacts::put`].
    pub async fn get(&self, run: &RunId, path: &str) -> Result<Bytes> {
        let at = self.location(run, path)?;
        let found = self.store.get(&at).await.map_err(|error| from_store(error, path))?;
        self.check_size(path, found.meta.size)?;
        found.bytes().await.map_err(|error| from_store(error, path))
    }

    /// Path below the run and size in bytes of every file of a run, by path.
    ///
    /// # Errors
    /// `ResourceExhausted` beyond [`RUN_ARTIFACTS_LISTED_MAX`] files, `Unavailable` when the store cannot be read.
    pub async fn list(&self, run: &RunId) -> Result<Vec<(String, u64)>> {
        let root = self.root(run)?;
        let mut found = Vec::new();
        let mut entries = self.store.list(Some(&root));
        while let Some(entry) = entries.try_next().await.map_err(|error| from_store(error, "of the run"))? {
            if found.len() >= RUN_ARTIFACTS_LISTED_MAX {
                return Err(Error::resource_exhausted(format!(
                    "run {run} has more than {RUN_ARTIFACTS_LISTED_MAX} files; list them in the store itself"
                )));
            }
            let below = entry.location.prefix_match(&root).into_iter().flatten();
            let parts: Vec<String> = below.map(|part| part.as_ref().to_owned()).collect();
            found.push((parts.join("/"), entry.size));
        }
        found.sort_unstable();
        Ok(found)
    }

    fn root(&self, run: &RunId) -> Result<Path> {
        check_relative("run id", run.as_str())?;
        parsed(&format!("{}/{run}/artifacts", self.prefix))
    }

    fn location(&self, run: &RunId, path: &str) -> Result<Path> {
        check_relative("artifact path", path)?;
        parsed(&format!("{}/{path}", self.root(run)?))
    }

    fn check_size(&self, path: &str, bytes: u64) -> Result<()> {
        if bytes <= self.bytes_max {
            return Ok(());
        }
        Err(Error::resource_exhausted(format!(
            "artifact {path:?} has {bytes} bytes; at most {} are allowed",
            self.bytes_max
        )))
    }
}

/// A path as it stands: joining part by part would write letters beyond ASCII as percent codes.
fn parsed(path: &str) -> Result<Path> {
    Path::parse(path)
        .map_err(|error| Error::invalid_argument(format!("artifact path {path:?} is not usable")).with_source(error))
}

/// Admits a relative path that stays where it is. A drive letter, a backslash or a percent sign could mean
/// something else to a store or a client further on, so they are refused as well.
fn check_relative(what: &str, path: &str) -> Result<()> {
    if path.len() > RUN_ARTIFACT_PATH_MAX {
        return Err(Error::invalid_argument(format!(
            "{what} has {} bytes; at most {RUN_ARTIFACT_PATH_MAX} are allowed",
            path.len()
        )));
    }
    if let Some(bad) = path.chars().find(|c| c.is_control() || matches!(c, '\\' | '%' | '#' | ':')) {
        return Err(Error::invalid_argument(format!("{what} {path:?} contains {bad:?}; choose another name")));
    }
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(Error::invalid_argument(format!(
            "{what} {path:?} is not a plain relative path; remove empty, \".\" and \"..\" parts"
        )));
    }
    Ok(())
}

fn from_store(error: object_store::Error, path: &str) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::not_found(format!("artifact {path:?} does not exist")),
        other => Error::unavailable(format!("artifact {path:?}: the store failed")).with_source(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlops_core::ErrorKind;

    #[tokio::test]
    async fn files_stay_in_the_directory_of_their_run() {
        let dir = tempfile::tempdir().unwrap();
        let files = RunArtifacts::local(&dir.path().join("files")).unwrap();
        let run = RunId::new("run-1").unwrap();
        for bad in
            ["", "..", "../x", "a/../../x", "/etc/passwd", "a//b", "a/", "./a", "..\\x", "%2e%2e/x", "C:x", "a\0b"]
        {
            let error = files.put(&run, bad, "x".into()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad:?}");
            assert_eq!(files.get(&run, bad).await.unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad:?}");
        }
        assert_eq!(std::fs::read_dir(dir.path().join("files")).unwrap().count(), 0);

        files.put(&run, "a b/ünï.txt", "1".into()).await.unwrap();
        files.put(&run, "a b/ünï.txt", "22".into()).await.unwrap();
        assert_eq!(files.get(&run, "a b/ünï.txt").await.unwrap(), "22");
        assert_eq!(files.list(&run).await.unwrap(), [("a b/ünï.txt".to_owned(), 2)]);
        assert_eq!(files.list(&RunId::new("run-2").unwrap()).await.unwrap(), []);
        assert_eq!(files.get(&run, "none").await.unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_file_over_the_bound_is_neither_taken_nor_given() {
        let files = RunArtifacts::in_memory();
        let run = RunId::new("run-1").unwrap();
        files.put(&run, "a", "12345".into()).await.unwrap();
        let small = files.clone().with_bytes_max(4);
        assert_eq!(small.put(&run, "b", "12345".into()).await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
        assert_eq!(small.get(&run, "a").await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
        small.put(&run, "b", "1234".into()).await.unwrap();
    }
}
