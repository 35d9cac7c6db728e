//! What is predicted: a file, a folder of files, a Delta table, or files that the caller names.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use mlops_core::{Error, ErrorKind, Result};

use super::{
    delta,
    fault::{about, of_disk},
};

/// Most parts of one job.
const PARTS_MAX: usize = 1 << 20;
/// Deepest nesting of folders; beyond, links may run in a circle.
const DEPTH_MAX: usize = 32;

/// Where the rows come from. A path is taken for what lies there: a Parquet file, a Delta table (a folder with
/// `_delta_log`), or a folder whose files ending in `.parquet` or `.pq` are read at any depth; names that begin with
/// `.` or `_` are left out.
///
/// ```
/// use mlops_serve::BatchInput;
///
/// let whole = BatchInput::from("data/clicks");
/// let some = BatchInput::files("data/clicks", ["2026/01.parquet", "2026/02.parquet"]);
/// # drop((whole, some));
/// ```
#[derive(Debug, Clone)]
pub struct BatchInput {
    root: PathBuf,
    files: Option<Vec<PathBuf>>,
}

impl BatchInput {
    /// Exactly these files, given by their paths below `root`, such as the active files of a table.
    pub fn files(root: impl Into<PathBuf>, files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { root: root.into(), files: Some(files.into_iter().map(Into::into).collect()) }
    }
}

impl<P: Into<PathBuf>> From<P> for BatchInput {
    fn from(path: P) -> Self {
        Self { root: path.into(), files: None }
    }
}

/// An input file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Part {
    /// Its path below the root, joined by `/`: what its output is called.
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// The parts of an input and the folder whose files they are, when all of its files are.
#[derive(Debug)]
pub(super) struct Parts {
    /// In order of their names.
    pub(super) parts: Vec<Part>,
    /// None for a single file.
    pub(super) folder: Option<PathBuf>,
}

impl BatchInput {
    /// Lists the parts.
    ///
    /// # Errors
    /// `NotFound` when the path does not exist; `InvalidArgument` for names that cannot be kept and for a folder without
    /// a file; `FailedPrecondition` for a Delta table that needs more than this reader knows.
    pub(super) fn parts(&self) -> Result<Parts> {
        let (names, folder): (BTreeSet<String>, _) = match &self.files {
            Some(files) => (files.iter().map(|file| plain(file)).collect::<Result<_>>()?, Some(&self.root)),
            None if fs::metadata(&self.root).map_err(|error| of_disk(&self.root, error))?.is_file() => {
                let name = self.root.file_name().map(Path::new).map(plain).transpose()?;
                let path = self.root.clone();
                return Ok(Parts {
                    parts: name.into_iter().map(|name| Part { name, path: path.clone() }).collect(),
                    folder: None,
                });
            }
            None if self.root.join(delta::LOG).is_dir() => (delta::active_files(&self.root)?, Some(&self.root)),
            None => (parquet_files(&self.root)?, Some(&self.root)),
        };
        if names.is_empty() {
            return Err(about(ErrorKind::InvalidArgument, &self.root, "is a folder without a Parquet file"));
        }
        if names.len() > PARTS_MAX {
            let found = names.len();
            return Err(Error::invalid_argument(format!("the input has {found} files; at most {PARTS_MAX} are read")));
        }
        let part = |name: String| Part { path: self.root.join(&name), name };
        Ok(Parts { parts: names.into_iter().map(part).collect(), folder: folder.cloned() })
    }
}

/// A path below a root in the form of a part's name.
///
/// # Errors
/// `InvalidArgument` when it is not plain and relative, or no text.
pub(super) fn plain(path: &Path) -> Result<String> {
    let part = |component: Component<'_>| match component {
        Component::Normal(part) => part.to_str().map(str::to_owned),
        _ => None,
    };
    let parts: Option<Vec<String>> = path.components().map(part).collect();
    parts.filter(|parts| !parts.is_empty()).map(|parts| parts.join("/")).ok_or_else(|| {
        Error::invalid_argument(format!("input file {path:?} must be named by a relative path without .. in UTF-8"))
    })
}

/// The names of the Parquet files in `root`, at any depth.
pub(super) fn parquet_files(root: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut open = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = open.pop() {
        let path = root.join(&folder);
        for entry in fs::read_dir(&path).map_err(|error| of_disk(&path, error))? {
            let entry = entry.map_err(|error| of_disk(&path, error))?;
            let relative = folder.join(entry.file_name());
            if entry.file_name().as_encoded_bytes().first().is_some_and(|first| matches!(first, b'.' | b'_')) {
                continue;
            }
            let entry = entry.path();
            if fs::metadata(&entry).map_err(|error| of_disk(&entry, error))?.is_dir() {
                if depth == DEPTH_MAX {
                    let text = format!("lies deeper than {DEPTH_MAX} folders");
                    return Err(about(ErrorKind::InvalidArgument, &entry, text));
                }
                open.push((relative, depth + 1));
            } else if entry.extension().is_some_and(|end| end == "parquet" || end == "pq") {
                found.insert(plain(&relative)?);
            }
        }
    }
    Ok(found)
}
