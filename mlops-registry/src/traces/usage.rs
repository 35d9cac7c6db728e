//! How many tokens a trace took, out of what its spans count.
//!
//! Invariant: a span that counts stands for all below it, since what calls models counts what they took as well.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Span, TOKENS_ATTRIBUTE};

/// What is counted: first what is always told, 0 where no span counts it, then what is told where a span does.
const NAMES: [&str; 6] = [
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_input_tokens_above_1hr",
];
const ALWAYS_TOLD: usize = 3;

/// What a span counts, in the order of [`NAMES`].
pub(super) type Tokens = [Option<i64>; NAMES.len()];

/// What matters of a span to the count of its trace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Counting {
    /// The id of the span above in lower case; empty for a root.
    pub(super) parent: String,
    /// What it counts by itself.
    pub(super) tokens: Option<Tokens>,
}

impl Counting {
    pub(super) fn of(span: &Span) -> Self {
        let parent = if span.is_root() { String::new() } else { span.parent_span_id.to_ascii_lowercase() };
        let tokens = match span.attribute(TOKENS_ATTRIBUTE).map(|value| value.meaning()) {
            Some(Value::Object(counted)) if !counted.is_empty() => {
                Some(NAMES.map(|name| counted.get(name).and_then(Value::as_i64)))
            }
            _ => None,
        };
        Self { parent, tokens }
    }
}

/// The sum over the spans of one trace, by their ids in lower case, that no span above them counts for; none when no
/// span counts. A span whose parent is not among them is a root.
pub(super) fn of_trace(spans: &BTreeMap<String, Counting>) -> Option<BTreeMap<&'static str, i64>> {
    let mut below: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut open: Vec<&str> = Vec::new();
    for (id, span) in spans {
        match spans.get_key_value(&span.parent) {
            Some((parent, _)) => below.entry(parent).or_default().push(id),
            None => open.push(id),
        }
    }
    let mut sum: Option<Tokens> = None;
    while let Some(id) = open.pop() {
        let Some(counted) = spans.get(id).and_then(|span| span.tokens) else {
            // Taken out, so that spans that name each other as parents are gone through once.
            open.extend(below.remove(id).unwrap_or_default());
            continue;
        };
        for (total, count) in sum.get_or_insert_default().iter_mut().zip(counted) {
            *total = count.map(|count| total.unwrap_or(0).saturating_add(count)).or(*total);
        }
    }
    let told = |(at, (name, total)): (usize, (&'static str, Option<i64>))| {
        Some((name, total.or((at < ALWAYS_TOLD).then_some(0))?))
    };
    Some(NAMES.into_iter().zip(sum?).enumerate().filter_map(told).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::{AnyValue, Attribute};

    fn span(id: &str, parent: &str, tokens: Option<&str>) -> Span {
        let counted = |text: &str| Attribute { key: TOKENS_ATTRIBUTE.into(), value: AnyValue::Text(text.into()) };
        Span {
            span_id: id.into(),
            parent_span_id: parent.into(),
            attributes: tokens.map(counted).into_iter().collect(),
            ..Span::default()
        }
    }

    fn sum(spans: &[Span]) -> Option<BTreeMap<&'static str, i64>> {
        of_trace(&spans.iter().map(|span| (span.span_id.to_ascii_lowercase(), Counting::of(span))).collect())
    }

    fn total(spans: &[Span]) -> Option<i64> {
        sum(spans).map(|sum| sum["total_tokens"])
    }

    #[test]
    fn a_span_that_counts_stands_for_all_below_it() {
        let (five, seven) = (Some(r#"{"total_tokens": 5}"#), Some(r#"{"total_tokens": 7}"#));
        assert_eq!(total(&[span("a", "", None), span("b", "a", five), span("c", "a", seven)]), Some(12));
        assert_eq!(total(&[span("a", "", seven), span("b", "a", None), span("c", "b", five)]), Some(7));
        assert_eq!(total(&[span("b", "elsewhere", five), span("c", "", seven)]), Some(12), "a lost parent");
        assert_eq!(total(&[span("a", "", None)]), None);
        assert_eq!(total(&[span("AB", "", seven), span("cd", "ab", five), span("ef", "Ab", five)]), Some(7), "case");
    }

    #[test]
    fn what_is_no_count_and_circles_add_nothing() {
        assert_eq!(total(&[span("a", "", Some("[1]")), span("b", "a", Some("no json"))]), None);
        assert_eq!(total(&[span("a", "b", Some(r#"{"total_tokens": 5}"#)), span("b", "a", None)]), None);
    }

    #[test]
    fn tokens_of_caches_are_told_where_a_span_counts_them() {
        let counts = span("a", "", Some(r#"{"input_tokens": 3, "cache_read_input_tokens": 2}"#));
        let sum = sum(&[counts]).unwrap();
        let expected = [("cache_read_input_tokens", 2), ("input_tokens", 3), ("output_tokens", 0), ("total_tokens", 0)];
        assert_eq!(sum, expected.into());
    }
}
