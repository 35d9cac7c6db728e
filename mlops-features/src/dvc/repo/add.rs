//! Taking files and directories in.

use std::{fs, path::Path};

use mlops_core::{Error, Result};

use super::{DvcRepo, Session};
use crate::{
    dvc::{
        atomic::write_text,
        dvc_file::{DvcFile, dvc_path, is_dvc_file},
        fault::io_error,
        lock_file,
        objects::Link,
        oid::{Layout, ObjectId},
        output::Output,
        params::read_text,
        paths::check_parents,
        stage,
        tree::{Tree, TreeEntry},
        walk::{Found, Links, files},
        yaml::Node,
    },
    workers::spread,
};

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// The `.dvc` file, from the root.
    pub file: String,
    /// What it says.
    pub output: Output,
}

/// What to do with the content that is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// Into the cache.
    InCache,
    /// Nowhere: only its hash is wanted.
    No,
}

impl DvcRepo {
    /// Takes the file or directory at `path` into the cache and writes its `.dvc` file, where git is used also a line
    /// in `.gitignore`. Adding what did not change changes nothing; notes in an existing `.dvc` file stay.
    ///
    /// Content reaches the cache before the `.dvc` file names it, without a flush to disk of its own: after a power
    /// cut an object may be torn, which its hash tells, and adding the file again mends it.
    ///
    /// # Errors
    /// `NotFound` without such a file, `InvalidArgument` for a path outside of the repository and for what DVC would
    /// lose (links to directories, names that are not Unicode), `FailedPrecondition` for what is tracked as part of
    /// something else, `Unavailable` while another process writes, `ResourceExhausted` for a full disk.
    #[tracing::instrument(skip_all, fields(path = %path.as_ref().display()))]
    pub async fn add(&self, path: impl AsRef<Path>) -> Result<Added> {
        let path = path.as_ref().to_owned();
        self.write(move |session| {
            let path = session.inner.relative(&path)?;
            session.add(&path, &[])
        })
        .await
    }

    /// As [`DvcRepo::add`], with `meta` noted in the file.
    pub(in crate::dvc) async fn add_with_meta(&self, path: &Path, meta: Vec<(&'static str, Node)>) -> Result<Added> {
        let path = path.to_owned();
        self.write(move |session| {
            let path = session.inner.relative(&path)?;
            session.add(&path, &meta)
        })
        .await
    }
}

impl Session {
    fn add(&self, path: &str, meta: &[(&str, Node)]) -> Result<Added> {
        if is_dvc_file(path) {
            return Err(Error::invalid_argument(format!(
                "{path} is a DVC file itself; add the data that it describes"
            )));
        }
        self.check_not_inside(path)?;
        let output = self.look(path, Keep::InCache)?;
        let file = dvc_path(path);
        let target = self.inner.root.join(&file);
        let old = if target.is_file() { Some(self.inner.dvc_file(&file)?) } else { None };
        let text = DvcFile::updated(old.as_ref(), &output, meta)?;
        check_reads_back(&file, &text, &output)?;
        if old.is_none() || read_text(&target)? != text {
            write_text(&target, &text)?;
        }
        self.ignore_in_git(path)?;
        Ok(Added { file, output })
    }

    /// No directory above is tracked itself.
    fn check_not_inside(&self, path: &str) -> Result<()> {
        let above = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        let tracked = above.map(dvc_path).find(|file| self.inner.root.join(file).is_file());
        match tracked {
            None => Ok(()),
            Some(file) => Err(Error::failed_precondition(format!("{path} is part of what {file} tracks; add that"))),
        }
    }

    /// What is at `path`, as an output.
    pub(super) fn look(&self, path: &str, keep: Keep) -> Result<Output> {
        check_parents(&self.inner.root, path)?;
        let target = self.inner.root.join(path);
        let fail = |error| io_error("cannot look at", &target, error);
        let is_link = fs::symlink_metadata(&target).map_err(fail)?.is_symlink();
        let metadata = fs::metadata(&target).map_err(fail)?;
        if is_link && metadata.is_dir() {
            return Err(Error::invalid_argument(format!("{path} is a link to a directory; name the directory itself")));
        }
        let mut output = Output {
            path: path.to_owned(),
            id: ObjectId::file([0; 16]),
            layout: Layout::Files,
            size: None,
            files: None,
            executable: false,
            remote: None,
            cached: true,
            pushed: true,
        };
        if metadata.is_dir() {
            let (tree, size) = self.look_at_directory(path, keep)?;
            let (id, bytes) = tree.to_object();
            if keep == Keep::InCache && !self.inner.cache.is_sound(&id, Layout::Files, &self.stats)? {
                self.inner.cache.put(&id, &bytes)?;
            }
            (output.id, output.size, output.files) = (id, Some(size), Some(tree.entries().len() as u64));
            return Ok(output);
        }
        if !metadata.is_file() {
            return Err(Error::invalid_argument(format!("{path} is neither a file nor a directory")));
        }
        let (id, size) = self.look_at_file(&target, keep)?;
        (output.id, output.size, output.executable) = (id, Some(size), is_executable(&metadata));
        Ok(output)
    }

    fn look_at_file(&self, path: &Path, keep: Keep) -> Result<(ObjectId, u64)> {
        if keep == Keep::InCache {
            // Sharing an inode would change a link's target, or take the right to run a program.
            let shared = fs::symlink_metadata(path).is_ok_and(|own| !own.is_symlink() && !is_executable(&own));
            let link = if shared { self.inner.link } else { Link::Copy };
            return self.inner.cache.take(path, link, &self.stats);
        }
        let metadata = fs::metadata(path).map_err(|error| io_error("cannot look at", path, error))?;
        let md5 = self.stats.md5(path, &metadata, Layout::Files)?;
        Ok((ObjectId::file(md5), metadata.len()))
    }

    /// The listing and the bytes of all files.
    fn look_at_directory(&self, path: &str, keep: Keep) -> Result<(Tree, u64)> {
        let found = files(&self.inner.root, path, Links::Refuse)?;
        let own = |file: &&Found| {
            let name = file.relative.rsplit('/').next().unwrap_or_default();
            is_dvc_file(name) || name == lock_file::FILE || name == stage::FILE
        };
        if let Some(file) = found.iter().find(own) {
            return Err(Error::failed_precondition(format!(
                "{path}/{} is a DVC file within the data; DVC does not allow that",
                file.relative
            )));
        }
        let entry = |file: &Found| {
            let (id, size) = self.look_at_file(&file.path, keep)?;
            Ok((TreeEntry { path: file.relative.clone(), md5: id.md5() }, size))
        };
        let looked = spread(self.inner.threads(), &found, entry)?;
        let size = looked.iter().map(|(_, size)| size).sum();
        Ok((Tree::new(looked.into_iter().map(|(entry, _)| entry).collect()), size))
    }

    /// Adds the output's name to `.gitignore` beside it, where git is used.
    pub(super) fn ignore_in_git(&self, path: &str) -> Result<()> {
        let root = &self.inner.root;
        if self.inner.config.no_scm() || !root.ancestors().any(|directory| directory.join(".git").exists()) {
            return Ok(());
        }
        let (directory, name) = path.rsplit_once('/').map_or(("", path), |(directory, name)| (directory, name));
        let file = root.join(directory).join(".gitignore");
        let mut text = if file.is_file() { read_text(&file)? } else { String::new() };
        let line = format!("/{}", escaped_for_git(name));
        if text.lines().any(|known| known.trim() == line) {
            return Ok(());
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&line);
        text.push('\n');
        write_text(&file, &text)
    }
}

/// The file says what is meant. DVC's YAML folds long lines, and a name with several spaces at the fold comes back with
/// one: whoever reads the file would look for another name.
fn check_reads_back(file: &str, text: &str, output: &Output) -> Result<()> {
    let read = DvcFile::parse(file, text.to_owned())?.outputs()?;
    if read.iter().any(|known| known.path == output.path && known.id == output.id) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "path \"{}\" cannot be kept by DVC's files: they would name another one; rename it",
        output.path.escape_debug()
    )))
}

/// A name as a pattern that means it alone.
fn escaped_for_git(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(character, '!' | '#' | '*' | '?' | '[' | ']' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

#[cfg(unix)]
pub(super) fn is_executable(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o111 != 0
}

#[cfg(not(unix))]
pub(super) fn is_executable(_: &fs::Metadata) -> bool {
    false
}
