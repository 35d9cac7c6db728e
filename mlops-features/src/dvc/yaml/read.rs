//! Text to tree: one document, bounded in size, depth and number of nodes, aliases counted as often as they are used.

use std::collections::HashMap;

use mlops_core::{Error, Result};
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};

use super::{Mapping, Node, Scalar, Type};

/// Most bytes of a file that is read.
pub(in crate::dvc) const BYTES_MAX: u64 = 64 << 20;
const DEPTH_MAX: usize = 64;
const NODES_MAX: usize = 4 << 20;

/// Reads the one document in `text`, which is `what`; an empty one is an empty mapping.
pub(in crate::dvc) fn parse(what: &str, text: &str) -> Result<Node> {
    let mut reader = Reader { what, parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    reader.document()
}

struct Reader<'a> {
    what: &'a str,
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn fault(&self, message: impl std::fmt::Display) -> Error {
        Error::invalid_argument(format!("{}: {message}", self.what)).with("path", self.what)
    }

    fn next(&mut self) -> Result<(Event<'a>, std::ops::Range<usize>)> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.index()..span.end.index())),
            Some(Err(error)) => {
                Err(self.fault(format!("line {} is not YAML", error.marker().line())).with_source(error))
            }
            None => Err(self.fault("ends in the middle")),
        }
    }

    fn document(&mut self) -> Result<Node> {
        let mut found = None;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => break,
                (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing, _) => {}
                _ if found.is_some() => return Err(self.fault("holds more than one document")),
                (event, span) => found = Some(self.node(event, span, 0)?),
            }
        }
        let node = found.filter(|node| !node.is_null());
        Ok(node.unwrap_or_else(|| Node::Mapping(Mapping::default())))
    }

    fn count(&mut self, nodes: usize) -> Result<()> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            return Err(self.fault(format!("has more than {NODES_MAX} values")));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, span: std::ops::Range<usize>, depth: usize) -> Result<Node> {
        self.count(1)?;
        if depth > DEPTH_MAX {
            return Err(self.fault(format!("is nested deeper than {DEPTH_MAX} levels")));
        }
        let (anchor, node) = match event {
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).cloned();
                let target = target.ok_or_else(|| self.fault("an alias refers to itself or to nothing"))?;
                self.count(size(&target))?;
                return Ok(target);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let scalar =
                    if style == ScalarStyle::Plain && tag.is_none() { Scalar::plain(text) } else { Scalar::text(text) };
                (anchor, Node::Scalar(scalar.at(span)))
            }
            Event::SequenceStart(anchor, _) => (anchor, self.sequence(depth)?),
            Event::MappingStart(anchor, _) => (anchor, self.mapping(depth)?),
            other => return Err(self.fault(format!("has {other:?} where a value belongs"))),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Node> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Node::Sequence(items)),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Node> {
        let mut mapping = Mapping::default();
        let mut merged = Vec::new();
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => break,
                (event, span) => self.node(event, span, depth + 1)?,
            };
            let Node::Scalar(key) = key else { return Err(self.fault("has a key that is not a scalar")) };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            let merge = key.kind() == Type::Other && key.source() == "<<";
            match (key.source(), value) {
                (_, Node::Mapping(other)) if merge => merged.push(other),
                (_, Node::Sequence(others)) if merge => {
                    merged.extend(others.into_iter().filter_map(|other| match other {
                        Node::Mapping(other) => Some(other),
                        _ => None,
                    }));
                }
                (name, _) if mapping.get(name).is_some() => {
                    return Err(self.fault(format!("has the key \"{name}\" twice")));
                }
                (_, value) => mapping.push(key, value),
            }
        }
        for (key, value) in merged.iter().flat_map(Mapping::iter) {
            if mapping.get(key.source()).is_none() {
                mapping.push(key.clone(), value.clone());
            }
        }
        Ok(Node::Mapping(mapping))
    }
}

fn size(node: &Node) -> usize {
    match node {
        Node::Scalar(_) => 1,
        Node::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        Node::Mapping(mapping) => 1 + mapping.iter().map(|(_, value)| 1 + size(value)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(node: &'a Node, path: &str) -> &'a Node {
        path.split('.').fold(node, |node, key| node.as_mapping().unwrap().get(key).unwrap())
    }

    #[test]
    fn what_people_write_is_read() {
        let text = "# note\nbase: &b {lr: 1e-3, \"n\": '3'}\nrun:\n  <<: *b\n  lr: 2\nlist: [a, null, 0x10]\n";
        let tree = parse("params.yaml", text).unwrap();
        assert_eq!(at(&tree, "run.lr").as_u64(), Some(2));
        assert_eq!(at(&tree, "run.n").as_str(), Some("3"));
        assert_eq!(at(&tree, "list").as_sequence().unwrap()[2].as_u64(), Some(16));
        assert!(at(&tree, "list").as_sequence().unwrap()[1].is_null());
        assert_eq!(parse("x", "").unwrap().as_mapping().unwrap().len(), 0);
    }

    #[test]
    fn faults_name_the_file() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned()
            + &(1..9)
                .map(|i| {
                    let (name, of) = (char::from(b'a' + i), char::from(b'a' + i - 1));
                    format!("{name}: &{name} [*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of},*{of}]\n")
                })
                .collect::<String>();
        for (text, part) in [
            ("a: 1\na: 2\n", "\"a\" twice"),
            ("a: [1\n", "not YAML"),
            ("---\na: 1\n---\nb: 2\n", "more than one document"),
            (&"[".repeat(5_000), ""),
            (&bomb, "values"),
        ] {
            let error = parse("data.dvc", text).unwrap_err();
            assert!(error.message().starts_with("data.dvc: ") && error.message().contains(part), "{error}");
        }
    }
}
