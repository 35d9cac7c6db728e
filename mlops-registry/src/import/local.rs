//! Files and directories that somebody else wrote, read with bounds.
//!
//! Invariant: links are never followed, so nothing outside the directory is read; sizes and counts have a limit. These
//! functions block, apart from [`pieces`].

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use futures::{StreamExt as _, stream};
use mlops_core::{Error, Result};
use tokio::io::AsyncReadExt as _;

use super::{report::ImportReport, source::FilePieces};

/// Most entries of one directory, and most files below one.
const ENTRIES_MAX: usize = 1_000_000;
/// How deep directories may be nested.
const DEPTH_MAX: usize = 64;
const PIECE_BYTES: usize = 1 << 20;

/// Runs a job that waits for the disk.
pub(super) async fn blocking<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(job).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::internal("reading files for an import ended early").with_source(error)),
    }
}

pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    let message = format!("{} cannot be read: {error}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(message),
        _ => Error::unavailable(message),
    }
    .with("path", path.display())
    .with_source(error)
}

/// The text of a regular file of at most `max` bytes, or why not.
pub(super) fn text(path: &Path, max: u64) -> Result<String, String> {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        return Err("it is missing or no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if max < bytes.len() as u64 {
        return Err(format!("it has more than {max} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// Names of the directories in a directory, sorted; none when it does not exist.
pub(super) fn directories(path: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = entries(path)?.into_iter().filter(|entry| entry.1.is_dir()).map(|e| e.0).collect();
    names.sort_unstable();
    Ok(names)
}

/// Path below `root` with `/` and size of every regular file, sorted; none when it does not exist. Links are noted.
pub(super) fn files(root: &Path, report: &mut ImportReport) -> Result<Vec<(String, u64)>> {
    let (mut found, mut open) = (Vec::new(), vec![(root.to_owned(), String::new(), 0_usize)]);
    while let Some((directory, prefix, depth)) = open.pop() {
        for (name, kind) in entries(&directory)? {
            let (path, below) = (directory.join(&name), format!("{prefix}{name}"));
            if kind.is_dir() && depth < DEPTH_MAX {
                open.push((path, format!("{below}/"), depth + 1));
            } else if kind.is_file() {
                let size = fs::metadata(&path).map_err(|error| unreadable(&path, error))?.len();
                found.push((below, size));
            } else {
                report.skip(path.display().to_string(), "links, devices and very deep directories are not followed");
            }
        }
        if ENTRIES_MAX < found.len() + open.len() {
            return Err(Error::resource_exhausted(format!("{} holds more than {ENTRIES_MAX} files", root.display())));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn entries(path: &Path) -> Result<Vec<(String, fs::FileType)>> {
    let listing = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(|error| unreadable(path, error))?,
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry.map_err(|error| unreadable(path, error))?;
        // A name that is not UTF-8 is none that a tracking client writes.
        let Ok(name) = entry.file_name().into_string() else { continue };
        found.push((name, entry.file_type().map_err(|error| unreadable(path, error))?));
        if ENTRIES_MAX < found.len() {
            return Err(Error::resource_exhausted(format!("{} has more than {ENTRIES_MAX} entries", path.display())));
        }
    }
    Ok(found)
}

/// A regular file piece by piece.
pub(super) async fn pieces(path: PathBuf) -> Result<FilePieces> {
    let found = tokio::fs::symlink_metadata(&path).await.map_err(|error| unreadable(&path, error))?;
    if !found.is_file() {
        return Err(Error::invalid_argument(format!("{} is no regular file", path.display())));
    }
    let file = tokio::fs::File::open(&path).await.map_err(|error| unreadable(&path, error))?;
    let next = |(mut file, path): (tokio::fs::File, PathBuf)| async move {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece).await;
        match read.map_err(|error| unreadable(&path, error))? {
            0 => Ok(None),
            _ => Ok(Some((bytes::Bytes::from(piece), (file, path)))),
        }
    };
    Ok(stream::try_unfold((file, path), next).boxed())
}

/// Whether a name stays in its directory.
pub(super) fn is_plain(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn links_are_noted_and_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("in");
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/b"), "x").unwrap();
        fs::write(directory.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(directory.path().join("secret"), root.join("link")).unwrap();
        let mut report = ImportReport::default();
        assert_eq!(files(&root, &mut report).unwrap(), [("a/b".to_owned(), 1)]);
        assert_eq!(report.notes.len(), 1);
        assert!(text(&root.join("link"), 10).is_err());
        assert!(text(&root.join("a/b"), 0).is_err());
    }

    #[test]
    fn plain_names_stay_in_their_directory() {
        assert!(!is_plain("..") && !is_plain("a/b") && is_plain("..a"));
    }
}
