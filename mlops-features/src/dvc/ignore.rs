//! `.dvcignore`: the patterns of `.gitignore`, the last that matches decides.

use std::{fmt::Write as _, path::Path, sync::Arc};

use mlops_core::{Error, Result};
use regex::Regex;

use super::fault::io_error;

/// The file with the patterns of its directory and all below.
pub(super) const IGNORE_FILE: &str = ".dvcignore";

#[derive(Debug)]
struct Rule {
    /// Directory of the file, as `a/b/` from the repository's root.
    base: String,
    pattern: Regex,
    only_directories: bool,
    again_included: bool,
}

/// The rules that hold in one directory.
#[derive(Debug, Clone, Default)]
pub(super) struct Ignores(Arc<Vec<Arc<Rule>>>);

impl Ignores {
    /// These rules and those of the file in `directory`, which is `relative` from the root.
    pub(super) fn enter(&self, directory: &Path, relative: &str) -> Result<Self> {
        let path = directory.join(IGNORE_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(self.clone()),
            Err(error) => return Err(io_error("cannot read", &path, error)),
        };
        let base = if relative.is_empty() { String::new() } else { format!("{relative}/") };
        let mut rules = self.0.as_ref().clone();
        for line in text.lines() {
            let fault = |error| {
                Error::invalid_argument(format!("{}: pattern \"{line}\" is not understood", path.display()))
                    .with_source(error)
            };
            rules.extend(Rule::parse(line, &base).map_err(fault)?.map(Arc::new));
        }
        Ok(Self(Arc::new(rules)))
    }

    /// Whether the file or directory `relative` is to be left out.
    pub(super) fn matches(&self, relative: &str, is_directory: bool) -> bool {
        let hit = |rule: &&Arc<Rule>| {
            (is_directory || !rule.only_directories)
                && relative.strip_prefix(&rule.base).is_some_and(|below| rule.pattern.is_match(below))
        };
        self.0.iter().rev().find(hit).is_some_and(|rule| !rule.again_included)
    }
}

impl Rule {
    fn parse(line: &str, base: &str) -> Result<Option<Self>, regex::Error> {
        let mut text = line;
        while text.ends_with([' ', '\t', '\r']) && !text.ends_with("\\ ") {
            text = text.get(..text.len() - 1).unwrap_or_default();
        }
        let again_included = text.starts_with('!');
        text = text.strip_prefix('!').unwrap_or(text);
        if text.is_empty() || (text.starts_with('#') && !again_included) {
            return Ok(None);
        }
        let only_directories = text.ends_with('/');
        text = text.strip_suffix('/').unwrap_or(text);
        let anchored = text.contains('/');
        let pattern = translate(text.strip_prefix('/').unwrap_or(text), anchored);
        Ok(Some(Self { base: base.to_owned(), pattern: Regex::new(&pattern)?, only_directories, again_included }))
    }
}

/// The regular expression of a pattern.
fn translate(pattern: &str, anchored: bool) -> String {
    let mut out = String::from(if anchored { "^" } else { "^(?:.*/)?" });
    let mut rest = pattern;
    let mut at_start = true;
    while let Some(first) = rest.chars().next() {
        let before = rest;
        if let Some(after) = rest.strip_prefix("**/").filter(|_| at_start) {
            out.push_str("(?:.*/)?");
            rest = after;
        } else if rest == "**" && at_start {
            out.push_str(".+");
            rest = "";
        } else if let Some((class, after)) = class(rest) {
            out.push_str(&class);
            rest = after;
        } else {
            let mut characters = rest.chars();
            characters.next();
            match first {
                '*' => {
                    out.push_str("[^/]*");
                    rest = rest.trim_start_matches('*');
                }
                '?' => {
                    out.push_str("[^/]");
                    rest = characters.as_str();
                }
                '\\' => {
                    push_literal(&mut out, characters.next().unwrap_or('\\'));
                    rest = characters.as_str();
                }
                other => {
                    push_literal(&mut out, other);
                    rest = characters.as_str();
                }
            }
        }
        at_start = before.get(..before.len() - rest.len()).is_some_and(|taken| taken.ends_with('/'));
    }
    out.push('$');
    out
}

fn push_literal(out: &mut String, character: char) {
    let _ = write!(out, "{}", regex::escape(character.encode_utf8(&mut [0; 4])));
}

/// A bracket expression at the start of `text`, and what follows it.
fn class(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('[')?;
    let (negated, inner) = match inner.strip_prefix(['!', '^']) {
        Some(rest) => (true, rest),
        None => (false, inner),
    };
    // A bracket right at the beginning is a member.
    let skip = usize::from(inner.starts_with(']'));
    let end = inner.get(skip..)?.find(']')? + skip;
    let members = inner.get(..end)?.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]");
    let members = members.replace("&&", "&\\&").replace("~~", "~\\~");
    let negation = if negated { "^/" } else { "" };
    Some((format!("[{negation}{members}]"), inner.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_git() {
        let home = tempfile::tempdir().unwrap();
        let check = |patterns: &str, path: &str, is_directory: bool, expected: bool| {
            std::fs::write(home.path().join(IGNORE_FILE), patterns).unwrap();
            let rules = Ignores::default().enter(home.path(), "").unwrap();
            assert_eq!(rules.matches(path, is_directory), expected, "{patterns:?} {path}");
        };
        check("# note\n\n*.tmp", "a/b.tmp", false, true);
        check("*.tmp", "a.tmp2", false, false);
        check("/top", "top", false, true);
        check("/top", "a/top", false, false);
        check("a/b", "x/a/b", false, false);
        check("cache/", "x/cache", true, true);
        check("cache/", "x/cache", false, false);
        check("**/logs", "a/b/logs", true, true);
        check("a/**/z", "a/z", false, true);
        check("a/**/z", "a/b/c/z", false, true);
        check("a/**", "a/b/c", false, true);
        check("a/**", "a", true, false);
        check("f?o[0-9].[!c]", "x/foo1.d", false, true);
        check("f?o[0-9].[!c]", "foo1.c", false, false);
        check("*.csv\n!keep.csv", "x/keep.csv", false, false);
        check("\\!x \\ ", "!x  ", false, true);
        check("x   ", "x", false, true);
        check("a.b(c)+", "a.b(c)+", false, true);
    }
}
