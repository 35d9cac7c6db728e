//! The part of YAML that MLflow writes in `meta.yaml`: `key: value` lines, and maps of such lines one level deep.
//!
//! Scalars are plain, single-quoted or double-quoted and may be folded over several lines (YAML 1.1, sections 9.1.1,
//! 9.1.2 and 9.2). Everything else (anchors, tags, flow collections with content, lists with items, block scalars) is
//! refused with its line. It is no general YAML reader.

use std::collections::BTreeMap;

/// A value; none is YAML's null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Scalar(Option<String>),
    Map(BTreeMap<String, Option<String>>),
}

/// A file as a map.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Document(BTreeMap<String, Node>);

impl Document {
    /// The text of a key; none when it is absent, null or a map.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        match self.0.get(key) {
            Some(Node::Scalar(Some(text))) => Some(text),
            _ => None,
        }
    }

    /// The number of a key.
    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.text(key)?.parse().ok()
    }

    /// The pairs of a map with values.
    pub(super) fn map(&self, key: &str) -> BTreeMap<String, String> {
        match self.0.get(key) {
            Some(Node::Map(map)) => map.iter().filter_map(|(k, v)| Some((k.clone(), v.clone()?))).collect(),
            _ => BTreeMap::new(),
        }
    }
}

/// What is wrong, and in which line from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct YamlError {
    pub(super) line: usize,
    pub(super) reason: String,
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Result<Document, YamlError> {
    let mut reader = Reader { lines: text.lines().collect(), at: 0 };
    let mut document = BTreeMap::new();
    while let Some((indent, key)) = reader.key()? {
        if indent != 0 {
            return Err(reader.wrong("is indented where a key was expected"));
        }
        let at = reader.at;
        let node = reader.node()?;
        if document.insert(key.clone(), node).is_some() {
            return Err(reader.repeated(&key, at));
        }
    }
    Ok(Document(document))
}

struct Reader<'a> {
    /// The first one is cut when its beginning is read.
    lines: Vec<&'a str>,
    at: usize,
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

impl<'a> Reader<'a> {
    fn wrong(&self, reason: &str) -> YamlError {
        self.wrong_at(self.at, reason)
    }

    fn wrong_at(&self, at: usize, reason: &str) -> YamlError {
        YamlError { line: (at + 1).min(self.lines.len().max(1)), reason: format!("the line {reason}") }
    }

    fn repeated(&self, key: &str, at: usize) -> YamlError {
        self.wrong_at(at, &format!("repeats the key {key:?}"))
    }

    fn line(&self) -> Option<&'a str> {
        self.lines.get(self.at).copied()
    }

    /// Goes on with `rest` of the present line.
    fn cut(&mut self, rest: &'a str) {
        if let Some(line) = self.lines.get_mut(self.at) {
            *line = rest;
        }
    }

    fn skip_blank(&mut self) {
        let blank = |line: &str| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "---"
        };
        while self.line().is_some_and(blank) {
            self.at += 1;
        }
    }

    /// The next key and its indent; the line is cut behind the colon.
    fn key(&mut self) -> Result<Option<(usize, String)>, YamlError> {
        self.skip_blank();
        let Some(line) = self.line() else { return Ok(None) };
        let (indent, rest) = (indent(line), line.trim_start_matches(' '));
        if rest.starts_with("- ") || rest == "-" {
            return Err(self.wrong("is an item of a list, which is not read here"));
        }
        if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
            self.cut(rest.get(1..).unwrap_or_default());
            let key = self.quoted(quote)?;
            let rest = self.line().and_then(|rest| rest.trim_start().strip_prefix(':'));
            let rest = rest.ok_or_else(|| self.wrong("has no colon behind its key"))?;
            self.cut(rest);
            return Ok(Some((indent, key)));
        }
        let end = rest.find(": ").or_else(|| rest.ends_with(':').then(|| rest.len() - 1));
        let end = end.ok_or_else(|| self.wrong("is no `key: value`"))?;
        let (key, value) = rest.split_at(end);
        self.cut(value.get(1..).unwrap_or_default());
        Ok(Some((indent, key.to_owned())))
    }

    /// A scalar, or a map in the lines below.
    fn node(&mut self) -> Result<Node, YamlError> {
        let value = self.line().unwrap_or_default().trim();
        if matches!(value, "{}" | "[]") {
            self.at += 1;
            return Ok(Node::Map(BTreeMap::new()));
        }
        if !value.is_empty() {
            return self.scalar(0).map(Node::Scalar);
        }
        self.at += 1;
        let mut map = BTreeMap::new();
        loop {
            self.skip_blank();
            let Some(depth) = self.line().map(indent).filter(|&depth| 0 < depth) else { break };
            let Some((_, key)) = self.key()? else { break };
            let at = self.at;
            let value = self.scalar(depth)?;
            if map.insert(key.clone(), value).is_some() {
                return Err(self.repeated(&key, at));
            }
        }
        Ok(if map.is_empty() { Node::Scalar(None) } else { Node::Map(map) })
    }

    fn scalar(&mut self, depth: usize) -> Result<Option<String>, YamlError> {
        let rest = self.line().unwrap_or_default().trim_start();
        match rest.chars().next() {
            Some(quote @ ('\'' | '"')) => {
                self.cut(rest.get(1..).unwrap_or_default());
                let text = self.quoted(quote)?;
                let rest = self.line().unwrap_or_default().trim();
                if !rest.is_empty() && !rest.starts_with('#') {
                    return Err(self.wrong("goes on behind a closing quote"));
                }
                self.at += 1;
                Ok(Some(text))
            }
            Some('&' | '*' | '!' | '|' | '>' | '{' | '[' | '%' | '@' | '`') => {
                Err(self.wrong("begins with something other than a plain or quoted value"))
            }
            _ => Ok(self.plain(depth)),
        }
    }

    /// A plain scalar and the deeper lines that continue it.
    fn plain(&mut self, depth: usize) -> Option<String> {
        let strip = |line: &'a str| line.split(" #").next().unwrap_or_default().trim();
        let mut text = strip(self.line().unwrap_or_default()).to_owned();
        self.at += 1;
        let mut blank = 0;
        while let Some(line) = self.lines.get(self.at + blank) {
            if line.trim().is_empty() {
                blank += 1;
                continue;
            }
            if indent(line) <= depth {
                break;
            }
            fold(&mut text, blank);
            text.push_str(strip(line));
            self.at += blank + 1;
            blank = 0;
        }
        let null = matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL");
        (!null).then_some(text)
    }

    /// What stands up to the closing quote; the line is cut behind it.
    fn quoted(&mut self, quote: char) -> Result<String, YamlError> {
        let mut text = String::new();
        loop {
            let Some(line) = self.line() else { return Err(self.wrong("is the last, and a quote is still open")) };
            let (mut kept, mut joined) = (text.len(), false);
            let mut chars = line.char_indices();
            while let Some((at, c)) = chars.next() {
                let rest = line.get(at + 1..).unwrap_or_default();
                match c {
                    '\'' if quote == '\'' && rest.starts_with('\'') => {
                        chars.next();
                        text.push('\'');
                    }
                    c if c == quote => {
                        self.cut(rest);
                        return Ok(text);
                    }
                    '\\' if quote == '"' && rest.is_empty() => joined = true,
                    '\\' if quote == '"' => {
                        text.push(escaped(&mut chars).ok_or_else(|| self.wrong("has an escape that is not known"))?);
                        kept = text.len();
                    }
                    c => text.push(c),
                }
                if c != ' ' && c != '\t' {
                    kept = text.len();
                }
            }
            if !joined {
                text.truncate(kept);
            }
            self.at += 1;
            let mut blank = 0;
            while self.line().is_some_and(|line| line.trim().is_empty()) {
                (self.at, blank) = (self.at + 1, blank + 1);
            }
            if !joined || 0 < blank {
                fold(&mut text, blank);
            }
            if let Some(line) = self.line() {
                self.cut(line.trim_start());
            }
        }
    }
}

/// A line break is a space; with blank lines behind it, those.
fn fold(text: &mut String, blank: usize) {
    match blank {
        0 => text.push(' '),
        _ => text.extend(std::iter::repeat_n('\n', blank)),
    }
}

/// The character that follows a backslash stands for.
fn escaped(chars: &mut std::str::CharIndices<'_>) -> Option<char> {
    let hex = |chars: &mut std::str::CharIndices<'_>, digits: usize| {
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + chars.next()?.1.to_digit(16)?;
        }
        char::from_u32(code)
    };
    Some(match chars.next()?.1 {
        '0' => '\0',
        'a' => '\u{7}',
        'b' => '\u{8}',
        't' | '\t' => '\t',
        'n' => '\n',
        'v' => '\u{b}',
        'f' => '\u{c}',
        'r' => '\r',
        'e' => '\u{1b}',
        'N' => '\u{85}',
        '_' => '\u{a0}',
        'L' => '\u{2028}',
        'P' => '\u{2029}',
        'x' => hex(chars, 2)?,
        'u' => hex(chars, 4)?,
        'U' => hex(chars, 8)?,
        c @ (' ' | '"' | '/' | '\\') => c,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Written by PyYAML 6.0.4 `safe_dump(default_flow_style=False, allow_unicode=True)` of the values checked below.
    #[test]
    fn what_the_dumper_writes_is_read() {
        let text = include_str!("testdata/dumped.yaml");
        let document = parse(text).unwrap();
        let check = |key: &str, value: &str| assert_eq!(document.text(key), Some(value), "{key}");
        check("description", "d\nd2");
        check("id", "12");
        check("empty", "");
        check("name", "it's: #odd");
        check("plain", &format!("a b c d {}end", "word ".repeat(20)));
        check("folded", &format!("{{\"a\": 1, {}\"c\": 1}}", "\"bb\": 2, ".repeat(12)));
        check("double", &format!("t\tu {}", "v \u{e9} \u{20ac} ".repeat(15)));
        assert_eq!(document.text("none"), None);
        assert_eq!(document.number("last"), Some(5));
        assert_eq!(document.map("aliases"), [("champion".to_owned(), "1".to_owned())].into());
        assert!(document.map("tags").is_empty());
    }

    #[test]
    fn what_is_not_read_is_named_by_line() {
        for (wrong, line) in [
            ("- b", 1),
            ("b: &x 1", 1),
            ("b", 1),
            ("a: 2", 1),
            ("b: {c: 1}", 1),
            ("b: 'c' d", 1),
            ("b: \"\\q\"", 1),
            ("b:\n  c: 1\n  c: 2", 3),
            // A quote may be closed in any line that follows.
            ("b: 'c", 4),
        ] {
            let text = format!("# first\na: 1\n\n{wrong}\nz: 1\ny: 1\nx: 1\n");
            let found = parse(&text).map_err(|error| error.line);
            assert_eq!(found, Err(3 + line), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn single_quoted_text_comes_back_and_nothing_panics(text in "[a-z' :#\"\\\\é]{0,30}", noise in "[ -~\n]{0,80}") {
            let line = format!("k: '{}'\n", text.replace('\'', "''"));
            let document = parse(&line).unwrap();
            prop_assert_eq!(document.text("k"), Some(text.as_str()));
            drop(parse(&noise));
        }
    }
}
