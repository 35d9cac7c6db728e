//! Files that appear whole or not at all: written under another name in the same file system, then renamed.

use std::{
    fs::{File, Metadata},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use mlops_core::{Error, Result};

use super::fault::io_error;

const PREFIX: &str = ".mlops-";
const SUFFIX: &str = ".tmp";
const NAMES_TRIED_MAX: usize = 10_000;

/// A file without a name of its own yet; dropped, it is gone.
#[derive(Debug)]
pub(super) struct Temporary {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl Temporary {
    /// A new file in `directory`, which is made if need be.
    pub(super) fn create(directory: &Path) -> Result<Self> {
        let (path, file) =
            unused(directory, |path| File::options().read(true).write(true).create_new(true).open(path))?;
        Ok(Self { file, path, kept: false })
    }

    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn metadata(&self) -> Result<Option<Metadata>> {
        Ok(self.file.metadata().ok())
    }

    /// Gives the file its name, in place of any file that has it.
    pub(super) fn replace(self, target: &Path) -> Result<()> {
        if self.replace_unless_elsewhere(target)? {
            return Ok(());
        }
        let error = io::Error::from(io::ErrorKind::CrossesDevices);
        Err(io_error("cannot put in place", target, error))
    }

    /// As [`Temporary::replace`]; false when `target` is in another file system.
    pub(super) fn replace_unless_elsewhere(mut self, target: &Path) -> Result<bool> {
        match std::fs::rename(&self.path, target) {
            Ok(()) => {
                self.kept = true;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(false),
            Err(error) => Err(io_error("cannot put in place", target, error)),
        }
    }
}

impl Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.kept {
            // What stays behind is swept later.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes something of an unused name in `directory` by `make`.
pub(super) fn unused<T>(directory: &Path, make: impl Fn(&Path) -> io::Result<T>) -> Result<(PathBuf, T)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    std::fs::create_dir_all(directory).map_err(|error| io_error("cannot create", directory, error))?;
    for _ in 0..NAMES_TRIED_MAX {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id()));
        match make(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error("cannot create a file in", directory, error)),
            Ok(made) => return Ok((path, made)),
        }
    }
    Err(Error::resource_exhausted(format!(
        "{} is full of temporary files; remove {PREFIX}*{SUFFIX}",
        directory.display()
    )))
}

/// Whether a name is that of a file under construction.
pub(super) fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Replaces the small text file `path`, with what it holds on disk before its name is.
pub(super) fn write_text(path: &Path, text: &str) -> Result<()> {
    let mut file = Temporary::create(path.parent().unwrap_or(Path::new(".")))?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.file.sync_all());
    written.map_err(|error| io_error("cannot write", path, error))?;
    file.replace(path)
}
