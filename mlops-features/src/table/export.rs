//! The data files of one version, as a directory of Parquet files.

use std::{
    collections::BTreeSet,
    io::Write as _,
    path::{Path, PathBuf},
};

use futures::StreamExt as _;
use mlops_core::{Digest, Error, ErrorKind, Result};
use object_store::ObjectStoreExt as _;

use super::{Table, files::is_ours};
use crate::fault::is_full;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The version.
    pub version: u64,
    /// [`Table::digest`] of it.
    pub digest: Digest,
    /// Names of the files, in the order of their rows.
    pub files: Vec<String>,
}

impl Table {
    /// Writes the data files of `version` (none: the newest), byte for byte, into `directory`, which then holds them and
    /// nothing else. Files that are there already are left alone (their names say what is in them), those of other
    /// versions are removed; so exporting version after version copies what is new, and an export that was interrupted
    /// goes on.
    ///
    /// # Errors
    /// `NotFound` for an unknown version, `FailedPrecondition` when the directory holds something that is not of a
    /// table, `Unavailable` or `DataLoss` when a file cannot be read, `ResourceExhausted` for a full disk.
    pub async fn export(&self, version: Option<u64>, directory: &Path) -> Result<Export> {
        let table = self.at(version).await?;
        let version = table.version().unwrap_or(0);
        let digest = self.digest(Some(version)).await?;
        let (store, files) = (table.object_store(), self.files(&table)?);
        let named: Vec<_> = files.iter().filter_map(|file| Some((file.path.filename()?.to_owned(), file))).collect();
        let names: BTreeSet<String> = named.iter().map(|(name, _)| name.clone()).collect();
        if names.len() < files.len() {
            return Err(Error::unimplemented(format!(
                "table \"{}\" has files of one name in several directories, which an export cannot tell apart",
                self.name()
            )));
        }
        let target = directory.to_owned();
        let present = blocking(move || prepare(&target, &names)).await?;
        for (name, file) in named.iter().filter(|(name, _)| !present.contains(name)) {
            let failed = |error: object_store::Error| {
                Error::unavailable(format!("file {} of table \"{}\" cannot be read", file.path, self.name()))
                    .with_source(error)
            };
            let mut chunks = store.get(&file.path).await.map_err(failed)?.into_stream();
            let scratch = directory.join(format!(".mlops-{name}.tmp"));
            let mut output = blocking({
                let scratch = scratch.clone();
                move || std::fs::File::create(&scratch).map_err(|error| failure(&scratch, error))
            })
            .await?;
            while let Some(chunk) = chunks.next().await {
                let (chunk, path) = (chunk.map_err(failed)?, scratch.clone());
                let write = move || {
                    output.write_all(&chunk).map_err(|error| failure(&path, error))?;
                    Ok(output)
                };
                output = blocking(write).await?;
            }
            let place = directory.join(name);
            blocking(move || std::fs::rename(&scratch, &place).map_err(|error| failure(&place, error))).await?;
        }
        Ok(Export { version, digest, files: named.into_iter().map(|(name, _)| name).collect() })
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("exporting a table panicked"))?
}

fn failure(path: &Path, error: std::io::Error) -> Error {
    let kind = if is_full(&error) { ErrorKind::ResourceExhausted } else { ErrorKind::Unavailable };
    Error::new(kind, format!("cannot write {}", path.display())).with_source(error)
}

/// Makes the directory hold at most the files `names`, and says which it has.
fn prepare(directory: &Path, names: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    std::fs::create_dir_all(directory).map_err(|error| failure(directory, error))?;
    let (mut present, mut old): (_, Vec<PathBuf>) = (BTreeSet::new(), Vec::new());
    for entry in std::fs::read_dir(directory).map_err(|error| failure(directory, error))? {
        let entry = entry.map_err(|error| failure(directory, error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let unfinished = name.starts_with(".mlops-") && name.ends_with(".tmp");
        if names.contains(&name) && is_ours(&name) {
            present.insert(name);
        } else if names.contains(&name) || is_ours(&name) || unfinished {
            old.push(entry.path());
        } else {
            return Err(Error::failed_precondition(format!(
                "{} is not a file of a table; export to a directory of its own",
                entry.path().display()
            )));
        }
    }
    for path in old {
        std::fs::remove_file(&path).map_err(|error| failure(&path, error))?;
    }
    Ok(present)
}
