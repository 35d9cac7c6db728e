//! What `.dvc/config` and `.dvc/config.local` say, of which this crate uses: the cache's place and link types, the
//! remotes and which of them is meant, and whether git is there.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use mlops_core::{Error, Result};

use super::{fault::io_error, objects::Link};

/// Sections with their keys, in lower case.
#[derive(Debug, Clone, Default)]
pub(super) struct Config {
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl Config {
    /// Reads the configuration in `directory` (`.dvc`); the local one goes before the shared one.
    pub(super) fn load(directory: &Path) -> Result<Self> {
        let mut config = Self::default();
        for name in ["config", "config.local"] {
            let path = directory.join(name);
            match std::fs::read_to_string(&path) {
                Ok(text) => config.read(&path, &text)?,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(io_error("cannot read", &path, error)),
            }
        }
        Ok(config)
    }

    fn read(&mut self, path: &Path, text: &str) -> Result<()> {
        let mut section = String::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            let fault = || {
                Error::invalid_argument(format!("{} line {}: not a section or key = value", path.display(), number + 1))
            };
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[') {
                let name = name.split_once(']').ok_or_else(fault)?.0;
                section = unquoted(name).to_owned();
            } else {
                let (key, value) = line.split_once('=').ok_or_else(fault)?;
                let value = value_of(value.trim());
                let keys = self.sections.entry(section.clone()).or_default();
                keys.insert(key.trim().to_lowercase(), value.to_owned());
            }
        }
        Ok(())
    }

    fn get(&self, section: &str, key: &str) -> Option<&str> {
        self.sections.get(section)?.get(key).map(String::as_str)
    }

    /// Whether the repository is kept without git.
    pub(super) fn no_scm(&self) -> bool {
        self.get("core", "no_scm").is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The remote that is used where none is named.
    pub(super) fn default_remote(&self) -> Option<&str> {
        self.get("core", "remote")
    }

    /// Where remote `name` is, a URL or a path that is relative to `.dvc`.
    pub(super) fn remote_url(&self, name: &str) -> Option<&str> {
        self.get(&format!("remote \"{name}\""), "url")
    }

    /// Where the cache is.
    pub(super) fn cache_dir(&self, directory: &Path) -> PathBuf {
        resolve(directory, self.get("cache", "dir").unwrap_or("cache"))
    }

    /// The first link type that this crate can make.
    pub(super) fn link(&self) -> Link {
        let types = self.get("cache", "type").unwrap_or("reflink,copy");
        let first = types.split(',').map(str::trim).find_map(|name| match name {
            "hardlink" => Some(Link::Hard),
            "reflink" | "copy" => Some(Link::Copy),
            _ => None,
        });
        first.unwrap_or(Link::Copy)
    }
}

/// A path of the configuration, without `..` where the words alone tell.
pub(super) fn resolve(base: &Path, path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            Component::ParentDir if clean.file_name().is_some() => {
                clean.pop();
            }
            Component::CurDir => {}
            part => clean.push(part),
        }
    }
    clean
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).unwrap_or(text)
}

/// A value, quoted or up to a comment.
fn value_of(text: &str) -> &str {
    let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'));
    if let Some(quote) = quote
        && let Some((value, _)) = text.get(1..).and_then(|rest| rest.split_once(quote))
    {
        return value;
    }
    text.split_once(" #").map_or(text, |(value, _)| value.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_that_dvc_writes_is_read() {
        let home = tempfile::tempdir().unwrap();
        let shared = "[core]\n    remote = store # the team's\n    no_scm = True\n['remote \"store\"']\n    url = ../../remote\n[cache]\n    type = \"hardlink,copy\"\n";
        std::fs::write(home.path().join("config"), shared).unwrap();
        std::fs::write(home.path().join("config.local"), "['remote \"store\"']\nurl = s3://bucket/a\n").unwrap();
        let config = Config::load(home.path()).unwrap();
        assert_eq!((config.default_remote(), config.no_scm(), config.link()), (Some("store"), true, Link::Hard));
        assert_eq!(config.remote_url("store"), Some("s3://bucket/a"));
        assert_eq!(config.cache_dir(Path::new("/r/.dvc")), Path::new("/r/.dvc/cache"));
        assert_eq!(resolve(Path::new("/r/.dvc"), "../../remote"), Path::new("/remote"));
        std::fs::write(home.path().join("config"), "[core]\nnonsense\n").unwrap();
        assert!(Config::load(home.path()).unwrap_err().message().contains("line 2"));
    }
}
