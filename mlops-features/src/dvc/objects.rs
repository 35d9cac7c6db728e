//! A directory of objects: the cache, or a remote on a local disk.
//!
//! Invariant: what stands under a name was hashed on its way there, is whole and is read-only. What is found there may
//! be damaged all the same; [`ObjectDir::check`] tells before anything is made of it.

use std::{
    fs::{self, File, Metadata},
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
};

use mlops_core::{Error, Result};

use super::{
    atomic::{Temporary, is_temporary, unused},
    fault::io_error,
    hashing::{Hasher, for_each_chunk, md5_of, update_legacy},
    oid::{Layout, ObjectId},
    stat_cache::StatCache,
};

/// Where files under construction lie, outside of what DVC lists.
const SCRATCH: &str = ".mlops";

/// How a file gets from the cache into the workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// By reference where the file system can, else as bytes.
    Copy,
    /// The same inode, read-only in both places.
    Hard,
}

#[derive(Debug, Clone)]
pub(super) struct ObjectDir {
    root: PathBuf,
}

impl ObjectDir {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the object lies.
    pub(super) fn path(&self, id: &ObjectId, layout: Layout) -> PathBuf {
        let (head, tail) = id.parts();
        let mut path = self.root.join(layout.prefix());
        path.push(head);
        path.push(tail);
        path
    }

    /// The object's file, if there is one.
    pub(super) fn find(&self, id: &ObjectId, layout: Layout) -> Result<Option<(PathBuf, Metadata)>> {
        let path = self.path(id, layout);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some((path, metadata))),
            Ok(_) => match fs::metadata(&path) {
                // DVC's own symbolic links between caches.
                Ok(metadata) if metadata.is_file() => Ok(Some((path, metadata))),
                _ => Err(damaged(id, &path, "is not a file")),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("cannot look at", &path, error)),
        }
    }

    /// The object's file, whose bytes are what its name says.
    ///
    /// # Errors
    /// `NotFound` when there is none, `DataLoss` when it is damaged.
    pub(super) fn check(&self, id: &ObjectId, layout: Layout, stats: &StatCache) -> Result<PathBuf> {
        let (path, metadata) = self.find(id, layout)?.ok_or_else(|| missing(id, &self.root))?;
        // A listing was never hashed as text.
        let hashed_as = if id.is_directory() { Layout::Files } else { layout };
        if stats.md5(&path, &metadata, hashed_as)? == id.md5() {
            return Ok(path);
        }
        Err(damaged(id, &path, "does not have the content that its name says"))
    }

    /// Whether the object is there and sound.
    pub(super) fn is_sound(&self, id: &ObjectId, layout: Layout, stats: &StatCache) -> Result<bool> {
        match self.check(id, layout, stats) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), mlops_core::ErrorKind::NotFound | mlops_core::ErrorKind::DataLoss) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The bytes of a small object, checked.
    pub(super) fn read(&self, id: &ObjectId, layout: Layout, bytes_max: u64) -> Result<Vec<u8>> {
        let (path, metadata) = self.find(id, layout)?.ok_or_else(|| missing(id, &self.root))?;
        if metadata.len() > bytes_max {
            return Err(Error::resource_exhausted(format!(
                "object {id} has {} bytes; at most {bytes_max} are read as a listing",
                metadata.len()
            )));
        }
        let bytes = fs::read(&path).map_err(|error| io_error("cannot read", &path, error))?;
        if md5_of(&bytes) == id.md5() {
            return Ok(bytes);
        }
        Err(damaged(id, &path, "does not have the content that its name says"))
    }

    /// A file to write an object into before its name is known.
    pub(super) fn scratch(&self) -> Result<Temporary> {
        Temporary::create(&self.root.join(SCRATCH))
    }

    /// Gives a file from [`ObjectDir::scratch`], whose hash is `id`, its name.
    pub(super) fn install(&self, file: Temporary, id: &ObjectId, layout: Layout) -> Result<()> {
        let target = self.path(id, layout);
        make_parent(&target)?;
        protect(file.path())?;
        file.replace(&target)
    }

    /// Keeps a small object.
    pub(super) fn put(&self, id: &ObjectId, bytes: &[u8]) -> Result<()> {
        let mut file = self.scratch()?;
        file.write_all(bytes).map_err(|error| io_error("cannot write", file.path(), error))?;
        self.install(file, id, Layout::Files)
    }

    /// Takes the file at `source` in and says what it is. The file may change meanwhile: what is kept is what was
    /// hashed.
    pub(super) fn take(&self, source: &Path, link: Link, stats: &StatCache) -> Result<(ObjectId, u64)> {
        let fail = |error| io_error("cannot read", source, error);
        let before = fs::metadata(source).map_err(fail)?;
        if let Some(md5) = stats.get(&before) {
            let id = ObjectId::file(md5);
            if self.is_sound(&id, Layout::Files, stats)? {
                return Ok((id, before.len()));
            }
        }
        if link == Link::Hard && before.len() > 0 {
            return self.take_link(source, &before, stats);
        }
        let mut input = File::open(source).map_err(fail)?;
        let mut file = self.scratch()?;
        let (md5, size) = copy_hashed(&mut input, source, &mut file, Layout::Files)?;
        let id = ObjectId::file(md5);
        if unchanged(source, &before) {
            stats.record(&before, md5);
        }
        if !self.is_sound(&id, Layout::Files, stats)? {
            self.install(file, &id, Layout::Files)?;
        }
        Ok((id, size))
    }

    /// The workspace's file becomes the object: both names, one inode, read-only.
    fn take_link(&self, source: &Path, before: &Metadata, stats: &StatCache) -> Result<(ObjectId, u64)> {
        protect(source)?;
        let md5 = stats.md5(source, before, Layout::Files)?;
        if !unchanged(source, before) {
            return Err(Error::conflict(format!("{} changed while it was added; add it again", source.display())));
        }
        let id = ObjectId::file(md5);
        let target = self.path(&id, Layout::Files);
        if self.is_sound(&id, Layout::Files, stats)? {
            return Ok((id, before.len()));
        }
        make_parent(&target)?;
        let (path, ()) = unused(&self.root.join(SCRATCH), |path| fs::hard_link(source, path))?;
        fs::rename(&path, &target).map_err(|error| io_error("cannot put in place", &target, error))?;
        Ok((id, before.len()))
    }

    /// Copies an object from `other`, hashing it on the way.
    pub(super) fn copy_from(&self, other: &Self, id: &ObjectId, layout: Layout) -> Result<u64> {
        let (path, _) = other.find(id, layout)?.ok_or_else(|| missing(id, &other.root))?;
        let mut input = File::open(&path).map_err(|error| io_error("cannot read", &path, error))?;
        let mut file = self.scratch()?;
        let hashed_as = if id.is_directory() { Layout::Files } else { layout };
        let (md5, size) = copy_hashed(&mut input, &path, &mut file, hashed_as)?;
        if md5 != id.md5() {
            return Err(damaged(id, &path, "does not have the content that its name says"));
        }
        self.install(file, id, layout)?;
        Ok(size)
    }

    /// Removes files under construction that a killed process left behind more than a day ago.
    pub(super) fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.root.join(SCRATCH)) else { return };
        let Some(now) = self.scratch().ok().and_then(|file| file.metadata().ok()?).and_then(|m| m.modified().ok())
        else {
            return;
        };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_temporary)) {
            let modified = entry.metadata().ok().and_then(|metadata| metadata.modified().ok());
            let age = modified.and_then(|modified| now.duration_since(modified).ok());
            if age.is_some_and(|age| age.as_secs() > 86_400) {
                // Another process may sweep as well.
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

pub(super) fn missing(id: &ObjectId, root: &Path) -> Error {
    Error::not_found(format!("object {id} is not in {}; pull it, or add the data again", root.display()))
        .with("object", id)
}

fn damaged(id: &ObjectId, path: &Path, how: &str) -> Error {
    Error::data_loss(format!(
        "object {id} {how}: {}; remove the file, then pull it or add the data again",
        path.display()
    ))
    .with("object", id)
}

fn unchanged(path: &Path, before: &Metadata) -> bool {
    let same = |now: &Metadata| now.len() == before.len() && now.modified().ok() == before.modified().ok();
    fs::metadata(path).is_ok_and(|now| same(&now))
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|error| io_error("cannot create", parent, error))
}

/// Makes a file read-only for everyone.
pub(super) fn protect(path: &Path) -> Result<()> {
    set_mode(path, 0o444)
}

#[cfg(unix)]
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| io_error("cannot change the permissions of", path, error))
}

#[cfg(not(unix))]
pub(super) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let fail = |error| io_error("cannot change the permissions of", path, error);
    let mut permissions = fs::metadata(path).map_err(fail)?.permissions();
    permissions.set_readonly(mode & 0o200 == 0);
    fs::set_permissions(path, permissions).map_err(fail)
}

/// Writes the object into `file`, and nothing else: one known to be sound is cloned or copied by the kernel, any other
/// is hashed on the way.
pub(super) fn copy_checked(
    cache: &ObjectDir,
    id: &ObjectId,
    layout: Layout,
    stats: &StatCache,
    file: &mut Temporary,
) -> Result<()> {
    let (path, metadata) = cache.find(id, layout)?.ok_or_else(|| missing(id, cache.root()))?;
    let mut input = File::open(&path).map_err(|error| io_error("cannot read", &path, error))?;
    if layout == Layout::Files && stats.get(&metadata) == Some(id.md5()) {
        if clone_file(file.file(), &input) {
            return Ok(());
        }
        let copied = std::io::copy(&mut input, file.file());
        return copied.map(drop).map_err(|error| io_error("cannot write", file.path(), error));
    }
    let (md5, _) = copy_hashed(&mut input, &path, file, layout)?;
    if md5 != id.md5() {
        return Err(damaged(id, &path, "does not have the content that its name says"));
    }
    if layout == Layout::Files {
        stats.record(&metadata, md5);
    }
    Ok(())
}

/// Copies all of `input`, by reference where the file system can, and hashes what was copied.
fn copy_hashed(input: &mut File, path: &Path, file: &mut Temporary, layout: Layout) -> Result<([u8; 16], u64)> {
    let (mut hasher, mut size) = (Hasher::default(), 0);
    let mut update = |chunk: &[u8]| {
        size += chunk.len() as u64;
        match layout {
            Layout::Files => hasher.update(chunk),
            Layout::Legacy => update_legacy(&mut hasher, chunk),
        }
    };
    if clone_file(file.file(), input) {
        let at = file.path().to_owned();
        let file = file.file();
        file.rewind().map_err(|error| io_error("cannot read", &at, error))?;
        for_each_chunk(file, &at, |chunk| {
            update(chunk);
            Ok(())
        })?;
    } else {
        for_each_chunk(input, path, |chunk| {
            update(chunk);
            file.write_all(chunk).map_err(|error| io_error("cannot write", file.path(), error))
        })?;
    }
    Ok((hasher.finish(), size))
}

/// Shares the blocks of `source` with `target`; false where the file system cannot.
#[cfg(target_os = "linux")]
fn clone_file(target: &File, source: &File) -> bool {
    rustix::fs::ioctl_ficlone(target, source).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn clone_file(_: &File, _: &File) -> bool {
    false
}
