//! What differs between the workspace, the cache and the records.

use std::path::Path;

use mlops_core::{ErrorKind, Result};

use super::{DvcRepo, Session, add::Keep, targets::owned};
use crate::dvc::{
    hashing::file_md5,
    oid::{Layout, ObjectId},
    output::Output,
    tree::{TREE_BYTES_MAX, Tree, TreeEntry},
    walk::{Links, files},
};

/// How the workspace compares with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workspace {
    /// As recorded.
    Same,
    /// Other content.
    Modified,
    /// Nothing there.
    Missing,
}

/// One output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputStatus {
    /// What is recorded.
    pub output: Output,
    /// The workspace.
    pub workspace: Workspace,
    /// Whether all of it is in the cache. An output that is not kept there counts as if it were.
    pub cached: bool,
}

impl OutputStatus {
    /// Nothing to do.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.workspace == Workspace::Same && self.cached
    }
}

impl DvcRepo {
    /// How the outputs at `paths` (all when there are none) stand. Presence in the cache is looked up, not hashed.
    ///
    /// # Errors
    /// `NotFound` for what is not tracked, `DataLoss` for a damaged listing of a directory.
    #[tracing::instrument(skip_all)]
    pub async fn status(&self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Vec<OutputStatus>> {
        let paths = owned(paths);
        self.write(move |session| {
            session.inner.tracked(&paths)?.into_iter().map(|output| session.status(output)).collect()
        })
        .await
    }
}

impl Session {
    fn status(&self, output: Output) -> Result<OutputStatus> {
        let workspace = match self.current(&output) {
            Ok(id) if id == output.id => Workspace::Same,
            Ok(_) => Workspace::Modified,
            Err(error) if error.kind() == ErrorKind::NotFound => Workspace::Missing,
            Err(error) => return Err(error),
        };
        let cached = !output.cached || self.is_cached(&output)?;
        Ok(OutputStatus { output, workspace, cached })
    }

    /// What is in the workspace now, hashed as it was recorded.
    fn current(&self, output: &Output) -> Result<ObjectId> {
        if output.layout == Layout::Files {
            return Ok(self.look(&output.path, Keep::No)?.id);
        }
        let target = self.inner.root.join(&output.path);
        if !target.is_dir() {
            return Ok(ObjectId::file(file_md5(&target, Layout::Legacy)?));
        }
        let mut entries = Vec::new();
        for file in files(&self.inner.root, &output.path, Links::Skip)? {
            entries.push(TreeEntry { md5: file_md5(&file.path, Layout::Legacy)?, path: file.relative });
        }
        Ok(Tree::new(entries).to_object().0)
    }

    fn is_cached(&self, output: &Output) -> Result<bool> {
        let cache = &self.inner.cache;
        if cache.find(&output.id, output.layout)?.is_none() {
            return Ok(false);
        }
        if !output.id.is_directory() {
            return Ok(true);
        }
        let bytes = cache.read(&output.id, output.layout, TREE_BYTES_MAX)?;
        for entry in Tree::parse(&output.id, &bytes)?.entries() {
            if cache.find(&ObjectId::file(entry.md5), output.layout)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
