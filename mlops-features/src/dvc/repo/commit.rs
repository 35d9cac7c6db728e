//! Recording that a stage ran: what it read and made goes to `dvc.lock`.

use mlops_core::{Error, Result};

use super::{DvcRepo, Session, add::Keep};
use crate::dvc::{
    atomic::write_text,
    lock_file::{self, LockFile},
    output::Output,
    params::{read_text, values},
    stage::{self, Pipeline, Stage},
};

/// A stage whose run is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The lock file, from the root.
    pub file: String,
    /// What the stage read.
    pub dependencies: Vec<Output>,
    /// What it made.
    pub outputs: Vec<Output>,
}

impl DvcRepo {
    /// Records in `dvc.lock` what stage `stage` of `dvc.yaml` (or `path/dvc.yaml:stage`) reads and makes as it stands
    /// now, its outputs and parameters included, and takes the outputs into the cache: after it `dvc repro` finds
    /// nothing to do. The stage is not run.
    ///
    /// # Errors
    /// `NotFound` without such a stage, dependency, parameter or output, `Unimplemented` for a template, for parameters
    /// in other files than YAML and JSON and for paths outside of the repository, else as [`DvcRepo::add`].
    #[tracing::instrument(skip(self))]
    pub async fn commit(&self, stage: &str) -> Result<Committed> {
        let stage = stage.to_owned();
        self.write(move |session| session.commit(&stage)).await
    }
}

impl Session {
    fn commit(&self, stage: &str) -> Result<Committed> {
        let (definition, name) = stage.rsplit_once(':').unwrap_or((stage::FILE, stage));
        let definition = self.inner.relative(definition.as_ref())?;
        let Some(directory) = definition.strip_suffix(stage::FILE) else {
            return Err(Error::invalid_argument(format!("{definition} is not a {}", stage::FILE)));
        };
        let root = &self.inner.root;
        let stage = Pipeline::parse(&definition, &read_text(&root.join(&definition))?)?.stage(name)?;
        let dependencies = self.look_at_all(&stage, stage.dependencies.iter().map(|path| (path.as_str(), Keep::No)))?;
        let mut params = Vec::new();
        for (file, keys) in &stage.params {
            let path = stage.resolve(file)?;
            params.push((file.clone(), values(&root.join(&path), &path, keys)?));
        }
        let keep = |cached: bool| if cached { Keep::InCache } else { Keep::No };
        let made = stage.outputs.iter().map(|output| (output.path.as_str(), keep(output.cached)));
        let outputs = self.look_at_all(&stage, made)?;
        let file = format!("{directory}{}", lock_file::FILE);
        let target = root.join(&file);
        let text = if target.is_file() { read_text(&target)? } else { String::new() };
        let mut lock = LockFile::parse(&file, &text)?;
        lock.set_stage(&stage, &dependencies, params, &outputs);
        let new = lock.render();
        if new != text {
            write_text(&target, &new)?;
        }
        for output in stage.outputs.iter().filter(|output| output.cached) {
            self.ignore_in_git(&stage.resolve(&output.path)?)?;
        }
        let second = |pairs: Vec<(String, Output)>| pairs.into_iter().map(|(_, output)| output).collect();
        Ok(Committed { file, dependencies: second(dependencies), outputs: second(outputs) })
    }

    fn look_at_all<'a>(
        &self,
        stage: &Stage,
        paths: impl Iterator<Item = (&'a str, Keep)>,
    ) -> Result<Vec<(String, Output)>> {
        paths.map(|(path, keep)| Ok((path.to_owned(), self.look(&stage.resolve(path)?, keep)?))).collect()
    }
}
