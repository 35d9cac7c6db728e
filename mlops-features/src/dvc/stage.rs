//! `dvc.yaml`: the stages of a pipeline as people write them. Templates (`${..}`, `foreach`, `matrix`, `vars`) are not
//! expanded; a stage that needs them is refused by name when it is asked for.

use mlops_core::{Error, Result};

use super::{
    output::joined,
    paths::relative,
    yaml::{Mapping, Node, parse},
};

/// The file's name.
pub(super) const FILE: &str = "dvc.yaml";
/// Where parameters are when a stage names no file.
const PARAMS_FILE: &str = "params.yaml";

/// One stage.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) name: String,
    /// The command as written: text or a list.
    pub(super) command: Node,
    /// Directory that its paths start from, from the root.
    pub(super) directory: String,
    /// As written, sorted.
    pub(super) dependencies: Vec<String>,
    pub(super) outputs: Vec<StageOutput>,
    /// By file, the default one first, then by name; no keys means all of the file.
    pub(super) params: Vec<(String, Vec<String>)>,
}

/// An output of a stage.
#[derive(Debug, Clone)]
pub(super) struct StageOutput {
    pub(super) path: String,
    pub(super) cached: bool,
    pub(super) pushed: bool,
    pub(super) remote: Option<String>,
}

/// The file, from which stages are taken one by one.
#[derive(Debug)]
pub(super) struct Pipeline {
    path: String,
    directory: String,
    tree: Mapping,
}

impl Pipeline {
    /// `text` of the file `path`, from the repository's root.
    pub(super) fn parse(path: &str, text: &str) -> Result<Self> {
        let Node::Mapping(tree) = parse(path, text)? else {
            return Err(Error::invalid_argument(format!("{path}: is not a mapping")));
        };
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory).to_owned();
        Ok(Self { path: path.to_owned(), directory, tree })
    }

    fn stages(&self) -> Option<&Mapping> {
        self.tree.get("stages").and_then(Node::as_mapping)
    }

    /// The names of the stages.
    pub(super) fn names(&self) -> Vec<&str> {
        self.stages().into_iter().flat_map(Mapping::iter).map(|(name, _)| name.source()).collect()
    }

    /// Stage `name`.
    ///
    /// # Errors
    /// `NotFound` without such a stage, `Unimplemented` for a templated one, `InvalidArgument` for a malformed one.
    pub(super) fn stage(&self, name: &str) -> Result<Stage> {
        let missing =
            || Error::not_found(format!("{} has no stage \"{name}\"; it has {}", self.path, self.names().join(", ")));
        let definition = self.stages().and_then(|stages| stages.get(name)).ok_or_else(missing)?;
        let fault = |message: &str| Error::invalid_argument(format!("{}: stage \"{name}\" {message}", self.path));
        let entry = definition.as_mapping().ok_or_else(|| fault("is not a mapping"))?;
        let templated = ["foreach", "do", "matrix", "vars"].iter().any(|key| entry.get(key).is_some());
        if templated || has_template(definition) || self.tree.get("vars").is_some() {
            return Err(Error::unimplemented(format!(
                "{}: stage \"{name}\" is a template, which only dvc expands; write it out or run dvc commit {name}",
                self.path
            )));
        }
        let command = entry.get("cmd").cloned().ok_or_else(|| fault("has no cmd"))?;
        let below = entry.get("wdir").and_then(Node::as_str).unwrap_or("");
        let directory = joined(&self.directory, below).ok_or_else(|| fault("has a wdir outside of the repository"))?;
        let list = |key: &str| match entry.get(key) {
            None => Ok(&[] as &[Node]),
            Some(node) if node.is_null() => Ok(&[] as &[Node]),
            Some(node) => node.as_sequence().ok_or_else(|| fault(&format!("has {key} that are not a list"))),
        };
        let mut dependencies = Vec::new();
        for node in list("deps")? {
            dependencies.push(node.as_str().ok_or_else(|| fault("has a dependency that is not a path"))?.to_owned());
        }
        dependencies.sort_unstable();
        let mut outputs = Vec::new();
        for key in ["outs", "metrics", "plots"] {
            for node in list(key)? {
                outputs.push(StageOutput::parse(node).ok_or_else(|| fault("has an output that is not understood"))?);
            }
        }
        outputs.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        let params = params(list("params")?).ok_or_else(|| fault("has params that are not understood"))?;
        Ok(Stage { name: name.to_owned(), command, directory, dependencies, outputs, params })
    }
}

impl Stage {
    /// A path of the stage from the repository's root.
    ///
    /// # Errors
    /// `Unimplemented` for what is not in the repository.
    pub(super) fn resolve(&self, path: &str) -> Result<String> {
        let inside = (!path.contains("://") && !path.starts_with('/')).then(|| joined(&self.directory, path)).flatten();
        match inside {
            Some(path) => relative(&path),
            None => Err(Error::unimplemented(format!(
                "stage \"{}\" names {path}, which is outside of the repository",
                self.name
            ))),
        }
    }
}

impl StageOutput {
    fn parse(node: &Node) -> Option<Self> {
        if let Some(path) = node.as_str() {
            return Some(Self { path: path.to_owned(), cached: true, pushed: true, remote: None });
        }
        let (path, flags) = node.as_mapping()?.iter().next()?;
        let flags = flags.as_mapping();
        let flag = |key: &str| flags.and_then(|flags| flags.get(key)?.as_bool()).unwrap_or(true);
        let remote = flags.and_then(|flags| flags.get("remote")?.as_str()).map(str::to_owned);
        Some(Self { path: path.source().to_owned(), cached: flag("cache"), pushed: flag("push"), remote })
    }
}

/// The params of a stage by file.
fn params(nodes: &[Node]) -> Option<Vec<(String, Vec<String>)>> {
    let mut files: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |file: &str, keys: Vec<String>| match files.iter_mut().find(|(known, _)| known == file) {
        Some((_, known)) => known.extend(keys),
        None => files.push((file.to_owned(), keys)),
    };
    for node in nodes {
        match node {
            Node::Scalar(key) => add(PARAMS_FILE, vec![key.source().to_owned()]),
            Node::Mapping(entries) => {
                for (file, keys) in entries.iter() {
                    let keys = keys.as_sequence().unwrap_or_default().iter().map(|key| match key {
                        Node::Scalar(key) => Some(key.source().to_owned()),
                        _ => None,
                    });
                    add(file.source(), keys.collect::<Option<_>>()?);
                }
            }
            Node::Sequence(_) => return None,
        }
    }
    for (_, keys) in &mut files {
        keys.sort_unstable();
        keys.dedup();
    }
    files.sort_unstable_by(|(left, _), (right, _)| (left != PARAMS_FILE, left).cmp(&(right != PARAMS_FILE, right)));
    Some(files)
}

fn has_template(node: &Node) -> bool {
    match node {
        Node::Scalar(scalar) => scalar.source().contains("${"),
        Node::Sequence(items) => items.iter().any(has_template),
        Node::Mapping(entries) => entries.iter().any(|(key, value)| key.source().contains("${") || has_template(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_read_as_people_write_it() {
        let text = "stages:\n  train:\n    cmd: python t.py\n    wdir: sub\n    deps: [b, ../a]\n    params:\n    - z.k\n    - other.yaml: [q, p]\n    - lr\n    - all.json:\n    outs:\n    - m.bin\n    metrics:\n    - m.json: {cache: false}\n  each:\n    foreach: [1]\n    do: {cmd: 'echo ${item}'}\n";
        let pipeline = Pipeline::parse("p/dvc.yaml", text).unwrap();
        let stage = pipeline.stage("train").unwrap();
        assert_eq!(stage.dependencies, ["../a", "b"]);
        assert_eq!((stage.resolve("../a").unwrap(), stage.resolve("b").unwrap()), ("p/a".into(), "p/sub/b".into()));
        let files: Vec<_> = stage.params.iter().map(|(file, keys)| (file.as_str(), keys.join(" "))).collect();
        assert_eq!(
            files,
            [("params.yaml", "lr z.k".to_owned()), ("all.json", String::new()), ("other.yaml", "p q".into())]
        );
        let outputs: Vec<_> = stage.outputs.iter().map(|output| (output.path.as_str(), output.cached)).collect();
        assert_eq!(outputs, [("m.bin", true), ("m.json", false)]);
        assert_eq!(pipeline.stage("each").unwrap_err().kind(), mlops_core::ErrorKind::Unimplemented);
        assert!(pipeline.stage("no").unwrap_err().message().contains("train, each"));
        assert!(stage.resolve("../../../x").is_err());
    }
}
