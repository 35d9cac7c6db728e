//! `dvc.lock`: what each stage of a pipeline read and made when it last ran.

use mlops_core::{Error, Result};

use super::{
    output::{Output, joined},
    stage::{Pipeline, Stage, StageOutput},
    yaml::{Mapping, Node, parse, render},
};

/// The file's name.
pub(super) const FILE: &str = "dvc.lock";
const SCHEMA: &str = "2.0";

/// A lock file.
#[derive(Debug, Clone, Default)]
pub(super) struct LockFile {
    path: String,
    directory: String,
    tree: Mapping,
}

impl LockFile {
    /// `text` of the file `path`, from the root; empty for a file that does not exist yet.
    pub(super) fn parse(path: &str, text: &str) -> Result<Self> {
        let Node::Mapping(tree) = parse(path, text)? else {
            return Err(Error::invalid_argument(format!("{path}: is not a mapping")));
        };
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory).to_owned();
        let schema = tree.get("schema").map(|schema| schema.as_str() == Some(SCHEMA));
        if schema == Some(false) || (schema.is_none() && tree.len() > 0) {
            return Err(Error::unimplemented(format!(
                "{path}: only lock files of schema \"{SCHEMA}\" are read; run dvc repro or dvc commit to renew it"
            )));
        }
        Ok(Self { path: path.to_owned(), directory, tree })
    }

    /// The outputs of all stages. Where a stage works and which outputs are kept where only `pipeline` says; of a
    /// stage that it does not define, or defines by a template, all are kept.
    pub(super) fn outputs(&self, pipeline: Option<&Pipeline>) -> Result<Vec<Output>> {
        let stages = self.tree.get("stages").and_then(Node::as_mapping);
        let mut found = Vec::new();
        for (name, entry) in stages.into_iter().flat_map(Mapping::iter) {
            let stage = pipeline.and_then(|pipeline| pipeline.stage(name.source()).ok());
            let directory = stage.as_ref().map_or(self.directory.as_str(), |stage| stage.directory.as_str());
            let outs = entry.as_mapping().and_then(|entry| entry.get("outs")?.as_sequence()).unwrap_or_default();
            for out in outs {
                let Some(mut output) = Output::parse(&self.path, directory, out)? else { continue };
                let of_path = |known: &&StageOutput| joined(directory, &known.path).as_ref() == Some(&output.path);
                if let Some(known) = stage.as_ref().and_then(|stage| stage.outputs.iter().find(of_path)) {
                    (output.cached, output.pushed) = (known.cached, known.pushed);
                    output.remote.clone_from(&known.remote);
                }
                found.push(output);
            }
        }
        Ok(found)
    }

    /// Sets what `stage` read and made: the paths as written, in order.
    pub(super) fn set_stage(
        &mut self,
        stage: &Stage,
        dependencies: &[(String, Output)],
        params: Vec<(String, Mapping)>,
        outputs: &[(String, Output)],
    ) {
        let list = |items: &[(String, Output)]| {
            Node::Sequence(items.iter().map(|(path, output)| Node::Mapping(output.to_lock_entry(path))).collect())
        };
        let mut entry: Mapping = [("cmd", stage.command.clone())].into_iter().collect();
        if !dependencies.is_empty() {
            entry.set("deps", list(dependencies));
        }
        if !params.is_empty() {
            let files = params.into_iter().map(|(file, values)| (file, Node::Mapping(values)));
            entry.set("params", Node::Mapping(files.collect()));
        }
        if !outputs.is_empty() {
            entry.set("outs", list(outputs));
        }
        if self.tree.get("schema").is_none() {
            self.tree.set("schema", Node::text(SCHEMA));
        }
        let mut stages = self.tree.get("stages").and_then(Node::as_mapping).cloned().unwrap_or_default();
        stages.set(stage.name.clone(), Node::Mapping(entry));
        self.tree.set("stages", Node::Mapping(stages));
    }

    pub(super) fn render(&self) -> String {
        render(&Node::Mapping(self.tree.clone()))
    }
}
