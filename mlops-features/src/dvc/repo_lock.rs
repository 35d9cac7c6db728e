//! One writer at a time: the lock that DVC itself takes, `flock` on `.dvc/tmp/lock`.

use std::{
    fs::{File, TryLockError},
    io::Write as _,
    path::Path,
};

use mlops_core::{Error, Result};

use super::fault::io_error;

/// Holds the lock until dropped.
#[derive(Debug)]
pub(super) struct RepoLock {
    _file: File,
}

impl RepoLock {
    /// # Errors
    /// `Unavailable` while DVC or another process holds it.
    pub(super) fn acquire(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory).map_err(|error| io_error("cannot create", directory, error))?;
        let path = directory.join("lock");
        let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|error| io_error("cannot open", &path, error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::unavailable(format!(
                    "another process works on the repository and holds {}; try again when it is done",
                    path.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(io_error("cannot lock", &path, error)),
        }
        // As DVC's lock library does, for people who wonder who holds it.
        let noted = file.set_len(0).and_then(|()| writeln!(file, " {}", std::process::id()));
        noted.map_err(|error| io_error("cannot write", &path, error))?;
        Ok(Self { _file: file })
    }
}
