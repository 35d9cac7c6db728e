//! Rollouts as files of JSON in a folder, one for each model.
//!
//! A file is `{"format": 1, "rollout": {...}}`. It is written beside the old one, synced, and renamed over it; then the
//! folder is synced. A file that ends in `.tmp` was never finished and is not read.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use mlops_core::{Digest, Error, ModelName, Result};
use serde::{Deserialize, Serialize};

use super::{Rollout, RolloutStore};
use crate::durable::sync_folder;

/// The format that is written, and the newest that is read.
const FORMAT: u32 = 1;

/// Bytes of a model's name that are seen in the name of its file.
const NAME_BYTES: usize = 60;

/// Keeps rollouts in a folder, which belongs to it.
#[derive(Debug, Clone)]
pub struct FileRolloutStore {
    folder: PathBuf,
}

#[derive(Serialize)]
struct Written<'a> {
    format: u32,
    rollout: &'a Rollout,
}

#[derive(Deserialize)]
struct Header {
    format: u32,
}

#[derive(Deserialize)]
struct Read {
    rollout: Rollout,
}

impl FileRolloutStore {
    /// Opens a folder, making it where it is not there.
    ///
    /// # Errors
    /// `Unavailable` when the folder cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|error| unavailable("made", &folder, error))?;
        Ok(Self { folder })
    }

    /// A readable beginning and a digest of all, for a model's name may have any letters.
    fn path(&self, model: &ModelName) -> PathBuf {
        let letters = model.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
        let readable: String = letters.take(NAME_BYTES).collect();
        self.folder.join(format!("{readable}-{}.json", Digest::of(model.as_str().as_bytes()).short()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let beside = path.with_extension("json.tmp");
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder(&self.folder)
    }

    fn read_each(&self) -> Result<Vec<Result<Rollout>>> {
        let entries = fs::read_dir(&self.folder).map_err(|error| unavailable("read", &self.folder, error))?;
        let mut rollouts = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| unavailable("read", &self.folder, error))?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                rollouts.push(read(&path));
            }
        }
        Ok(rollouts)
    }
}

#[async_trait]
impl RolloutStore for FileRolloutStore {
    async fn save(&self, rollout: &Rollout) -> Result<()> {
        let bytes = serde_json::to_vec(&Written { format: FORMAT, rollout })
            .map_err(|error| Error::internal("a rollout cannot be written as JSON").with_source(error))?;
        let (store, path) = (self.clone(), self.path(&rollout.model));
        blocking(move || store.write(&path, &bytes).map_err(|error| unavailable("written", &path, error))).await
    }

    async fn list(&self) -> Result<Vec<Rollout>> {
        let mut rollouts = self.list_each().await?.into_iter().collect::<Result<Vec<_>>>()?;
        rollouts.sort_by(|a, b| a.model.cmp(&b.model));
        Ok(rollouts)
    }

    async fn list_each(&self) -> Result<Vec<Result<Rollout>>> {
        let store = self.clone();
        blocking(move || store.read_each()).await
    }

    async fn remove(&self, model: &ModelName) -> Result<()> {
        let (store, path) = (self.clone(), self.path(model));
        let work = move || match fs::remove_file(&path).and_then(|()| sync_folder(&store.folder)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unavailable("removed", &path, error)),
            _ => Ok(()),
        };
        blocking(work).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::internal("keeping a rollout panicked").with_source(error)))
}

fn read(path: &Path) -> Result<Rollout> {
    let bytes = fs::read(path).map_err(|error| unavailable("read", path, error))?;
    let damaged = |error| {
        Error::new(mlops_core::ErrorKind::DataLoss, format!("{} is no stored rollout", path.display()))
            .with_source(error)
    };
    let header: Header = serde_json::from_slice(&bytes).map_err(damaged)?;
    if header.format > FORMAT {
        let (path, format) = (path.display(), header.format);
        return Err(Error::failed_precondition(format!(
            "{path} has format {format}; this release reads up to {FORMAT}"
        )));
    }
    let read: Read = serde_json::from_slice(&bytes).map_err(damaged)?;
    Ok(read.rollout)
}

fn unavailable(what: &str, path: &Path, error: io::Error) -> Error {
    Error::unavailable(format!("{} cannot be {what}", path.display())).with_source(error)
}
