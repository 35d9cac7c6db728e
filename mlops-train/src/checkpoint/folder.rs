//! Names in the directory of checkpoints, and what the disk says.
//!
//! Invariant: a directory is whole if and only if it is named `step-NNNNNNNNNNNN`; hidden ones are
//! on their way in or out and belong to nobody once their process is dead.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use mlops_core::{Error, Result};

const STEP_PREFIX: &str = "step-";
const LOCK_FILE: &str = "lock";

/// Beginnings of the names of directories that are on their way.
const WRITING: &str = ".writing-";
const LEAVING: &str = ".leaving-";

/// What the disk refused, with the path.
pub(super) fn of_disk(path: &Path, error: io::Error) -> Error {
    let message = format!("checkpoint: {} cannot be read or written", path.display());
    let made = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::resource_exhausted(message),
        io::ErrorKind::PermissionDenied => Error::permission_denied(message),
        io::ErrorKind::NotFound => Error::data_loss(message),
        _ => Error::unavailable(message),
    };
    made.with("path", path.display()).with_source(error)
}

/// Where the checkpoint of a step lies.
pub(super) fn of_step(directory: &Path, step: u64) -> PathBuf {
    directory.join(format!("{STEP_PREFIX}{step:012}"))
}

/// Whole checkpoints, oldest first; none of a directory that does not exist.
pub(super) fn steps(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(of_disk(directory, error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| of_disk(directory, error))?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(STEP_PREFIX)?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Makes the directory, takes its lock for this process and removes what dead ones left half done.
///
/// # Errors
/// `FailedPrecondition` when another process holds the lock.
pub(super) fn open(directory: &Path) -> Result<File> {
    fs::create_dir_all(directory).map_err(|error| of_disk(directory, error))?;
    let path = directory.join(LOCK_FILE);
    let lock = File::create(&path).map_err(|error| of_disk(&path, error))?;
    match take(&lock) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::failed_precondition(format!(
                "another fit writes checkpoints into {}; give each fit its own directory",
                directory.display()
            ))
            .with("path", directory.display()));
        }
        Err(TryLockError::Error(error)) => return Err(of_disk(&path, error)),
    }
    for entry in fs::read_dir(directory).map_err(|error| of_disk(directory, error))? {
        let entry = entry.map_err(|error| of_disk(directory, error))?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(WRITING) || name.starts_with(LEAVING)) {
            fs::remove_dir_all(entry.path()).map_err(|error| of_disk(&entry.path(), error))?;
        }
    }
    Ok(lock)
}

/// How often a lock that is held is asked for, and how long in between.
const ASKED_MAX: u32 = 100;
const ASKED_AGAIN: Duration = Duration::from_millis(10);

/// Takes a lock, waiting a second for who is about to leave: a program that was just started holds
/// what its parent has open, locks included, until it runs code of its own.
fn take(lock: &File) -> std::result::Result<(), TryLockError> {
    let mut asked = 0;
    loop {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) if asked < ASKED_MAX => std::thread::sleep(ASKED_AGAIN),
            outcome => return outcome,
        }
        asked += 1;
    }
}

/// Puts files, in this order, where the checkpoint of a step lies; they are all there or none.
pub(super) fn place(directory: &Path, step: u64, files: &[(&str, &[u8])]) -> Result<PathBuf> {
    let hidden = directory.join(format!("{WRITING}{step:012}"));
    let place = of_step(directory, step);
    if hidden.exists() {
        fs::remove_dir_all(&hidden).map_err(|error| of_disk(&hidden, error))?;
    }
    fs::create_dir(&hidden).map_err(|error| of_disk(&hidden, error))?;
    for (name, bytes) in files {
        let path = hidden.join(name);
        write(&path, bytes).map_err(|error| of_disk(&path, error))?;
    }
    sync(&hidden).map_err(|error| of_disk(&hidden, error))?;
    fs::rename(&hidden, &place).map_err(|error| of_disk(&place, error))?;
    sync(directory).map_err(|error| of_disk(directory, error))?;
    Ok(place)
}

/// Takes a checkpoint away: it loses its name before it loses its files.
pub(super) fn remove(directory: &Path, place: &Path) -> Result<()> {
    take_away(directory, place).map_err(|error| of_disk(place, error))
}

/// Takes all checkpoints away, those of parts of the fit in directories below first, oldest first and each as
/// [`remove`] does, and then the directory; others may do so meanwhile.
pub(super) fn remove_all(directory: &Path) -> Result<()> {
    let unless_gone = |path: &Path, outcome: io::Result<()>| match outcome {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(of_disk(path, error)),
        _ => Ok(()),
    };
    for part in parts(directory)? {
        remove_all(&part)?;
    }
    for place in steps(directory)? {
        unless_gone(&place, take_away(directory, &place))?;
    }
    unless_gone(directory, fs::remove_dir_all(directory))
}

/// Directories that are neither a checkpoint nor on their way.
fn parts(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| of_disk(directory, error))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| of_disk(directory, error))?;
        let name = entry.file_name();
        let is_own = |name: &str| name.starts_with(STEP_PREFIX) || name.starts_with('.');
        // A link is no directory here: what it points to stays.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !name.to_str().is_some_and(is_own) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn take_away(directory: &Path, place: &Path) -> io::Result<()> {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let hidden = directory.join(format!("{LEAVING}{name}"));
    fs::rename(place, &hidden)?;
    fs::remove_dir_all(&hidden)
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    io::Write::write_all(&mut file, bytes)?;
    file.sync_all()
}

/// Makes the names in a directory durable.
#[cfg(unix)]
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Elsewhere a directory is no file that could be synchronized; names are as durable as the file
/// system makes them.
#[cfg(not(unix))]
fn sync(_directory: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_fit_are_told_from_its_checkpoints() {
        let home = tempfile::tempdir().unwrap();
        for name in ["class-0/step-000000000007", "step-000000000003", ".leaving-step-000000000001"] {
            fs::create_dir_all(home.path().join(name)).unwrap();
        }
        fs::write(home.path().join(LOCK_FILE), b"").unwrap();
        assert_eq!(parts(home.path()).unwrap(), [home.path().join("class-0")]);
        assert!(parts(&home.path().join("absent")).unwrap().is_empty());
    }
}
