//! The files of a directory that DVC would take: without `.git`, `.dvc` and what `.dvcignore` names.

use std::{
    fs::{self, DirEntry},
    path::{Path, PathBuf},
};

use mlops_core::{Error, Result};

use super::{atomic::is_temporary, fault::io_error, ignore::Ignores, paths::is_private};

/// A file found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// From the directory that was walked, with `/`.
    pub(super) relative: String,
    pub(super) path: PathBuf,
}

/// What to do with links to directories, which DVC silently leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// They are someone's data and would be lost: an error.
    Refuse,
    /// Looking for DVC's own files: not followed.
    Skip,
}

/// The files below `root/start` (or `root` itself), sorted by path.
///
/// # Errors
/// `InvalidArgument` for names that are not Unicode and for what is neither file nor directory.
pub(super) fn files(root: &Path, start: &str, links: Links) -> Result<Vec<Found>> {
    let mut ignores = Ignores::default();
    let mut directory = root.to_owned();
    ignores = ignores.enter(&directory, "")?;
    let mut walked = String::new();
    for part in start.split('/').filter(|part| !part.is_empty()) {
        walked = joined(&walked, part);
        directory.push(part);
        if ignores.matches(&walked, true) {
            return Err(Error::failed_precondition(format!(
                "{walked} is named in .dvcignore; take it out of there first"
            )));
        }
        ignores = ignores.enter(&directory, &walked)?;
    }
    let mut found = Vec::new();
    let mut stack = vec![(directory, walked, ignores)];
    while let Some((directory, relative, ignores)) = stack.pop() {
        let entries = fs::read_dir(&directory).map_err(|error| io_error("cannot list", &directory, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| io_error("cannot list", &directory, error))?;
            let Some(name) = wanted(&entry, links)? else { continue };
            let (path, below) = (entry.path(), joined(&relative, &name));
            let is_directory = match kind(&entry, links)? {
                Kind::Skipped => continue,
                Kind::Directory => true,
                Kind::File => false,
            };
            if ignores.matches(&below, is_directory) {
                continue;
            }
            if is_directory {
                let inner = ignores.enter(&path, &below)?;
                stack.push((path, below, inner));
            } else {
                let relative = below.strip_prefix(start).map_or(below.as_str(), |rest| rest.trim_start_matches('/'));
                found.push(Found { relative: relative.to_owned(), path });
            }
        }
    }
    found.sort_unstable_by(|left, right| left.relative.cmp(&right.relative));
    Ok(found)
}

fn joined(base: &str, name: &str) -> String {
    if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") }
}

/// The entry's name, none when it is never data.
fn wanted(entry: &DirEntry, links: Links) -> Result<Option<String>> {
    match entry.file_name().into_string() {
        Ok(name) if is_private(&name) || is_temporary(&name) => Ok(None),
        Ok(name) => Ok(Some(name)),
        Err(_) if links == Links::Skip => Ok(None),
        Err(_) => Err(Error::invalid_argument(format!(
            "{} is not Unicode, which DVC's files cannot name; rename it",
            entry.path().display()
        ))),
    }
}

enum Kind {
    File,
    Directory,
    Skipped,
}

fn kind(entry: &DirEntry, links: Links) -> Result<Kind> {
    let path = entry.path();
    let fail = |error| io_error("cannot look at", &path, error);
    let own = entry.file_type().map_err(fail)?;
    if own.is_dir() {
        return Ok(Kind::Directory);
    }
    if own.is_file() {
        return Ok(Kind::File);
    }
    if links == Links::Skip {
        return Ok(Kind::Skipped);
    }
    if own.is_symlink() && fs::metadata(&path).is_ok_and(|target| target.is_file()) {
        return Ok(Kind::File);
    }
    Err(Error::invalid_argument(format!(
        "{} is neither a file nor a directory nor a link to a file, so it would be lost; name it in .dvcignore or move it",
        path.display()
    )))
}
