//! Which outputs a caller means by a path.

use std::path::{Path, PathBuf};

use mlops_core::{Error, Result};

use super::Inner;
use crate::dvc::{
    dvc_file::{DvcFile, dvc_path, is_dvc_file},
    lock_file::{self, LockFile},
    output::Output,
    params::read_text,
    paths::within,
    stage::{self, Pipeline},
    walk::{Links, files},
};

/// Paths of a caller, owned.
pub(super) fn owned(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Vec<PathBuf> {
    paths.into_iter().map(|path| path.as_ref().to_owned()).collect()
}

impl Inner {
    /// `path` from the root. A relative one starts there.
    pub(super) fn relative(&self, path: &Path) -> Result<String> {
        let known = !path.is_absolute() || path.starts_with(&self.root);
        match path.parent().map(Path::canonicalize) {
            // The caller may know the root by another name.
            Some(Ok(parent)) if !known => within(&self.root, &parent.join(path.file_name().unwrap_or_default())),
            _ => within(&self.root, path),
        }
    }

    /// The outputs at `paths` (of data, of `.dvc` files, of `dvc.lock`), all when there are none.
    pub(super) fn tracked(&self, paths: &[PathBuf]) -> Result<Vec<Output>> {
        let mut found = Vec::new();
        if paths.is_empty() {
            for file in self.dvc_files()? {
                found.extend(self.outputs_of(&file)?);
            }
        }
        for path in paths {
            let path = self.relative(path)?;
            let own =
                [path.clone(), dvc_path(&path)].into_iter().find(|file| is_own(file) && self.root.join(file).is_file());
            match own {
                Some(file) => found.extend(self.outputs_of(&file)?),
                None => found.push(self.stage_output(&path)?),
            }
        }
        found.sort_by(|left, right| left.path.cmp(&right.path));
        if let Some([left, right]) = found.windows(2).find_map(|pair| match pair {
            [left, right] if left.path == right.path && left.id != right.id => Some([left, right]),
            _ => None,
        }) {
            return Err(Error::failed_precondition(format!(
                "\"{}\" is tracked twice, as {} and as {}; remove one of the files that do",
                left.path, left.id, right.id
            )));
        }
        found.dedup();
        Ok(found)
    }

    /// All `.dvc` and `dvc.lock` files.
    pub(super) fn dvc_files(&self) -> Result<Vec<String>> {
        let all = files(&self.root, "", Links::Skip)?;
        Ok(all.into_iter().map(|file| file.relative).filter(|file| is_own(file)).collect())
    }

    /// What the `.dvc` or lock file `file` tracks.
    fn outputs_of(&self, file: &str) -> Result<Vec<Output>> {
        if is_dvc_file(file) {
            return self.dvc_file(file)?.outputs();
        }
        let directory = file.strip_suffix(lock_file::FILE).unwrap_or_default();
        let definition = format!("{directory}{}", stage::FILE);
        let pipeline = match self.root.join(&definition) {
            path if path.is_file() => Some(Pipeline::parse(&definition, &read_text(&path)?)?),
            _ => None,
        };
        LockFile::parse(file, &read_text(&self.root.join(file))?)?.outputs(pipeline.as_ref())
    }

    pub(super) fn dvc_file(&self, file: &str) -> Result<DvcFile> {
        DvcFile::parse(file, read_text(&self.root.join(file))?)
    }

    /// The output of a stage at `path`.
    fn stage_output(&self, path: &str) -> Result<Output> {
        for file in self.dvc_files()?.iter().filter(|file| !is_dvc_file(file)) {
            if let Some(output) = self.outputs_of(file)?.into_iter().find(|output| output.path == path) {
                return Ok(output);
            }
        }
        Err(Error::not_found(format!("\"{path}\" is not tracked: there is no {path}.dvc, and no stage makes it")))
    }
}

fn is_own(file: &str) -> bool {
    is_dvc_file(file) || file == lock_file::FILE || file.ends_with("/dvc.lock")
}
