//! Tree to text, as ruamel.yaml's round-trip dumper lays it out: block style, two spaces, lists not indented, lines
//! folded at 80 columns, quotes only where a reader would otherwise see something else.
//!
//! The rules (which style a scalar may have, where a line may break) are those of its emitter, measured in characters.

use super::{Mapping, Node, Scalar, Type, scalar::resolve};

const WIDTH: usize = 80;
const INDENT: usize = 2;
/// A key of this length or more stands after a question mark: 128 less the tag `!!str`, which counts though unwritten.
const SIMPLE_KEY_MAX: usize = 123;

/// The document.
pub(in crate::dvc) fn render(node: &Node) -> String {
    let mut emitter = Emitter { whitespace: true, indention: true, ..Emitter::default() };
    emitter.node(node, 0, Place::Root);
    if emitter.column > 0 {
        emitter.line_break('\n');
    }
    emitter.out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Item,
    Value,
}

#[derive(Default)]
struct Emitter {
    out: String,
    /// Characters since the last line break.
    column: usize,
    /// The last character leaves room for the next token.
    whitespace: bool,
    /// Nothing but indentation and indicators is on the line.
    indention: bool,
}

impl Emitter {
    fn node(&mut self, node: &Node, indent: usize, place: Place) {
        match node {
            Node::Scalar(scalar) => {
                let (text, style) = styled(scalar, false);
                if place == Place::Item {
                    self.line_to(indent + INDENT);
                }
                self.scalar(&text, style, true, indent + INDENT);
            }
            Node::Sequence(items) if items.is_empty() => self.indicator("[]", true, false),
            Node::Mapping(mapping) if mapping.len() == 0 => self.indicator("{}", true, false),
            Node::Sequence(items) => {
                let inner = if place == Place::Item { indent + INDENT } else { indent };
                for item in items {
                    self.line_to(inner);
                    self.indicator("-", true, true);
                    self.node(item, inner, Place::Item);
                }
            }
            Node::Mapping(mapping) => {
                self.mapping(mapping, if place == Place::Root { indent } else { indent + INDENT });
            }
        }
    }

    fn mapping(&mut self, mapping: &Mapping, indent: usize) {
        for (key, value) in mapping.iter() {
            self.line_to(indent);
            let (text, style) = styled(key, true);
            let simple = text.len() < SIMPLE_KEY_MAX && !text.iter().any(|c| is_break(*c));
            if simple {
                self.scalar(&text, style, false, indent + INDENT);
                self.indicator(":", false, false);
            } else {
                let (text, style) = styled(key, false);
                self.indicator("?", true, true);
                self.scalar(&text, style, true, indent + INDENT);
                self.line_to(indent);
                self.indicator(":", true, true);
            }
            self.node(value, indent, Place::Value);
        }
    }

    fn scalar(&mut self, text: &[char], style: Style, split: bool, indent: usize) {
        match style {
            Style::Plain => self.plain(text, split, indent),
            Style::Single => self.single(text, split, indent),
            Style::Double => self.double(text, split, indent),
        }
    }

    fn push(&mut self, text: &[char]) {
        self.out.extend(text);
        self.column += text.len();
    }

    fn line_break(&mut self, character: char) {
        self.out.push(character);
        (self.column, self.whitespace, self.indention) = (0, true, true);
    }

    fn line_to(&mut self, indent: usize) {
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line_break('\n');
        }
        if self.column < indent {
            self.whitespace = true;
            self.out.extend(std::iter::repeat_n(' ', indent - self.column));
            self.column = indent;
        }
    }

    fn indicator(&mut self, text: &str, spaced: bool, indention: bool) {
        if spaced && !self.whitespace {
            self.push(&[' ']);
        }
        self.whitespace = false;
        self.indention &= indention;
        self.out.push_str(text);
        self.column += text.len();
    }

    fn fold(&mut self, indent: usize) {
        self.line_to(indent);
        (self.whitespace, self.indention) = (false, false);
    }

    fn plain(&mut self, text: &[char], split: bool, indent: usize) {
        if text.is_empty() {
            return;
        }
        if !self.whitespace {
            self.push(&[' ']);
        }
        (self.whitespace, self.indention) = (false, false);
        for run in runs(text) {
            match run {
                Run::Spaces([_]) if self.column >= WIDTH && split => self.fold(indent),
                Run::Spaces(spaces) => self.push(spaces),
                Run::Breaks(breaks) => self.breaks(breaks, indent),
                Run::Words(word) => {
                    // A word longer than the line gets a line of its own.
                    if word.len() + self.column > WIDTH && self.column > indent {
                        self.line_to(indent);
                    }
                    self.push(word);
                }
            }
        }
    }

    /// An empty line stands for a line break within a folded scalar.
    fn breaks(&mut self, breaks: &[char], indent: usize) {
        if breaks.first() == Some(&'\n') {
            self.line_break('\n');
        }
        breaks.iter().for_each(|character| self.line_break(*character));
        self.fold(indent);
    }

    fn single(&mut self, text: &[char], split: bool, indent: usize) {
        self.indicator("'", true, false);
        let mut at = 0;
        for run in runs(text) {
            let inside = at > 0 && at + run.len() < text.len();
            at += run.len();
            match run {
                Run::Spaces([_]) if self.column > WIDTH && split && inside => self.line_to(indent),
                Run::Spaces(spaces) => self.push(spaces),
                Run::Breaks(breaks) => {
                    if breaks.first() == Some(&'\n') {
                        self.line_break('\n');
                    }
                    breaks.iter().for_each(|character| self.line_break(*character));
                    self.line_to(indent);
                }
                Run::Words(word) => {
                    for character in word {
                        self.push(if *character == '\'' { &['\'', '\''] } else { std::slice::from_ref(character) });
                    }
                }
            }
        }
        self.indicator("'", false, false);
    }

    fn double(&mut self, text: &[char], split: bool, indent: usize) {
        self.indicator("\"", true, false);
        let (mut start, mut end) = (0, 0);
        while end <= text.len() {
            let character = text.get(end).copied();
            if character.is_none_or(|c| escape(c).is_some()) {
                if start < end {
                    self.push(slice(text, start, end));
                    start = end;
                }
                if let Some(escaped) = character.and_then(escape) {
                    self.out.push_str(&escaped);
                    self.column += escaped.chars().count();
                    start = end + 1;
                }
            }
            let pending = (self.column + end).saturating_sub(start);
            let may_break = 0 < end && end + 1 < text.len() && (character == Some(' ') || start >= end);
            if may_break && pending > WIDTH && split {
                start = self.double_fold(text, start, end, indent);
            }
            end += 1;
        }
        self.indicator("\"", false, false);
    }

    /// Ends the line before `end`; a reader must not see a space there that is not in the text. Where writing goes on.
    fn double_fold(&mut self, text: &[char], mut start: usize, end: usize, indent: usize) -> usize {
        let backslash = fold_needs_backslash(text, start, end);
        self.push(slice(text, start, end));
        start = start.max(end);
        if backslash {
            self.push(&['\\']);
        }
        self.fold(indent);
        if text.get(start) == Some(&' ') {
            if backslash {
                self.push(&['\\']);
            } else {
                start += 1;
            }
        }
        start
    }
}

fn slice(text: &[char], start: usize, end: usize) -> &[char] {
    text.get(start..end).unwrap_or_default()
}

fn fold_needs_backslash(text: &[char], start: usize, end: usize) -> bool {
    let find = |wanted: char, from: usize, to: usize| (from..to).find(|index| text.get(*index) == Some(&wanted));
    let Some(space) = find(' ', end, text.len()) else { return true };
    let stop = find('\n', end, space).unwrap_or(space);
    let next = text.get(stop + 1).copied();
    if text.get(stop) == Some(&'\n') && next != Some(' ') {
        return true;
    }
    let quotes = slice(text, end, stop).iter().any(|c| matches!(c, '"' | '\''));
    let two_spaces = slice(text, end - 1, end + 1) == [' ', ' '];
    quotes || next.is_none_or(|next| matches!(next, ' ' | '\n')) || two_spaces || start == end
}

fn is_break(character: char) -> bool {
    matches!(character, '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Characters of one kind that follow each other.
enum Run<'a> {
    Spaces(&'a [char]),
    Breaks(&'a [char]),
    Words(&'a [char]),
}

impl Run<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Spaces(run) | Self::Breaks(run) | Self::Words(run) => run.len(),
        }
    }
}

fn runs(text: &[char]) -> impl Iterator<Item = Run<'_>> {
    let kind = |c: char| (c == ' ', is_break(c));
    text.chunk_by(move |left, right| kind(*left) == kind(*right)).map(move |run| match run.first().map(|c| kind(*c)) {
        Some((true, _)) => Run::Spaces(run),
        Some((_, true)) => Run::Breaks(run),
        _ => Run::Words(run),
    })
}

/// How a character is written between double quotes, when not as itself.
fn escape(character: char) -> Option<String> {
    let short = match character {
        '\0' => '0',
        '\x07' => 'a',
        '\x08' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\x0b' => 'v',
        '\x0c' => 'f',
        '\r' => 'r',
        '\x1b' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        ' '..='~' => return None,
        '\u{feff}' => return Some("\\uFEFF".to_owned()),
        '\u{a0}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}' => return None,
        other if u32::from(other) <= 0xff => return Some(format!("\\x{:02X}", u32::from(other))),
        other => return Some(format!("\\u{:04X}", u32::from(other))),
    };
    Some(format!("\\{short}"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
}

/// The characters of a scalar and the style that its emitter would choose.
fn styled(scalar: &Scalar, key: bool) -> (Vec<char>, Style) {
    let text = scalar.normal();
    let is_text = scalar.kind() == Type::Text;
    let characters: Vec<char> = text.chars().collect();
    let allowed = Allowed::of(&characters);
    let reads_back = !is_text || resolve(&text) == Type::Text;
    let in_key = key && (characters.is_empty() || allowed.multiline);
    let style = if reads_back && !in_key && allowed.plain {
        Style::Plain
    } else if characters.iter().any(|c| matches!(c, '\'' | '\n')) {
        Style::Double
    } else if allowed.single && !(key && allowed.multiline) {
        Style::Single
    } else {
        Style::Double
    };
    (characters, style)
}

/// Which styles a text may have.
struct Allowed {
    plain: bool,
    single: bool,
    multiline: bool,
}

impl Allowed {
    fn of(text: &[char]) -> Self {
        let space = |c: &char| matches!(c, '\0' | ' ' | '\t' | '\r') || is_break(*c);
        let edge = |c: Option<&char>| c.is_some_and(|c| *c == ' ' || is_break(*c));
        let pair = |wanted: fn(char, char) -> bool| text.windows(2).any(|two| matches!(two, [a, b] if wanted(*a, *b)));
        let multiline = text.iter().any(|c| is_break(*c));
        let special = text.iter().any(|c| special(*c));
        let break_space = pair(|a, b| is_break(a) && b == ' ');
        let space_break = pair(|a, b| a == ' ' && is_break(b));
        let indicator = has_indicator(text, space);
        let plain = !(edge(text.first()) || edge(text.last()) || multiline || special || indicator);
        Self { plain, single: !(special || break_space || space_break), multiline }
    }
}

/// Only double quotes can carry it.
fn special(character: char) -> bool {
    !matches!(character, '\n' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
        || character == '\u{feff}'
}

/// Something that would not be read as the text of a plain scalar in a block.
fn has_indicator(text: &[char], space: impl Fn(&char) -> bool) -> bool {
    if text.starts_with(&['-', '-', '-']) || text.starts_with(&['.', '.', '.']) {
        return true;
    }
    text.iter().enumerate().any(|(index, character)| {
        let spaced = text.get(index + 1).is_none_or(&space);
        let after_space = index == 0 || text.get(index.wrapping_sub(1)).is_some_and(&space);
        match character {
            '#' => after_space,
            ':' => spaced,
            '-' | '?' => index == 0 && spaced,
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => index == 0,
            _ => false,
        }
    })
}
