//! What a `.dvc` file or a lock file says of one file or directory.

use mlops_core::{Error, Result};

use super::{
    oid::{Layout, ObjectId},
    paths::relative,
    yaml::{Mapping, Node},
};

/// A tracked file or directory and the content that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Output {
    /// Path from the repository's root, with `/`.
    pub path: String,
    /// The content.
    pub id: ObjectId,
    /// How the content is stored and hashed.
    pub layout: Layout,
    /// Bytes, of a directory those of all files; none when not recorded.
    pub size: Option<u64>,
    /// Files of a directory; none for a file or when not recorded.
    pub files: Option<u64>,
    /// Whether a file is executable.
    pub executable: bool,
    /// The remote that it goes to instead of the default.
    pub remote: Option<String>,
    /// Whether the content is kept in the cache; metrics that git keeps are not.
    pub cached: bool,
    /// Whether it is pushed at all.
    pub pushed: bool,
}

impl Output {
    /// Reads an entry of `outs` of the file `what` in `directory` (from the root, empty for the root itself). None for
    /// an output that has no content yet.
    pub(super) fn parse(what: &str, directory: &str, node: &Node) -> Result<Option<Self>> {
        let fault = |message: String| Error::invalid_argument(format!("{what}: {message}")).with("path", what);
        let entry = node.as_mapping().ok_or_else(|| fault("an output is not a mapping".into()))?;
        let text = |key: &str| entry.get(key).and_then(Node::as_str);
        let path = text("path").ok_or_else(|| fault("an output has no path".into()))?;
        if path.contains("://") || path.starts_with('/') || entry.get("cloud").is_some() || entry.get("files").is_some()
        {
            return Err(Error::unimplemented(format!(
                "{what}: output \"{path}\" lies outside of the repository or on a version-aware remote, which is not supported"
            )));
        }
        let path =
            joined(directory, path).ok_or_else(|| fault(format!("path \"{path}\" leads out of the repository")))?;
        let path = relative(&path).map_err(|error| fault(error.to_string()))?;
        let Some(md5) = entry.get("md5") else { return Ok(None) };
        // Digits alone are a number to YAML.
        let md5 = match md5 {
            Node::Scalar(scalar) => scalar.source(),
            _ => return Err(fault(format!("the md5 of \"{path}\" is not text"))),
        };
        let id: ObjectId = md5.parse().map_err(|error: Error| fault(error.to_string()))?;
        let layout = match text("hash") {
            None => Layout::Legacy,
            Some("md5") => Layout::Files,
            Some(other) => {
                return Err(Error::unimplemented(format!("{what}: \"{path}\" is hashed by {other}, not md5")));
            }
        };
        let flag = |key: &str, default: bool| entry.get(key).and_then(Node::as_bool).unwrap_or(default);
        Ok(Some(Self {
            path,
            id,
            layout,
            size: entry.get("size").and_then(Node::as_u64),
            files: entry.get("nfiles").and_then(Node::as_u64),
            executable: flag("isexec", false),
            remote: text("remote").map(str::to_owned),
            cached: flag("cache", true),
            pushed: flag("push", true),
        }))
    }

    /// What is known of the content, in DVC's order.
    fn content(&self) -> Vec<(&'static str, Node)> {
        // Quoted where the digits would read as a number.
        let mut pairs = vec![("md5", Node::text(self.id.to_string()))];
        pairs.extend(self.size.map(|size| ("size", Node::plain(size))));
        pairs.extend(self.files.map(|files| ("nfiles", Node::plain(files))));
        if self.executable {
            pairs.push(("isexec", Node::plain(true)));
        }
        pairs
    }

    /// As an entry of `outs` in a `.dvc` file next to it, `old` being the entry that it replaces: what people said of
    /// the output stays.
    pub(super) fn to_dvc_entry(&self, old: Option<&Mapping>) -> Mapping {
        let name = self.path.rsplit_once('/').map_or(self.path.as_str(), |(_, name)| name);
        let mut entry: Mapping = self.content().into_iter().collect();
        entry.set("hash", Node::text("md5"));
        entry.set("path", Node::text(name));
        let ours = ["md5", "size", "nfiles", "isexec", "hash", "path"];
        for (key, value) in old.into_iter().flat_map(Mapping::iter).filter(|(key, _)| !ours.contains(&key.source())) {
            entry.push(key.clone(), value.clone());
        }
        entry
    }

    /// As an entry of a lock file whose directory is `directory`.
    pub(super) fn to_lock_entry(&self, path: &str) -> Mapping {
        let mut entry: Mapping = [("path", Node::text(path)), ("hash", Node::text("md5"))].into_iter().collect();
        for (key, value) in self.content() {
            entry.set(key, value);
        }
        entry
    }
}

/// `path` from `directory`, without `.` and `..`; none when it leads out of the root.
pub(super) fn joined(directory: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in directory.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
