//! One scalar and the type that YAML 1.2, as ruamel.yaml resolves it, gives it.

use std::{ops::Range, sync::LazyLock};

use regex::Regex;

use super::number::{float_text, int_text};

/// What a plain scalar stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dvc) enum Type {
    Null,
    Bool,
    Int,
    Float,
    /// A date, or one of the words `<<` and `=` that YAML keeps for itself.
    Other,
    Text,
}

/// A scalar as it was read, or as it is to be written.
#[derive(Debug, Clone)]
pub(in crate::dvc) struct Scalar {
    source: String,
    plain: bool,
    span: Option<Range<usize>>,
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.kind() == other.kind() && self.normal() == other.normal()
    }
}

impl Scalar {
    pub(in crate::dvc) fn text(text: impl Into<String>) -> Self {
        Self { source: text.into(), plain: false, span: None }
    }

    pub(in crate::dvc) fn plain(text: impl Into<String>) -> Self {
        Self { source: text.into(), plain: true, span: None }
    }

    pub(super) fn at(mut self, span: Range<usize>) -> Self {
        self.span = Some(span);
        self
    }

    pub(super) fn span(&self) -> Option<Range<usize>> {
        self.span.clone()
    }

    /// The characters, without quotes.
    pub(in crate::dvc) fn source(&self) -> &str {
        &self.source
    }

    pub(in crate::dvc) fn as_str(&self) -> Option<&str> {
        (self.kind() == Type::Text).then_some(self.source.as_str())
    }

    pub(in crate::dvc) fn kind(&self) -> Type {
        if self.plain { resolve(&self.source) } else { Type::Text }
    }

    /// As Python's values are dumped: `0x10` is `16`, `1e3` is `1000.0`, `~` is nothing at all.
    pub(in crate::dvc) fn normal(&self) -> String {
        match self.kind() {
            Type::Null => String::new(),
            Type::Bool => self.source.to_ascii_lowercase(),
            Type::Int => int_text(&self.source),
            Type::Float => float_text(&self.source),
            Type::Other | Type::Text => self.source.clone(),
        }
    }
}

struct Resolvers {
    int: Regex,
    float: Regex,
    date: Regex,
}

/// The implicit resolvers of ruamel.yaml for YAML 1.2.
#[allow(clippy::expect_used, reason = "constant patterns, covered by every test here")]
static RESOLVERS: LazyLock<Resolvers> = LazyLock::new(|| {
    let pattern = |text: &str| Regex::new(text).expect("a constant pattern compiles");
    Resolvers {
        int: pattern(r"^(?:[-+]?0b[0-1_]+|[-+]?0o?[0-7_]+|[-+]?[0-9_]+|[-+]?0x[0-9a-fA-F_]+)$"),
        float: pattern(concat!(
            r"^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)",
            r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
        )),
        date: pattern(concat!(
            r"^(?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}",
            r"(?:\.[0-9]*)?(?:[ \t]*(?:Z|[-+][0-9]{1,2}(?::[0-9]{2})?))?)$"
        )),
    }
});

/// The type of a plain scalar.
pub(super) fn resolve(text: &str) -> Type {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Type::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Type::Bool,
        "<<" | "=" => return Type::Other,
        _ => {}
    }
    // A number or a date begins with one of these; an underscore alone does not make one.
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+' | '.')) {
        return Type::Text;
    }
    let resolvers = &*RESOLVERS;
    if resolvers.float.is_match(text) {
        Type::Float
    } else if resolvers.int.is_match(text) {
        Type::Int
    } else if resolvers.date.is_match(text) {
        Type::Other
    } else {
        Type::Text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_type_that_pythons_parser_finds() {
        let cases = [
            ("", Type::Null),
            ("null", Type::Null),
            ("yes", Type::Text),
            ("True", Type::Bool),
            ("1_000", Type::Int),
            ("0x1F", Type::Int),
            ("0o17", Type::Int),
            ("1e3", Type::Float),
            ("1.", Type::Float),
            ("-.inf", Type::Float),
            ("1.2.3", Type::Text),
            ("2026-01-01", Type::Other),
            ("2026-1-1", Type::Text),
            ("12:30", Type::Text),
            ("<<", Type::Other),
            ("_1", Type::Text),
        ];
        for (text, expected) in cases {
            assert_eq!(Scalar::plain(text).kind(), expected, "{text}");
            assert_eq!(Scalar::text(text).kind(), Type::Text);
        }
    }
}
