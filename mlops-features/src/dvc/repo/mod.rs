//! A repository: where things are, and what every operation begins with.

mod add;
mod checkout;
mod commit;
mod status;
mod targets;
mod transfer;

pub use add::Added;
pub use checkout::{CheckoutOptions, CheckoutReport};
pub use commit::Committed;
pub use status::{OutputStatus, Workspace};
pub use transfer::TransferReport;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use mlops_core::{Error, Result};
use object_store::{ObjectStore, path::Path as StorePath};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    atomic::write_text,
    config::{Config, resolve},
    fault::io_error,
    objects::{Link, ObjectDir},
    params::read_text,
    remote::Remote,
    repo_lock::RepoLock,
    stat_cache::StatCache,
};

/// How a repository works.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct DvcSettings {
    /// Threads that hash and copy files; zero is one per processor.
    pub threads: usize,
    /// Objects that are sent or received at once.
    pub transfers: usize,
}

impl Default for DvcSettings {
    fn default() -> Self {
        Self { threads: 0, transfers: 16 }
    }
}

/// A DVC repository. Clones share it; operations that write come one after another, across processes and with `dvc`
/// itself.
#[derive(Debug, Clone)]
pub struct DvcRepo {
    inner: Arc<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    root: PathBuf,
    config: Config,
    cache: ObjectDir,
    link: Link,
    settings: DvcSettings,
    stores: BTreeMap<String, Remote>,
    writing: Arc<Mutex<()>>,
}

/// What a writing operation holds.
struct Session {
    inner: Arc<Inner>,
    stats: Arc<StatCache>,
    _lock: RepoLock,
}

const IGNORE_TEXT: &str = "# Add patterns of files dvc should ignore, which could improve\n\
    # the performance. Learn more at\n\
    # https://dvc.org/doc/user-guide/dvcignore\n";

impl DvcRepo {
    /// Opens the repository whose root (the directory with `.dvc`) is `root`.
    ///
    /// # Errors
    /// `NotFound` when there is none, `InvalidArgument` for a configuration that cannot be read.
    pub async fn open(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref().to_owned();
        let inner = blocking(move || Inner::open(&root)).await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a repository in the directory `root`; one that is not under git is marked so.
    ///
    /// # Errors
    /// `AlreadyExists` when it is one.
    pub async fn init(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref().to_owned();
        let inner = blocking(move || {
            let directory = root.join(".dvc");
            fs::create_dir_all(&root).map_err(|error| io_error("cannot create", &root, error))?;
            fs::create_dir(&directory).map_err(|error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => {
                    Error::already_exists(format!("{} is a DVC repository already", root.display()))
                }
                _ => io_error("cannot create", &directory, error),
            })?;
            let under_git = root.ancestors().any(|directory| directory.join(".git").exists());
            write_text(&directory.join(".gitignore"), "/config.local\n/tmp\n/cache\n")?;
            if !root.join(super::ignore::IGNORE_FILE).exists() {
                write_text(&root.join(super::ignore::IGNORE_FILE), IGNORE_TEXT)?;
            }
            write_text(&directory.join("config"), if under_git { "" } else { "[core]\n    no_scm = True\n" })?;
            Inner::open(&root)
        });
        Ok(Self { inner: Arc::new(inner.await?) })
    }

    /// Works by `settings`.
    #[must_use]
    pub fn with_settings(mut self, settings: DvcSettings) -> Self {
        Arc::make_mut(&mut self.inner).settings = settings;
        self
    }

    /// Remote `name` is the folder `prefix` of `store`, whatever the configuration says of it.
    #[must_use]
    pub fn with_remote(mut self, name: impl Into<String>, store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        let remote = Remote::Store { store, root: StorePath::from(prefix) };
        Arc::make_mut(&mut self.inner).stores.insert(name.into(), remote);
        self
    }

    /// Writes remote `name` at `url` (a URL, or a path relative to the root) into the configuration, as the default when
    /// there is none yet.
    ///
    /// # Errors
    /// `AlreadyExists` when the remote is configured, `InvalidArgument` for a name or URL that the file cannot keep.
    pub async fn add_remote(mut self, name: &str, url: &str) -> Result<Self> {
        let (name, url, inner) = (name.to_owned(), url.to_owned(), Arc::clone(&self.inner));
        let config = blocking(move || inner.add_remote(&name, &url)).await?;
        Arc::make_mut(&mut self.inner).config = config;
        Ok(self)
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Runs `work` while nobody else writes, then remembers the hashes that it found.
    async fn write<T: Send + 'static>(&self, work: impl FnOnce(&Session) -> Result<T> + Send + 'static) -> Result<T> {
        let _turn = self.inner.writing.lock().await;
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let session = Session::begin(inner)?;
            let outcome = work(&session);
            session.end();
            outcome
        })
        .await
    }
}

impl Inner {
    fn open(root: &Path) -> Result<Self> {
        let none =
            || Error::not_found(format!("{} has no .dvc: it is not the root of a DVC repository", root.display()));
        let root = root.canonicalize().map_err(|error| none().with_source(error))?;
        let directory = root.join(".dvc");
        if !directory.is_dir() {
            return Err(none());
        }
        let config = Config::load(&directory)?;
        Ok(Self {
            cache: ObjectDir::new(config.cache_dir(&directory)),
            link: config.link(),
            settings: DvcSettings::default(),
            stores: BTreeMap::new(),
            writing: Arc::default(),
            root,
            config,
        })
    }

    fn add_remote(&self, name: &str, url: &str) -> Result<Config> {
        let fits = |text: &str| !text.is_empty() && !text.contains(['\n', '\r', '"', '\'', ']', '#']);
        if !fits(name) || !fits(url) {
            return Err(Error::invalid_argument("a remote's name and url must not be empty or contain quotes, ] or #"));
        }
        if self.config.remote_url(name).is_some() {
            return Err(Error::already_exists(format!("remote \"{name}\" is configured already")));
        }
        let path = self.root.join(".dvc/config");
        let mut text = read_text(&path)?;
        if self.config.default_remote().is_none() {
            let line = format!("    remote = {name}\n");
            match text.find("[core]\n") {
                Some(at) => text.insert_str(at + "[core]\n".len(), &line),
                None => text.insert_str(0, &format!("[core]\n{line}")),
            }
        }
        // The file's own paths start from `.dvc`.
        let from_config =
            if url.contains("://") || url.starts_with('/') { url.to_owned() } else { format!("../{url}") };
        let _ = write!(text, "['remote \"{name}\"']\n    url = {from_config}\n");
        write_text(&path, &text)?;
        Config::load(&self.root.join(".dvc"))
    }

    fn scratch(&self) -> PathBuf {
        self.root.join(".dvc/tmp")
    }

    fn stats(&self) -> Result<StatCache> {
        StatCache::load(self.scratch().join("mlops-hashes"))
    }

    fn threads(&self) -> usize {
        match self.settings.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads,
        }
    }

    /// Remote `name`, or the default one.
    fn remote(&self, name: Option<&str>) -> Result<Remote> {
        let name = name.or_else(|| self.config.default_remote()).or_else(|| match self.stores.len() {
            1 => self.stores.keys().next().map(String::as_str),
            _ => None,
        });
        let name = name.ok_or_else(|| {
            Error::failed_precondition("no default remote is configured; set core.remote in .dvc/config")
        })?;
        if let Some(remote) = self.stores.get(name) {
            return Ok(remote.clone());
        }
        let url = self.config.remote_url(name);
        let url = url.ok_or_else(|| Error::not_found(format!("remote \"{name}\" is not in .dvc/config")))?;
        let Some((scheme, rest)) = url.split_once("://") else {
            return Ok(Remote::Local(ObjectDir::new(resolve(&self.root.join(".dvc"), url))));
        };
        if scheme == "file" {
            return Ok(Remote::Local(ObjectDir::new(PathBuf::from(rest))));
        }
        let fault = |error: String| {
            Error::unimplemented(format!(
                "remote \"{name}\" at {scheme}:// cannot be opened by its url here ({error}); hand its store in"
            ))
        };
        let url = url.parse::<url::Url>().map_err(|error| fault(error.to_string()))?;
        let (store, root) = object_store::parse_url(&url).map_err(|error| fault(error.to_string()))?;
        Ok(Remote::Store { store: store.into(), root })
    }
}

impl Session {
    fn begin(inner: Arc<Inner>) -> Result<Self> {
        let lock = RepoLock::acquire(&inner.scratch())?;
        inner.cache.sweep();
        let stats = Arc::new(inner.stats()?);
        Ok(Self { inner, stats, _lock: lock })
    }

    /// Hashes are derived data: failing to keep them costs time later, not the operation.
    fn end(&self) {
        if let Err(error) = self.stats.save() {
            tracing::warn!(root = %self.inner.root.display(), %error, "hashes of files were not remembered");
        }
    }
}

/// Runs blocking work off the runtime's threads.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Error::internal("work on a DVC repository panicked"))?
}
