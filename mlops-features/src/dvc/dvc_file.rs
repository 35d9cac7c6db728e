//! A `.dvc` file: one output and what people noted about it.

use std::path::Path;

use mlops_core::{Error, Result};

use super::{
    output::{Output, joined},
    yaml::{Mapping, Node, parse, render},
};

/// A `.dvc` file as text and tree.
#[derive(Debug, Clone)]
pub(super) struct DvcFile {
    /// From the repository's root.
    pub(super) path: String,
    text: String,
    tree: Mapping,
}

impl DvcFile {
    pub(super) fn parse(path: &str, text: String) -> Result<Self> {
        let Node::Mapping(tree) = parse(path, &text)? else {
            return Err(Error::invalid_argument(format!("{path}: is not a mapping")));
        };
        Ok(Self { path: path.to_owned(), text, tree })
    }

    /// The outputs, none of which leads out of the repository.
    pub(super) fn outputs(&self) -> Result<Vec<Output>> {
        let own = self.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let below = self.tree.get("wdir").and_then(Node::as_str).unwrap_or("");
        let directory = joined(own, below);
        let directory = directory.ok_or_else(|| {
            Error::invalid_argument(format!("{}: wdir \"{below}\" leads out of the repository", self.path))
        })?;
        let outs = self.tree.get("outs").and_then(Node::as_sequence).unwrap_or_default();
        let outputs: Result<Vec<_>> = outs.iter().map(|out| Output::parse(&self.path, &directory, out)).collect();
        Ok(outputs?.into_iter().flatten().collect())
    }

    /// The text of the file with `output` in place of the one it has; without a file, that of a new one. `meta` goes
    /// to the file's own `meta`, key by key.
    ///
    /// # Errors
    /// `FailedPrecondition` for a file that is not what DVC alone would write (comments, several outputs, imports)
    /// and in which not just values change.
    pub(super) fn updated(old: Option<&Self>, output: &Output, meta: &[(&str, Node)]) -> Result<String> {
        let Some(old) = old else {
            let entry = Node::Mapping(output.to_dvc_entry(None));
            let mut tree: Mapping = [("outs", Node::Sequence(vec![entry]))].into_iter().collect();
            set_meta(&mut tree, meta);
            return Ok(render(&Node::Mapping(tree)));
        };
        let entries = old.tree.get("outs").and_then(Node::as_sequence).unwrap_or_default();
        let [Node::Mapping(entry)] = entries else {
            return Err(old.refused("has several outputs"));
        };
        if old.tree.get("deps").is_some() || old.tree.get("cmd").is_some() {
            return Err(old.refused("is an import or a stage"));
        }
        let new_entry = output.to_dvc_entry(Some(entry));
        let mut tree = old.tree.clone();
        tree.set("outs", Node::Sequence(vec![Node::Mapping(new_entry.clone())]));
        set_meta(&mut tree, meta);
        let canonical = render(&Node::Mapping(old.tree.clone())) == old.text;
        if canonical || old.text.trim().is_empty() {
            return Ok(render(&Node::Mapping(tree)));
        }
        old.edited(entry, &new_entry, meta)
    }

    fn refused(&self, why: &str) -> Error {
        Error::failed_precondition(format!("{} {why}; remove it, then add the data again", self.path))
    }

    /// The text with other values in the same places, so that comments and layout stay.
    fn edited(&self, old: &Mapping, new: &Mapping, meta: &[(&str, Node)]) -> Result<String> {
        let same_keys = old.len() == new.len() && new.iter().all(|(key, _)| old.get(key.source()).is_some());
        if !same_keys || !meta.is_empty() {
            return Err(self.refused("has comments or a layout of its own that would be lost"));
        }
        let mut changes: Vec<(std::ops::Range<usize>, String)> = Vec::new();
        for (key, value) in new.iter() {
            let before = old.get(key.source());
            if before == Some(value) {
                continue;
            }
            let span =
                before.and_then(Node::span).ok_or_else(|| self.refused("changes in a way that cannot be kept"))?;
            changes.push((span, render(value).trim_end().to_owned()));
        }
        changes.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
        let mut characters: Vec<char> = self.text.chars().collect();
        for (span, value) in changes {
            characters.splice(span, value.chars());
        }
        Ok(characters.into_iter().collect())
    }
}

fn set_meta(tree: &mut Mapping, meta: &[(&str, Node)]) {
    if meta.is_empty() {
        return;
    }
    let mut all = tree.get("meta").and_then(Node::as_mapping).cloned().unwrap_or_default();
    meta.iter().for_each(|(key, value)| all.set(*key, value.clone()));
    tree.set("meta", Node::Mapping(all));
}

/// The `.dvc` file of the output at `path`.
pub(super) fn dvc_path(path: &str) -> String {
    format!("{path}.dvc")
}

/// Whether a file of this name is one of DVC's own.
pub(super) fn is_dvc_file(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "dvc")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(path: &str) -> Output {
        let text =
            "outs:\n- md5: ce6e8111aad9183a8da4c929a306dad2.dir\n  size: 5\n  nfiles: 2\n  hash: md5\n  path: d\n";
        let mut output = DvcFile::parse("d.dvc", text.into()).unwrap().outputs().unwrap().remove(0);
        output.path = path.to_owned();
        output
    }

    #[test]
    fn a_file_is_written_as_dvc_writes_it() {
        let text =
            "outs:\n- md5: ce6e8111aad9183a8da4c929a306dad2.dir\n  size: 5\n  nfiles: 2\n  hash: md5\n  path: d\n";
        assert_eq!(DvcFile::updated(None, &output("x/d"), &[]).unwrap(), text);
        let mut file = output("run.sh");
        (file.id, file.size, file.files) = ("00000000000000000000000000000012".parse().unwrap(), Some(2), None);
        file.executable = true;
        let expected = "outs:\n- md5: '00000000000000000000000000000012'\n  size: 2\n  isexec: true\n  hash: md5\n  path: run.sh\n";
        assert_eq!(DvcFile::updated(None, &file, &[]).unwrap(), expected);
    }

    #[test]
    fn what_people_noted_stays() {
        let text = "outs:\n- md5: '00000000000000000000000000000012'\n  size: 2\n  nfiles: 1\n  hash: md5\n  path: d\n  desc: mine\n  push: false\nmeta:\n  k: 1\n";
        let old = DvcFile::parse("d.dvc", text.into()).unwrap();
        assert!(!old.outputs().unwrap()[0].pushed);
        let new = DvcFile::updated(Some(&old), &output("d"), &[("table", Node::text("t"))]).unwrap();
        let expected = "outs:\n- md5: ce6e8111aad9183a8da4c929a306dad2.dir\n  size: 5\n  nfiles: 2\n  hash: md5\n  path: d\n  desc: mine\n  push: false\nmeta:\n  k: 1\n  table: t\n";
        assert_eq!(new, expected);

        let commented = text.replace("  size: 2\n", "  size: 2   # é small\n");
        let old = DvcFile::parse("d.dvc", commented.clone()).unwrap();
        let new = DvcFile::updated(Some(&old), &output("d"), &[]).unwrap();
        let expected = commented
            .replace("'00000000000000000000000000000012'", "ce6e8111aad9183a8da4c929a306dad2.dir")
            .replace("size: 2 ", "size: 5 ")
            .replace("nfiles: 1", "nfiles: 2");
        assert_eq!(new, expected);
    }

    #[test]
    fn a_foreign_file_cannot_lead_out_of_the_repository() {
        let entry = |path: &str, head: &str| {
            let text = format!("{head}outs:\n- md5: ce6e8111aad9183a8da4c929a306dad2\n  hash: md5\n  path: {path}\n");
            DvcFile::parse("a/d.dvc", text).and_then(|file| file.outputs())
        };
        assert_eq!(entry("../x", "").unwrap()[0].path, "x");
        assert_eq!(entry("x", "wdir: ../b\n").unwrap()[0].path, "b/x");
        for (path, head) in
            [("../../x", ""), ("/etc/passwd", ""), ("x", "wdir: ../..\n"), (".git/config", ""), ("s3://b/x", "")]
        {
            assert!(entry(path, head).is_err(), "{path} {head}");
        }
    }
}
