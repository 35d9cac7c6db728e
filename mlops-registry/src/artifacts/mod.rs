//! Files of runs on an object store.
//!
//! Invariant: a file lies below the root of the store; a path that could leave it is refused before the store is
//! asked. A file that is written in pieces appears when it is complete, or not at all.

mod cloud;
mod direct;
mod path;
mod read;
mod resume;
#[cfg(feature = "s3")]
mod s3;

use std::{
    fmt,
    ops::Range,
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use mlops_core::{Error, Result};
use mlops_store::blob::is_full;
use object_store::{
    GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem,
    memory::InMemory, path::Path,
};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

use self::cloud::Signing;
pub use direct::{
    ArtifactCapabilities, SIGNED_SECONDS_MAX, SignedDownload, SignedPart, SignedUpload, UPLOAD_PARTS_MAX,
};
pub use path::ARTIFACT_PATH_MAX;
pub(crate) use path::check_path;
pub use resume::{RESUMED_PARTS_MAX, ResumableUpload};

/// Largest file that is held in memory whole, in bytes (1 GiB).
pub const ARTIFACT_BYTES_MAX: u64 = 1 << 30;
/// Most files that one listing gives.
pub const ARTIFACTS_LISTED_MAX: usize = 100_000;
/// The scheme of URIs that mean "in the artifact store of the tracking server".
pub const ARTIFACT_SCHEME: &str = "mlflow-artifacts:";
/// Where MLflow servers, and this one, give files: `http://host` + this + `/path`.
pub(crate) const ARTIFACT_ROUTE: &str = "/api/2.0/mlflow-artifacts/artifacts";
/// Size of the pieces in which large files are written; object stores want at least 5 MiB.
const PIECE_BYTES: usize = 8 << 20;

/// Where the files of runs lie: `<root>/<experiment>/<run>/artifacts/<path>`, so that a file logged by a program and
/// one uploaded by an MLflow client are in the same place.
///
/// ```
/// use mlops_registry::ArtifactStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let files = ArtifactStore::in_memory();
/// files.put("1/run-1/artifacts/plots/roc.svg", "<svg/>".into()).await?;
/// assert_eq!(files.get("1/run-1/artifacts/plots/roc.svg").await?, "<svg/>");
/// assert_eq!(files.entries("1/run-1/artifacts").await?[0].name, "plots");
/// assert!(files.put("../model.json", "{}".into()).await.is_err());
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ArtifactStore {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The directory of a local store.
    directory: Option<Directory>,
    /// What gives clients URLs of the store itself.
    signing: Option<Arc<dyn Signing>>,
    bytes_max: u64,
    /// Addresses of the server whose files these are, beside those of this machine.
    servers: Vec<Url>,
}

/// A directory of this machine.
#[derive(Debug, Clone)]
struct Directory {
    /// As it was named, absolute.
    named: PathBuf,
    /// Without links.
    real: PathBuf,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArtifactEntry {
    /// Its name, without the directory.
    pub name: String,
    /// Size in bytes of a file; none for a directory.
    pub size: Option<u64>,
}

/// A file that is being read.
pub struct ArtifactReader {
    /// Size of the whole file in bytes.
    pub size: u64,
    /// The bytes that are read.
    pub range: Range<u64>,
    /// Their pieces in order.
    pub pieces: BoxStream<'static, Result<Bytes>>,
}

impl fmt::Debug for ArtifactReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArtifactReader").field("size", &self.size).field("range", &self.range).finish_non_exhaustive()
    }
}

/// Which bytes of a file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactRange {
    /// From the first up to, not including, the second; beyond the end: up to the end.
    Bounded(Range<u64>),
    /// From here to the end.
    From(u64),
    /// That many at the end.
    Last(u64),
}

impl ArtifactStore {
    /// Files below `prefix` of a store the application made.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix, directory: None, signing: None, bytes_max: ARTIFACT_BYTES_MAX, servers: Vec::new() }
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
        let real = directory.canonicalize().map_err(|error| named(error.to_string()).with_source(error))?;
        let absolute = std::path::absolute(directory).map_err(|error| named(error.to_string()).with_source(error))?;
        let store = LocalFileSystem::new_with_prefix(&real).map_err(|error| named(error.to_string()))?;
        let files = Self::new(Arc::new(store.with_automatic_cleanup(true)), Path::default());
        Ok(Self { directory: Some(Directory { named: absolute, real }), ..files })
    }

    /// Files at a URL: `file:///dir`, `memory:///`, and by the features `s3`, `gcs`, `azure` and `http` also
    /// `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` and `https://host/prefix`.
    ///
    /// # Errors
    /// As [`ArtifactStore::from_url_with`].
    pub fn from_url(url: &str) -> Result<Self> {
        Self::from_url_with(url, &[])
    }

    /// Files at a URL, with the options of its store: credentials, region, endpoint and such, under the names that
    /// `object_store` gives them (`aws_access_key_id`, `aws_endpoint`, `google_service_account_key`,
    /// `azure_storage_account_key`, `allow_http`...). The environment is not read; a program passes on what it wants.
    ///
    /// ```
    /// use mlops_registry::ArtifactStore;
    ///
    /// let files = ArtifactStore::from_url_with("memory:///", &[])?;
    /// assert!(!files.capabilities().signed_downloads);
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` when the URL is not understood, its store is not in this build or does not know an option;
    /// `Unavailable` when a local directory cannot be created.
    pub fn from_url_with(url: &str, options: &[(String, String)]) -> Result<Self> {
        let parsed = Url::parse(url).map_err(cloud::bad)?;
        if parsed.scheme() == "file" {
            let path = parsed.to_file_path().map_err(|()| cloud::bad("it names no local directory"))?;
            return Self::local(&path);
        }
        let opened = cloud::open(&parsed, options)?;
        Ok(Self { signing: opened.signing, ..Self::new(opened.store, opened.prefix) })
    }

    /// Lowers the largest file that is held in memory, in bytes; at most [`ARTIFACT_BYTES_MAX`].
    #[must_use]
    pub fn with_bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes.min(ARTIFACT_BYTES_MAX);
        self
    }

    /// Adds an address under which clients reach the server of these files, such as `https://ml.example.com/prefix`.
    /// Its scheme and port do not matter. Addresses of this machine (`localhost`, `127.0.0.1`) are known without.
    ///
    /// ```
    /// use mlops_registry::ArtifactStore;
    ///
    /// let files = ArtifactStore::in_memory().with_server("https://ml.example.com/prefix")?;
    /// let uri = "https://ml.example.com/prefix/api/2.0/mlflow-artifacts/artifacts/1/run/artifacts";
    /// assert_eq!(files.path_of(uri)?, "1/run/artifacts");
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` when it is no `http` or `https` URL.
    pub fn with_server(mut self, address: &str) -> Result<Self> {
        let bad = |why: &str| Error::invalid_argument(format!("address {address:?} of a server {why}"));
        let url = Url::parse(address).map_err(|error| bad("is no URL").with_source(error))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(bad("must begin with http:// or https://"));
        }
        self.servers.push(url);
        Ok(self)
    }

    /// The path below the root that a URI stands for: one of scheme [`ARTIFACT_SCHEME`], the address of a file behind
    /// this server (`http://localhost/api/2.0/mlflow-artifacts/artifacts/path`, see [`ArtifactStore::with_server`]), and
    /// for a store of a local directory also a `file:` URI or absolute path in that directory. Other URIs, such as
    /// `s3://...`, mean files elsewhere.
    ///
    /// # Errors
    /// `FailedPrecondition` for a URI elsewhere, `InvalidArgument` for one that climbs or asks a question.
    pub fn path_of(&self, uri: &str) -> Result<String> {
        if let Some(directory) = &self.directory
            && let Some(path) = local_path(uri)
        {
            return directory.path_of(uri, &path);
        }
        // mlflow-artifacts://host/path names the server that answers, which is this one.
        let proxied;
        let path = match uri.strip_prefix(ARTIFACT_SCHEME) {
            Some(rest) => match rest.strip_prefix("//") {
                Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
                None => rest,
            },
            None => {
                proxied = self.proxied(uri)?;
                proxied.as_str()
            }
        };
        let path = path.trim_matches('/');
        check_path("artifact URI", path)?;
        Ok(path.to_owned())
    }

    /// Stores a file, replacing an earlier one at that path.
    ///
    /// # Errors
    /// `InvalidArgument` when the path is not a plain relative one, `ResourceExhausted` when the file is too large,
    /// `Unavailable` when the store cannot be written.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        let at = self.location(path).await?;
        self.check_size(path, bytes.len() as u64)?;
        self.store.put(&at, bytes.into()).await.map(drop).map_err(|error| from_store(error, path))
    }

    /// Stores a file of any size from its pieces, and says how many bytes it has. Memory holds one piece of 8 MiB.
    /// When the pieces end in an error, an earlier file at that path stays.
    ///
    /// # Errors
    /// The error of the pieces, otherwise as [`ArtifactStore::put`].
    pub async fn put_pieces(&self, path: &str, pieces: impl Stream<Item = Result<Bytes>> + Send) -> Result<u64> {
        let at = self.location(path).await?;
        // The end is met once while a part is filled and once more after it.
        let mut pieces = std::pin::pin!(pieces.fuse());
        let mut held = Held::default();
        while let Some(piece) = pieces.try_next().await? {
            held.push(piece);
            if held.size >= PIECE_BYTES {
                let mut upload = self.store.put_multipart(&at).await.map_err(|error| from_store(error, path))?;
                let written = write_parts(upload.as_mut(), held, pieces, path).await;
                if written.is_err()
                    && let Err(error) = upload.abort().await
                {
                    tracing::warn!(path, error = %error, "an upload that failed could not be cleaned up");
                }
                return written;
            }
        }
        let size = held.size as u64;
        self.store.put(&at, held.take()).await.map_err(|error| from_store(error, path))?;
        Ok(size)
    }

    /// A file.
    ///
    /// # Errors
    /// `NotFound`, otherwise as [`ArtifactStore::put`].
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        let at = self.location(path).await?;
        let found = self.store.get(&at).await.map_err(|error| from_store(error, path))?;
        self.check_size(path, found.meta.size)?;
        found.bytes().await.map_err(|error| from_store(error, path))
    }

    /// Opens a file of any size to be read piece by piece.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument` when the path is not a plain relative one or the range lies beyond the end,
    /// `Unavailable` when the store cannot be read.
    pub async fn open(&self, path: &str, range: Option<ArtifactRange>) -> Result<ArtifactReader> {
        let at = self.location(path).await?;
        let range = range.map(|range| match range {
            ArtifactRange::Bounded(range) => GetRange::Bounded(range),
            ArtifactRange::From(start) => GetRange::Offset(start),
            ArtifactRange::Last(bytes) => GetRange::Suffix(bytes),
        });
        if range.is_some() {
            // Asked apart, so that a range beyond the end is told from a store that fails.
            let size = self.store.head(&at).await.map_err(|error| from_store(error, path))?.size;
            let empty = match &range {
                Some(GetRange::Bounded(range)) => range.start >= size || range.start >= range.end,
                Some(GetRange::Offset(start)) => *start >= size,
                Some(GetRange::Suffix(bytes)) => *bytes == 0 || size == 0,
                None => false,
            };
            if empty {
                return Err(Error::invalid_argument(format!(
                    "artifact {path:?} has {size} bytes; the range lies beyond"
                )));
            }
        }
        let options = GetOptions { range, ..GetOptions::default() };
        let found = self.store.get_opts(&at, options).await.map_err(|error| from_store(error, path))?;
        let (size, range) = (found.meta.size, found.range.clone());
        Ok(ArtifactReader { size, range, pieces: read::pieces(found, path) })
    }

    /// Path below `directory` and size in bytes of every file in it and below, by path.
    ///
    /// # Errors
    /// `ResourceExhausted` beyond [`ARTIFACTS_LISTED_MAX`] files, `Unavailable` when the store cannot be read.
    pub async fn files(&self, directory: &str) -> Result<Vec<(String, u64)>> {
        let root = self.location(directory).await?;
        let mut found = Vec::new();
        let mut entries = self.store.list(Some(&root));
        while let Some(entry) = entries.try_next().await.map_err(|error| from_store(error, directory))? {
            check_count(directory, found.len())?;
            let below = entry.location.prefix_match(&root).into_iter().flatten();
            let parts: Vec<String> = below.map(|part| part.as_ref().to_owned()).collect();
            found.push((parts.join("/"), entry.size));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The names in a directory, by name; empty when it does not exist or is a file. The empty path is the root.
    ///
    /// # Errors
    /// As [`ArtifactStore::files`].
    pub async fn entries(&self, directory: &str) -> Result<Vec<ArtifactEntry>> {
        let root = if directory.is_empty() { self.prefix.clone() } else { self.location(directory).await? };
        let listed = match self.store.list_with_delimiter(Some(&root)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            // The local file system fails to list a file; that is no directory, and no failure.
            Err(_) if self.store.head(&root).await.is_ok() => return Ok(Vec::new()),
            listed => listed.map_err(|error| from_store(error, directory))?,
        };
        let name = |path: &Path| path.filename().unwrap_or_default().to_owned();
        let mut found: Vec<ArtifactEntry> =
            listed.common_prefixes.iter().map(|path| ArtifactEntry { name: name(path), size: None }).collect();
        let files = listed.objects.iter().filter(|file| file.location != root);
        found.extend(files.map(|file| ArtifactEntry { name: name(&file.location), size: Some(file.size) }));
        check_count(directory, found.len().saturating_sub(1))?;
        found.retain(|entry| !directory.is_empty() || entry.name != resume::WAITING);
        found.sort_unstable();
        Ok(found)
    }

    /// Deletes a file, or a directory with everything below it, and says how many files went. Deleting what is not
    /// there changes nothing.
    ///
    /// # Errors
    /// As [`ArtifactStore::put`].
    pub async fn delete(&self, path: &str) -> Result<usize> {
        let at = self.location(path).await?;
        match self.store.head(&at).await {
            Ok(_) => {
                return self.store.delete(&at).await.map(|()| 1).map_err(|error| from_store(error, path));
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(from_store(error, path)),
        }
        let below = self.store.list(Some(&at)).map_ok(|file| file.location).boxed();
        let deleted: Vec<Path> =
            self.store.delete_stream(below).try_collect().await.map_err(|error| from_store(error, path))?;
        Ok(deleted.len())
    }

    /// The path of a file in its address behind this server.
    fn proxied(&self, uri: &str) -> Result<String> {
        let url = Url::parse(uri).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| elsewhere(uri))?;
        let own = self.servers.iter().filter(|server| server.host() == url.host()).map(Url::path);
        let prefixes = own.chain(is_local(&url).then_some(""));
        let below = |prefix: &str| url.path().strip_prefix(prefix.trim_end_matches('/'))?.strip_prefix(ARTIFACT_ROUTE);
        // What climbs has been resolved in the path of the URL, and may lead out of the route.
        if climbs(uri) && prefixes.clone().next().is_some() {
            check_path("artifact URI", "..")?;
        }
        let mut found = prefixes.filter_map(below);
        let path = found.find(|path| path.is_empty() || path.starts_with('/')).ok_or_else(|| elsewhere(uri))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Error::invalid_argument(format!(
                "Invalid path: artifact URI {uri:?} has a query or a fragment; take it away"
            )));
        }
        let decoded = percent_decode_str(path).decode_utf8().map_err(|error| {
            Error::invalid_argument(format!("Invalid path: artifact URI {uri:?} is not UTF-8")).with_source(error)
        })?;
        Ok(decoded.into_owned())
    }

    async fn location(&self, path: &str) -> Result<Path> {
        check_path("artifact path", path)?;
        if let Some(root) = &self.directory {
            refuse_links_out(&root.real, path).await?;
        }
        let whole = format!("{}/{path}", self.prefix);
        // As it stands: joining part by part would write letters beyond ASCII as percent codes.
        Path::parse(&whole).map_err(|error| {
            Error::invalid_argument(format!("Invalid path: artifact path {path:?} is not usable")).with_source(error)
        })
    }

    fn check_size(&self, path: &str, bytes: u64) -> Result<()> {
        if bytes <= self.bytes_max {
            return Ok(());
        }
        Err(Error::resource_exhausted(format!(
            "artifact {path:?} has {bytes} bytes; at most {} are held in memory: read and write it in pieces",
            self.bytes_max
        )))
    }
}

impl Directory {
    /// The path below the directory of a place in it.
    fn path_of(&self, uri: &str, place: &FilePath) -> Result<String> {
        let below = place.strip_prefix(&self.named).or_else(|_| place.strip_prefix(&self.real));
        let below = below.map_err(|_| elsewhere(uri))?.to_str().ok_or_else(|| elsewhere(uri))?.trim_end_matches('/');
        check_path("artifact URI", below)?;
        Ok(below.to_owned())
    }
}

/// The place on this machine that a `file:` URI or an absolute path means.
fn local_path(uri: &str) -> Option<PathBuf> {
    // A `..` that is written out must not be resolved before it is refused. An encoded one is resolved, and the place that it
    // means is checked.
    match Url::parse(uri) {
        Ok(_) if climbs(uri) => uri.strip_prefix("file://").map(PathBuf::from),
        Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
        Ok(_) => None,
        Err(_) => Some(PathBuf::from(uri)).filter(|path| path.is_absolute()),
    }
}

/// Whether a `..` is written out.
fn climbs(uri: &str) -> bool {
    uri.split(['/', '\\']).any(|segment| segment == "..")
}

/// Whether an address is one of this machine.
fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn elsewhere(uri: &str) -> Error {
    Error::failed_precondition(format!("files at {uri} are not in this artifact store; read and write them there"))
}

/// Pieces that wait until they make a part; they are not copied together.
#[derive(Debug, Default)]
struct Held {
    pieces: Vec<Bytes>,
    size: usize,
}

impl Held {
    fn push(&mut self, piece: Bytes) {
        self.size += piece.len();
        self.pieces.push(piece);
    }

    fn take(&mut self) -> PutPayload {
        self.size = 0;
        std::mem::take(&mut self.pieces).into_iter().collect()
    }
}

/// Writes what is held and what follows; gives the bytes written.
async fn write_parts(
    upload: &mut dyn MultipartUpload,
    mut held: Held,
    mut pieces: std::pin::Pin<&mut (impl Stream<Item = Result<Bytes>> + Send)>,
    path: &str,
) -> Result<u64> {
    let mut size = 0;
    loop {
        let next = if held.size < PIECE_BYTES { pieces.try_next().await? } else { None };
        match next {
            Some(piece) => held.push(piece),
            None if held.size == 0 => break,
            None => {
                size += held.size as u64;
                upload.put_part(held.take()).await.map_err(|error| from_store(error, path))?;
            }
        }
    }
    upload.complete().await.map_err(|error| from_store(error, path))?;
    Ok(size)
}

/// Refuses a path that a symbolic link below the root leads out of it.
async fn refuse_links_out(root: &FilePath, path: &str) -> Result<()> {
    let mut place = root.join(path);
    // What does not exist yet is decided by the nearest directory that does.
    while place != root {
        match tokio::fs::canonicalize(&place).await {
            Ok(real) if real.starts_with(root) => return Ok(()),
            Ok(_) => {
                return Err(Error::invalid_argument(format!(
                    "Invalid path: a link at artifact path {path:?} leads out of the artifact directory"
                )));
            }
            Err(_) if place.pop() => {}
            Err(_) => break,
        }
    }
    Ok(())
}

fn check_count(directory: &str, found: usize) -> Result<()> {
    if found < ARTIFACTS_LISTED_MAX {
        return Ok(());
    }
    Err(Error::resource_exhausted(format!(
        "{directory:?} has more than {ARTIFACTS_LISTED_MAX} files; list them in the store itself"
    )))
}

fn from_store(error: object_store::Error, path: &str) -> Error {
    match error {
        object_store::Error::NotFound { .. } => Error::not_found(format!("artifact {path:?} does not exist")),
        other if is_full(&other) => Error::resource_exhausted(format!(
            "artifact {path:?}: the store is full; free some space and send it again"
        ))
        .with_source(other),
        other => Error::unavailable(format!("artifact {path:?}: the store failed")).with_source(other),
    }
}

#[cfg(test)]
mod tests;
