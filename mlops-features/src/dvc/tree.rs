//! The listing of a directory, a `.dir` object: a JSON array of file names and hashes, byte for byte as Python's
//! `json.dumps(.., sort_keys=True)` writes it. Sizes, modes and empty directories are not in it.
//!
//! Names come from whoever wrote the object, so none is used before [`relative`] has accepted it.

use std::fmt::Write as _;

use mlops_core::{Error, Result};
use serde::Deserialize;

use super::{hashing::md5_of, oid::ObjectId, paths::relative};

/// Most bytes of a listing: about two million files.
pub(super) const TREE_BYTES_MAX: u64 = 256 << 20;

/// A file of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TreeEntry {
    /// Path within the directory, with `/`.
    pub(super) path: String,
    pub(super) md5: [u8; 16],
}

/// The files of a directory, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Tree(Vec<TreeEntry>);

#[derive(Deserialize)]
struct WireEntry {
    md5: String,
    relpath: String,
}

impl Tree {
    pub(super) fn new(mut entries: Vec<TreeEntry>) -> Self {
        // Code points sort as the bytes of UTF-8 do.
        entries.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        Self(entries)
    }

    pub(super) fn entries(&self) -> &[TreeEntry] {
        &self.0
    }

    /// The object's bytes and name.
    pub(super) fn to_object(&self) -> (ObjectId, Vec<u8>) {
        let mut text = String::with_capacity(self.0.len() * 80 + 2);
        text.push('[');
        for (index, TreeEntry { path, md5 }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let _ = write!(text, "{comma}{{\"md5\": \"{}\", \"relpath\": \"", ObjectId::file(*md5));
            push_ascii(&mut text, path);
            text.push_str("\"}");
        }
        text.push(']');
        (ObjectId::directory(md5_of(text.as_bytes())), text.into_bytes())
    }

    /// Reads an object that may come from anyone.
    ///
    /// # Errors
    /// `DataLoss` for what is not a listing, `InvalidArgument` for a name that leads out of the directory or stands
    /// in the way of another.
    pub(super) fn parse(id: &ObjectId, bytes: &[u8]) -> Result<Self> {
        let fault =
            |error| Error::data_loss(format!("object {id} is not the listing of a directory")).with_source(error);
        let wire: Vec<WireEntry> = serde_json::from_slice(bytes).map_err(fault)?;
        let mut entries = Vec::with_capacity(wire.len());
        for WireEntry { md5, relpath } in wire {
            let md5: ObjectId = md5.parse()?;
            let path = relative(&relpath).map_err(|error| error.with("object", id))?;
            entries.push(TreeEntry { path, md5: md5.md5() });
        }
        let tree = Self::new(entries);
        tree.check_distinct(id)?;
        Ok(tree)
    }

    /// No file is named twice, and none is a directory on the way to another.
    fn check_distinct(&self, id: &ObjectId) -> Result<()> {
        let within = |file: &str, other: &str| other.strip_prefix(file).is_some_and(|rest| rest.starts_with('/'));
        let known = |path: &str| self.0.binary_search_by(|entry| entry.path.as_str().cmp(path)).is_ok();
        let blocked = self
            .0
            .iter()
            .find(|entry| entry.path.match_indices('/').any(|(at, _)| entry.path.get(..at).is_some_and(known)));
        let twice = self.0.windows(2).find_map(|pair| match pair {
            [left, right] if left.path == right.path || within(&left.path, &right.path) => Some(right),
            _ => None,
        });
        match blocked.or(twice) {
            None => Ok(()),
            Some(entry) => Err(Error::invalid_argument(format!(
                "object {id} lists \"{}\" twice, or within a file",
                entry.path.escape_debug()
            ))),
        }
    }
}

/// JSON in ASCII, as Python escapes it.
fn push_ascii(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            other => {
                for unit in other.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_written_as_python_writes_it() {
        let entry = |path: &str| TreeEntry { path: path.to_owned(), md5: md5_of(b"") };
        let tree = Tree::new(["a.txt", "sub/é\u{1f600}\"\u{7f}.txt", "B.txt"].map(entry).to_vec());
        let (id, bytes) = tree.to_object();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        let expected = format!(
            "[{{\"md5\": \"{md5}\", \"relpath\": \"B.txt\"}}, {{\"md5\": \"{md5}\", \"relpath\": \"a.txt\"}}, \
             {{\"md5\": \"{md5}\", \"relpath\": \"sub/\\u00e9\\ud83d\\ude00\\\"\\u007f.txt\"}}]"
        );
        assert_eq!(text, expected);
        assert_eq!(Tree::parse(&id, &bytes).unwrap(), tree);
        assert_eq!(Tree::default().to_object().1, b"[]");
    }

    #[test]
    fn a_foreign_listing_cannot_lead_out_of_its_directory() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        let id = ObjectId::directory([0; 16]);
        for path in
            ["../x", "/etc/x", "a/../../x", "", "a//b", "./a", "a/", ".git/hooks/x", "s/.DVC/config", "a\\u0000b"]
        {
            let text = format!("[{{\"md5\": \"{md5}\", \"relpath\": \"{path}\"}}]");
            let error = Tree::parse(&id, text.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), mlops_core::ErrorKind::InvalidArgument, "{path}: {error}");
        }
        for paths in [["a", "a"], ["a", "a/b"], ["a/b/c", "a"]] {
            let [one, two] = paths.map(|path| format!("{{\"md5\": \"{md5}\", \"relpath\": \"{path}\"}}"));
            assert!(Tree::parse(&id, format!("[{one}, {two}]").as_bytes()).is_err(), "{paths:?}");
        }
        let between = ["a", "a.x", "a/b"].map(|path| format!("{{\"md5\": \"{md5}\", \"relpath\": \"{path}\"}}"));
        assert!(Tree::parse(&id, format!("[{}]", between.join(",")).as_bytes()).is_err());
        assert!(Tree::parse(&id, b"{}").is_err());
    }
}
