//! A condition on the columns of a row: which rows a rule is about.
//!
//! Invariant: the serialized form is the text form, and reading what was written gives the same
//! condition. Logic is SQL's: a comparison with null is unknown, and a row counts only when the
//! condition is true. Not an expression language: no arithmetic, no comparison of two columns.

mod parse;

use std::{fmt, str::FromStr};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::value::SetValue;

/// Longest text of a condition in bytes.
pub const CONDITION_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of parentheses and negations.
pub const CONDITION_DEPTH_MAX: usize = 64;

/// How two values compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// As written in a condition.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// A condition on the columns of a row.
///
/// ```text
/// condition  = conjunction { "or" conjunction }
/// conjunction = term { "and" term }
/// term       = "not" term | "(" condition ")" | column test
/// test       = ("=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">=") literal
///            | [ "not" ] "in" "(" literal { "," literal } ")"
///            | "is" [ "not" ] "null"
/// column     = letter or "_", then letters, digits, "_", "."; or any name in double quotes, "" for "
/// literal    = 'text', '' for ' | number | "true" | "false"
/// ```
///
/// Keywords are read in any case. Dates and timestamps are compared with ISO 8601 text.
///
/// ```
/// use mlops_monitor::quality::Condition;
///
/// let condition: Condition = "amount >= 10 AND (country in ('DE', 'FR') or not vip is null)".parse()?;
/// assert_eq!(condition.to_string(), "amount >= 10 and (country in ('DE', 'FR') or not vip is null)");
/// assert!("amount >= ".parse::<Condition>().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Condition {
    /// A column against a literal; unknown where the column is null.
    Compare {
        /// The column.
        column: String,
        /// How.
        comparison: Comparison,
        /// The literal.
        value: SetValue,
    },
    /// A column is one of these; unknown where it is null.
    In {
        /// The column.
        column: String,
        /// The literals, at least one.
        values: Vec<SetValue>,
    },
    /// A column is null.
    IsNull {
        /// The column.
        column: String,
    },
    /// All of these, at least one.
    And(Vec<Self>),
    /// At least one of these.
    Or(Vec<Self>),
    /// The opposite; unknown stays unknown.
    Not(Box<Self>),
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse::condition(text)
    }
}

impl TryFrom<String> for Condition {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> Self {
        condition.to_string()
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare { column, comparison, value } => {
                write!(f, "{} {} {value}", Name(column), comparison.as_str())
            }
            Self::In { column, values } => {
                write!(f, "{} in (", Name(column))?;
                separated(f, values, ", ", |value, f| write!(f, "{value}"))?;
                f.write_str(")")
            }
            Self::IsNull { column } => write!(f, "{} is null", Name(column)),
            Self::And(parts) => {
                separated(f, parts, " and ", |part, f| part.within(f, matches!(part, Self::And(_) | Self::Or(_))))
            }
            Self::Or(parts) => separated(f, parts, " or ", |part, f| part.within(f, matches!(part, Self::Or(_)))),
            Self::Not(inner) => {
                f.write_str("not ")?;
                inner.within(f, matches!(**inner, Self::And(_) | Self::Or(_)))
            }
        }
    }
}

impl Condition {
    fn within(&self, f: &mut fmt::Formatter<'_>, parentheses: bool) -> fmt::Result {
        if parentheses { write!(f, "({self})") } else { write!(f, "{self}") }
    }
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    separator: &str,
    write: impl Fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result,
) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(separator)?;
        }
        write(item, f)?;
    }
    Ok(())
}

/// A column name, in double quotes unless it is plain.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if parse::is_plain_name(self.0) {
            return f.write_str(self.0);
        }
        write!(f, "\"{}\"", self.0.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn literal() -> impl Strategy<Value = SetValue> {
        prop_oneof![
            any::<bool>().prop_map(SetValue::Bool),
            any::<i64>().prop_map(SetValue::Integer),
            proptest::num::f64::NORMAL.prop_map(SetValue::Float),
            ".{0,8}".prop_map(SetValue::Text),
        ]
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let comparison = prop_oneof![
            Just(Comparison::Equal),
            Just(Comparison::NotEqual),
            Just(Comparison::Less),
            Just(Comparison::LessOrEqual),
            Just(Comparison::Greater),
            Just(Comparison::GreaterOrEqual),
        ];
        let leaf = prop_oneof![
            (".{1,8}", comparison, literal()).prop_map(|(column, comparison, value)| Condition::Compare {
                column,
                comparison,
                value
            }),
            (".{1,8}", proptest::collection::vec(literal(), 1..4))
                .prop_map(|(column, values)| Condition::In { column, values }),
            ".{1,8}".prop_map(|column| Condition::IsNull { column }),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 2..4).prop_map(Condition::And),
                proptest::collection::vec(inner.clone(), 2..4).prop_map(Condition::Or),
                inner.prop_map(|inner| Condition::Not(Box::new(inner))),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(condition in condition()) {
            let text = condition.to_string();
            prop_assert_eq!(text.parse::<Condition>().unwrap(), condition, "{}", text);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = text.parse::<Condition>();
        }
    }

    #[test]
    fn faults_are_named() {
        for (text, what) in [
            ("", "column"),
            ("a =", "literal"),
            ("a in ()", "literal"),
            ("a = 1 b = 2", "end"),
            ("(a = 1", "\")\""),
            ("a = 'x", "closed"),
            ("a ~ 1", "comparison"),
            ("a is 1", "null"),
            ("a = 99999999999999999999", "number"),
        ] {
            let message = text.parse::<Condition>().unwrap_err().message().to_owned();
            assert!(message.contains(what), "{text}: {message}");
        }
        let deep = format!("{}a = 1{}", "(".repeat(100), ")".repeat(100));
        assert!(deep.parse::<Condition>().unwrap_err().message().contains("deep"));
        let negated = format!("{}a = 1", "not ".repeat(100));
        assert!(negated.parse::<Condition>().unwrap_err().message().contains("deep"));
    }
}
