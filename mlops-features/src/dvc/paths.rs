//! Paths that a file of someone else may name: only what stays inside, and never the inside of `.git` or `.dvc`.

use std::path::{Component, Path, PathBuf};

use mlops_core::{Error, Result};

use super::fault::io_error;

/// Longest path in bytes.
const PATH_BYTES_MAX: usize = 4_096;
/// Characters that YAML 1.1 and 1.2 read differently: DVC's files would not name the same file for everyone.
const NOT_IN_YAML: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// A path with `/` below some directory, checked and unchanged.
///
/// # Errors
/// `InvalidArgument` for one that is absolute, empty or too long, has an empty part, `.`, `..`, a zero byte, or a part
/// `.git` or `.dvc`.
pub(super) fn relative(path: &str) -> Result<String> {
    let fault =
        |why: &str| Err(Error::invalid_argument(format!("path \"{}\" {why}; it is not used", path.escape_debug())));
    if path.is_empty() || path.len() > PATH_BYTES_MAX {
        return fault("is empty or too long");
    }
    if path.contains('\0') || (cfg!(windows) && path.contains(['\\', ':'])) {
        return fault("has a character that no file name has");
    }
    for part in path.split('/') {
        if matches!(part, "" | "." | "..") {
            return fault("leads out of its directory");
        }
        if is_private(part) {
            return fault("lies within .git or .dvc");
        }
    }
    Ok(path.to_owned())
}

/// Whether a part of a path belongs to git or DVC, also on file systems that ignore case.
pub(super) fn is_private(part: &str) -> bool {
    part.eq_ignore_ascii_case(".git") || part.eq_ignore_ascii_case(".dvc") || part.eq_ignore_ascii_case(".hg")
}

/// `path` as DVC names an output: relative to `base`, with `/`, inside it.
///
/// # Errors
/// `InvalidArgument` as [`relative`], and for a path that is not Unicode or that YAML cannot carry.
pub(super) fn within(base: &Path, path: &Path) -> Result<String> {
    let outside =
        || Error::invalid_argument(format!("{} is outside of the repository {}", path.display(), base.display()));
    let clean = normal(&base.join(path)).ok_or_else(outside)?;
    let inside = clean.strip_prefix(base).map_err(|_| outside())?;
    let unicode = |part: Component<'_>| part.as_os_str().to_str().map(str::to_owned);
    let parts: Option<Vec<String>> = inside.components().map(unicode).collect();
    let parts = parts.ok_or_else(|| {
        Error::invalid_argument(format!("{} is not Unicode, which DVC's files cannot name", path.display()))
    })?;
    let joined = parts.join("/");
    if joined.contains(NOT_IN_YAML) {
        return Err(Error::invalid_argument(format!(
            "path \"{}\" has a line separator, which YAML readers do not agree on",
            joined.escape_debug()
        )));
    }
    relative(&joined)
}

/// `path` without `.` and `..`, by its words alone; none when `..` leads above the root.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            part => clean.push(part),
        }
    }
    Some(clean)
}

/// Makes the directories above `root/relative`, none of which may be a symbolic link: it could lead anywhere.
pub(super) fn make_parents(root: &Path, relative: &str) -> Result<()> {
    let Some((parents, _)) = relative.rsplit_once('/') else { return Ok(()) };
    let mut path = root.to_owned();
    for part in parents.split('/') {
        path.push(part);
        match std::fs::create_dir(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => check_directory(&path)?,
            Err(error) => return Err(io_error("cannot create", &path, error)),
        }
    }
    Ok(())
}

/// None of the directories above `root/relative` is a symbolic link, as far as they exist.
pub(super) fn check_parents(root: &Path, relative: &str) -> Result<()> {
    let Some((parents, _)) = relative.rsplit_once('/') else { return Ok(()) };
    let mut path = root.to_owned();
    for part in parents.split('/') {
        path.push(part);
        if std::fs::symlink_metadata(&path).is_err() {
            return Ok(());
        }
        check_directory(&path)?;
    }
    Ok(())
}

fn check_directory(path: &Path) -> Result<()> {
    let found = std::fs::symlink_metadata(path).map_err(|error| io_error("cannot look at", path, error))?;
    if found.is_dir() {
        return Ok(());
    }
    let what = if found.is_symlink() { "a symbolic link" } else { "a file" };
    Err(Error::failed_precondition(format!(
        "{} is {what} where a directory belongs; move it away and check out again",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_from_the_repository() {
        let base = Path::new("/r");
        assert_eq!(within(base, Path::new("a/./b/../c")).unwrap(), "a/c");
        assert_eq!(within(base, Path::new("/r/é x")).unwrap(), "é x");
        for path in ["..", "../r2/x", "/etc", "/r", ".", "a/../..", ".dvc/config", "x/.git/y", "a\u{2028}b"] {
            assert!(within(base, Path::new(path)).is_err(), "{path}");
        }
    }
}
