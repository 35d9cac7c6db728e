//! Which alerts a silence or an inhibition is about: matchers on labels, as Alertmanager has them.
//!
//! Invariant: a missing label matches as the empty text, and a regular expression must match the
//! whole value. The JSON form is that of Alertmanager's API.

use std::fmt;

use mlops_core::{Error, Result};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use super::labels::{LABEL_VALUE_BYTES_MAX, Labels, is_label_name};

/// Largest compiled expression in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;
/// Most matchers in one list.
pub const MATCHERS_MAX: usize = 32;

/// A condition on one label.
///
/// ```
/// use mlops_monitor::alert::{Labels, Matcher};
///
/// let labels = Labels::new([("model", "fraud"), ("feature", "amount")])?;
/// assert!(Matcher::equal("model", "fraud")?.matches(&labels));
/// assert!(Matcher::regex("feature", "am.*|hour")?.matches(&labels));
/// assert!(!Matcher::regex("feature", "am")?.matches(&labels));
/// assert!(Matcher::equal("version", "3")?.negated().matches(&labels));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(try_from = "Plain", into = "Plain")]
pub struct Matcher {
    plain: Plain,
    regex: Option<Regex>,
}

/// The fields of Alertmanager's API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Plain {
    name: String,
    value: String,
    #[serde(default)]
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        self.plain == other.plain
    }
}

impl Matcher {
    /// The label has this value.
    ///
    /// # Errors
    /// `InvalidArgument` when `name` is no label name or `value` is longer than labels are.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Result<Self> {
        Plain { name: name.into(), value: value.into(), is_regex: false, is_equal: true }.try_into()
    }

    /// The whole value of the label matches the expression.
    ///
    /// # Errors
    /// `InvalidArgument` as for [`Matcher::equal`], or when the expression is wrong or needs more
    /// than a mebibyte.
    pub fn regex(name: impl Into<String>, expression: impl Into<String>) -> Result<Self> {
        Plain { name: name.into(), value: expression.into(), is_regex: true, is_equal: true }.try_into()
    }

    /// [`Matcher::equal`] for text that is known to be right.
    pub(crate) fn literal(name: &'static str, value: &'static str) -> Self {
        let (name, value) = (name.to_owned(), value.to_owned());
        Self { plain: Plain { name, value, is_regex: false, is_equal: true }, regex: None }
    }

    /// The opposite.
    #[must_use]
    pub fn negated(mut self) -> Self {
        self.plain.is_equal = !self.plain.is_equal;
        self
    }

    /// Whether the labels satisfy it.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_value(labels.get(&self.plain.name).unwrap_or_default())
    }

    fn matches_value(&self, value: &str) -> bool {
        let hit = match &self.regex {
            Some(regex) => regex.is_match(value),
            None => value == self.plain.value,
        };
        hit == self.plain.is_equal
    }

    /// Whether alerts without the label satisfy it.
    #[must_use]
    pub fn matches_absent(&self) -> bool {
        self.matches_value("")
    }
}

/// `model="fraud"`, `feature=~"am.*"`, and with `!` for the opposite.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match (self.plain.is_regex, self.plain.is_equal) {
            (false, true) => "=",
            (false, false) => "!=",
            (true, true) => "=~",
            (true, false) => "!~",
        };
        write!(f, "{}{operator}{:?}", self.plain.name, self.plain.value)
    }
}

impl TryFrom<Plain> for Matcher {
    type Error = Error;

    fn try_from(plain: Plain) -> Result<Self> {
        let Plain { name, value, is_regex, .. } = &plain;
        if !is_label_name(name) {
            return Err(Error::invalid_argument(format!("matcher on {name:?}: that is no label name")));
        }
        if value.len() > LABEL_VALUE_BYTES_MAX {
            let found = value.len();
            return Err(Error::invalid_argument(format!(
                "matcher on {name:?} has a value of {found} bytes; at most {LABEL_VALUE_BYTES_MAX} are allowed"
            )));
        }
        let regex = if *is_regex { Some(whole(name, value)?) } else { None };
        Ok(Self { regex, plain })
    }
}

impl From<Matcher> for Plain {
    fn from(matcher: Matcher) -> Self {
        matcher.plain
    }
}

/// The expression on its own must be one, or `a)(b` would become one by the brackets around it.
fn whole(name: &str, expression: &str) -> Result<Regex> {
    let compile = |text: &str| {
        RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build().map_err(|error| {
            Error::invalid_argument(format!("matcher on {name:?}: {expression:?} is no regular expression"))
                .with_source(error)
        })
    };
    compile(expression)?;
    compile(&format!("^(?:{expression})$"))
}

/// Checks the number of matchers, and that at least one rules out alerts without labels, so that
/// no list matches everything by accident.
pub(crate) fn check_list(what: &str, matchers: &[Matcher]) -> Result<()> {
    if matchers.len() > MATCHERS_MAX {
        let found = matchers.len();
        return Err(Error::invalid_argument(format!(
            "{what} has {found} matchers; at most {MATCHERS_MAX} are allowed"
        )));
    }
    if matchers.iter().all(Matcher::matches_absent) {
        return Err(Error::invalid_argument(format!(
            "{what} matches every alert; it needs a matcher that an empty label does not satisfy"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_alertmanager_on_absent_labels_and_whole_values() {
        let labels = Labels::new([("a", "foo"), ("line", "x\ny")]).unwrap();
        let check = |json: &str, expected: bool| {
            let matcher: Matcher = serde_json::from_str(json).unwrap();
            assert_eq!(matcher.matches(&labels), expected, "{matcher}");
        };
        check(r#"{"name":"a","value":"foo","isRegex":false}"#, true);
        check(r#"{"name":"a","value":"foo","isRegex":false,"isEqual":false}"#, false);
        check(r#"{"name":"a","value":"fo","isRegex":true}"#, false);
        check(r#"{"name":"a","value":"fo+|bar","isRegex":true,"isEqual":true}"#, true);
        check(r#"{"name":"a","value":"fo+|bar","isRegex":true,"isEqual":false}"#, false);
        check(r#"{"name":"none","value":"","isRegex":false}"#, true);
        check(r#"{"name":"none","value":"","isRegex":false,"isEqual":false}"#, false);
        check(r#"{"name":"none","value":".*","isRegex":true}"#, true);
        check(r#"{"name":"none","value":".+","isRegex":true}"#, false);
        check(r#"{"name":"line","value":"x.y","isRegex":true}"#, false);
        let back = serde_json::to_string(&Matcher::regex("a", "b").unwrap().negated()).unwrap();
        assert_eq!(back, r#"{"name":"a","value":"b","isRegex":true,"isEqual":false}"#);
    }

    #[test]
    fn refuses_what_is_no_matcher() {
        for json in [
            r#"{"name":"a b","value":""}"#,
            r#"{"name":"a","value":"(","isRegex":true}"#,
            r#"{"name":"a","value":"a)(b","isRegex":true}"#,
            r#"{"name":"a","value":"(a{1000}){1000}","isRegex":true}"#,
        ] {
            assert!(serde_json::from_str::<Matcher>(json).is_err(), "{json}");
        }
        assert!(check_list("x", &[]).is_err());
        assert!(check_list("x", &[Matcher::regex("a", ".*").unwrap()]).is_err());
        check_list("x", &[Matcher::regex("a", ".*").unwrap(), Matcher::equal("b", "1").unwrap()]).unwrap();
    }
}
