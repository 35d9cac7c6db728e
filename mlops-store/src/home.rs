//! A home directory: where an embedded deployment keeps everything, used by one process at a time.
//!
//! Invariant: while a [`Home`] lives, no other process holds the same directory, and the
//! directory's format is one this program reads. The lock is the operating system's, so it is
//! gone with the process however that ends.

use std::{
    fs::{self, File, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
};

use mlops_core::{Error, Result};

/// The directory layout that this version writes.
pub const FORMAT_VERSION: u32 = 1;

const FORMAT_FILE: &str = "format";
const LOCK_FILE: &str = "lock";

/// A locked home directory.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("home");
/// let home = mlops_store::Home::open(&path)?;
/// assert!(mlops_store::Home::open(&path).unwrap_err().message().contains("in use"));
/// drop(home);
/// mlops_store::Home::open(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    // Held for its lock.
    _lock: File,
}

impl Home {
    /// Creates or opens the directory and locks it.
    ///
    /// # Errors
    /// `FailedPrecondition` when another process uses it, when its format is newer, or when it is
    /// a directory with other content; `Unavailable` when it cannot be created or read. Nothing
    /// is changed then.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::unavailable(format!("home directory {} cannot be used: {error}", path.display()))
                .with("path", path.display())
                .with_source(error)
        };
        if path.exists() && !path.is_dir() {
            return Err(Error::failed_precondition(format!("home {} is a file; name a directory", path.display())));
        }
        if !path.join(FORMAT_FILE).exists() {
            refuse_foreign(path).map_err(failed)??;
        }
        fs::create_dir_all(path).map_err(failed)?;
        let lock =
            File::options().create(true).truncate(false).write(true).open(path.join(LOCK_FILE)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::failed_precondition(format!(
                    "home {} is in use by another process; stop it or choose another directory",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        check_format(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path within the directory.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

/// Never settles in a directory that belongs to something else.
fn refuse_foreign(path: &Path) -> std::io::Result<Result<()>> {
    if !path.exists() {
        return Ok(Ok(()));
    }
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        if name != LOCK_FILE && name != format!("{FORMAT_FILE}.new").as_str() {
            return Ok(Err(Error::failed_precondition(format!(
                "{} is not empty and no mlops home (it has {}, but no file named {FORMAT_FILE}); choose another directory",
                path.display(),
                name.display()
            ))));
        }
    }
    Ok(Ok(()))
}

fn check_format(path: &Path) -> Result<()> {
    let file = path.join(FORMAT_FILE);
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return write_format(path),
        Err(error) => {
            return Err(Error::unavailable(format!("{} cannot be read: {error}", file.display())).with_source(error));
        }
    };
    match text.trim().strip_prefix("mlops-home ").and_then(|number| number.parse::<u32>().ok()) {
        Some(version) if version <= FORMAT_VERSION => Ok(()),
        Some(version) => Err(Error::failed_precondition(format!(
            "home {} has format {version}, this version reads up to {FORMAT_VERSION}; upgrade mlops or choose another directory",
            path.display()
        ))),
        None => Err(Error::data_loss(format!("{} does not say \"mlops-home <number>\"", file.display()))),
    }
}

/// Written aside and renamed, so that it is never seen half.
fn write_format(path: &Path) -> Result<()> {
    let aside = path.join(format!("{FORMAT_FILE}.new"));
    let write = || {
        let mut file = File::create(&aside)?;
        writeln!(file, "mlops-home {FORMAT_VERSION}")?;
        file.sync_all()?;
        fs::rename(&aside, path.join(FORMAT_FILE))
    };
    write().map_err(|error: std::io::Error| {
        Error::unavailable(format!("home {} cannot be written: {error}", path.display())).with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_its_own_and_leaves_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "x").unwrap();
        let error = Home::open(dir.path()).unwrap_err();
        assert!(error.message().contains("thesis.txt"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(Home::open(&dir.path().join("thesis.txt")).unwrap_err().message().contains("is a file"));
    }

    #[test]
    fn refuses_a_newer_or_damaged_format() {
        let dir = tempfile::tempdir().unwrap();
        drop(Home::open(dir.path()).unwrap());
        fs::write(dir.path().join(FORMAT_FILE), "mlops-home 2\n").unwrap();
        assert!(Home::open(dir.path()).unwrap_err().message().contains("format 2"));
        fs::write(dir.path().join(FORMAT_FILE), "garbage").unwrap();
        assert!(Home::open(dir.path()).unwrap_err().message().contains("does not say"));
    }
}
