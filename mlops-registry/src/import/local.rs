//! Files and directories that somebody else wrote, read with bounds.
//!
//! Invariant: links are never followed, so nothing outside the directory is read; sizes and counts have a limit. Functions
//! that are not async block.

use std::{
    fs,
    io::{self, BufRead as _, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt as _, stream};
use mlops_core::{Error, Result};
use tokio::io::AsyncReadExt as _;

use super::{
    report::ImportReport,
    source::{FilePieces, SourceFile},
};
use crate::{artifacts::check_path, tracking::RunRecord};

/// Most entries of one directory, and most files below one.
const ENTRIES_MAX: usize = 1_000_000;
/// How deep directories may be nested.
const DEPTH_MAX: usize = 64;
const PIECE_BYTES: usize = 1 << 20;

/// Runs a job that waits for the disk.
async fn blocking<T: Send + 'static>(job: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
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

/// A directory that exists, without links in its path.
pub(super) fn root(directory: &Path) -> Result<PathBuf> {
    let root = directory.canonicalize().map_err(|error| unreadable(directory, error))?;
    if !root.is_dir() {
        return Err(Error::not_found(format!("{} is no directory", root.display())));
    }
    Ok(root)
}

/// Notes records of a kind that no import reads.
pub(super) fn note_unread(place: &str, count: u64, what: &str, report: &mut ImportReport) {
    if 0 < count {
        report.skip(place, format!("{count} {what} are not imported; this kind of record is not read"));
    }
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
    names(path, fs::FileType::is_dir)
}

/// Names of the regular files in a directory, sorted; none when it does not exist.
pub(super) fn file_names(path: &Path) -> Result<Vec<String>> {
    names(path, fs::FileType::is_file)
}

fn names(path: &Path, wanted: impl Fn(&fs::FileType) -> bool) -> Result<Vec<String>> {
    let entries = entries(path)?.into_iter().filter(|(_, kind)| wanted(kind));
    let mut names: Vec<String> = entries.map(|(name, _)| name).collect();
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

/// [`files`] without blocking.
pub(super) async fn files_apart(root: PathBuf, report: &mut ImportReport) -> Result<Vec<SourceFile>> {
    let found = reporting(report, move |report| files(&root, report)).await?;
    Ok(found.into_iter().map(|(path, size)| SourceFile { path, size }).collect())
}

/// [`files`] of a run in its directory; none and a note when they are out of reach.
pub(super) async fn files_of(
    run: &RunRecord,
    directory: Result<PathBuf, String>,
    report: &mut ImportReport,
) -> Result<Vec<SourceFile>> {
    match directory {
        Ok(directory) => files_apart(directory, report).await,
        Err(reason) => {
            report.skip(format!("files of run {}", run.id), reason);
            Ok(Vec::new())
        }
    }
}

/// One of those files, piece by piece.
pub(super) async fn open(directory: Result<PathBuf, String>, path: &str) -> Result<FilePieces> {
    check_path("artifact path", path)?;
    pieces(directory.map_err(Error::not_found)?.join(path)).await
}

/// The listing that was made last, so that a directory that is read page by page is listed once.
#[derive(Debug, Default)]
pub(super) struct LastListing<T>(Mutex<Option<(PathBuf, Arc<[T]>)>>);

impl<T> LastListing<T> {
    /// The listing of a directory: a new one for the first page, which has no token, and the same for those behind it.
    pub(super) fn of(
        &self,
        path: &Path,
        token: Option<&str>,
        list: impl FnOnce(&Path) -> Result<Vec<T>>,
    ) -> Result<Arc<[T]>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, listing)) if token.is_some() && of == path => Ok(Arc::clone(listing)),
            _ => {
                let listing: Arc<[T]> = list(path)?.into();
                *last = Some((path.to_owned(), Arc::clone(&listing)));
                Ok(listing)
            }
        }
    }
}

/// A line of a file, with its end; what is longer than allowed comes in parts.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    /// Where it begins.
    pub(super) at: u64,
    /// Where the next one begins.
    pub(super) end: u64,
}

/// The lines of a file from a place on.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: io::BufReader<fs::File>,
    line: Vec<u8>,
    at: u64,
    max: u64,
}

impl Lines {
    /// From `at` on, at most `max` bytes at once.
    pub(super) fn open(path: &Path, at: u64, max: u64) -> Result<Self> {
        let open = || -> io::Result<_> {
            let mut file = io::BufReader::new(fs::File::open(path)?);
            file.seek(SeekFrom::Start(at))?;
            Ok(file)
        };
        let file = open().map_err(|error| unreadable(path, error))?;
        Ok(Self { path: path.to_owned(), file, line: Vec::new(), at, max })
    }

    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>> {
        self.line.clear();
        let read = self.file.by_ref().take(self.max).read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| unreadable(&self.path, error))?;
        let at = self.at;
        self.at += read as u64;
        Ok((read != 0).then_some(Line { bytes: &self.line, at, end: self.at }))
    }

    /// Where the next line begins.
    pub(super) fn at(&self) -> u64 {
        self.at
    }
}

/// Runs a job that waits for the disk and adds to the report.
pub(super) async fn reporting<T: Send + 'static>(
    report: &mut ImportReport,
    job: impl FnOnce(&mut ImportReport) -> Result<T> + Send + 'static,
) -> Result<T> {
    let mut taken = std::mem::take(report);
    let (outcome, taken) = blocking(move || {
        let outcome = job(&mut taken);
        Ok((outcome, taken))
    })
    .await?;
    *report = taken;
    outcome
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

/// The directory below `root` that MLflow's artifact URI names, or why its files are out of reach. What the MLflow server
/// keeps for its clients (`mlflow-artifacts:`) lies below `root` by its path.
pub(super) fn artifact_directory(root: &Path, uri: &str) -> Result<PathBuf, String> {
    let elsewhere = || format!("its files are at {uri}, which is not below {}", root.display());
    let named = match uri.split_once(':') {
        Some(("mlflow-artifacts", rest)) => {
            // With `//`, a host stands before the path.
            let path = match rest.strip_prefix("//") {
                Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
                None => rest,
            };
            root.join(path.trim_start_matches('/'))
        }
        Some(("file", _)) => {
            let url = url::Url::parse(uri).map_err(|error| format!("artifact URI {uri:?}: {error}"))?;
            url.to_file_path().map_err(|()| elsewhere())?
        }
        _ if uri.starts_with('/') => PathBuf::from(uri),
        _ => return Err(elsewhere()),
    };
    match named.canonicalize() {
        Ok(found) if found.starts_with(root) => Ok(found),
        Ok(_) => Err(elsewhere()),
        // Clients make the directory with the first file; what climbs is not there either.
        Err(error) if error.kind() == io::ErrorKind::NotFound && named.starts_with(root) => Ok(named),
        Err(_) => Err(elsewhere()),
    }
}

/// A regular file piece by piece.
async fn pieces(path: PathBuf) -> Result<FilePieces> {
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
    fn artifact_uris_stay_below_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap().join("in it");
        fs::create_dir_all(root.join("1/r/artifacts")).unwrap();
        fs::create_dir_all(root.parent().unwrap().join("out")).unwrap();
        let inside = url::Url::from_file_path(root.join("1/r/artifacts")).unwrap().to_string();
        for uri in [inside.as_str(), root.join("1/r/artifacts").to_str().unwrap(), "mlflow-artifacts:/1/r/artifacts"] {
            assert_eq!(artifact_directory(&root, uri), Ok(root.join("1/r/artifacts")), "{uri}");
        }
        let outside = url::Url::from_file_path(root.parent().unwrap().join("out")).unwrap().to_string();
        for uri in ["s3://b/r", "mlflow-artifacts:/../out", "file:///etc", "relative", outside.as_str()] {
            assert!(artifact_directory(&root, uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn plain_names_stay_in_their_directory() {
        assert!(!is_plain("..") && !is_plain("a/b") && is_plain("..a"));
    }
}
