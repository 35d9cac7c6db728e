//! Labels, the identity of an alert, and annotations, what is known about it at the moment.
//!
//! Invariant: two alerts are the same exactly when their label sets are equal; everything that
//! varies from window to window (scores, counts, sentences) is an annotation. Both are bounded, so
//! that no column name or rule text can grow a notification without limit.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    str::FromStr,
};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// Most labels of one alert.
pub const LABELS_MAX: usize = 32;
/// Longest label name in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 64;
/// Longest label value in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// Most annotations of one alert; more are left out.
pub const ANNOTATIONS_MAX: usize = 32;
/// Longest annotation in bytes; a longer one is cut.
pub const ANNOTATION_BYTES_MAX: usize = 1024;

/// The label that names the rule.
pub const ALERT_NAME: &str = "alertname";
/// The label that says how bad it is.
pub const SEVERITY: &str = "severity";

/// The label set of an alert, in order of names, without empty values.
///
/// Names follow Prometheus (`[a-zA-Z_][a-zA-Z0-9_]*`).
///
/// ```
/// use mlops_monitor::alert::Labels;
///
/// let labels = Labels::new([("alertname", "Drift"), ("model", "fraud"), ("feature", "amount")])?;
/// assert_eq!(labels.get("model"), Some("fraud"));
/// assert!(Labels::new([("the-model", "fraud")]).is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Checks and keeps the labels. An empty value is the same as no label and is left out, as
    /// Prometheus and Alertmanager do.
    ///
    /// # Errors
    /// `InvalidArgument` naming every label with a bad or doubled name or too long a value, or
    /// when there are more than [`LABELS_MAX`].
    pub fn new<N: Into<String>, V: Into<String>>(labels: impl IntoIterator<Item = (N, V)>) -> Result<Self> {
        let (mut kept, mut faults) = (BTreeMap::new(), Vec::new());
        for (name, value) in labels {
            let (name, value): (String, String) = (name.into(), value.into());
            faults.extend(fault(&name, &value));
            match kept.entry(name) {
                Entry::Occupied(known) => faults.push(format!("label {:?} is given twice", known.key())),
                Entry::Vacant(_) if value.is_empty() => {}
                Entry::Vacant(free) => {
                    free.insert(value);
                }
            }
        }
        if kept.len() > LABELS_MAX {
            faults.push(format!("an alert has at most {LABELS_MAX} labels, found {}", kept.len()));
        }
        if faults.is_empty() { Ok(Self(kept)) } else { Err(Error::invalid_argument(faults.join("; "))) }
    }

    /// The same with one label set to `value`, or without it when `value` is empty.
    ///
    /// # Errors
    /// As [`Labels::new`].
    pub fn with(&self, name: &str, value: &str) -> Result<Self> {
        let others = self.0.iter().filter(|(known, _)| *known != name);
        let others = others.map(|(name, value)| (name.as_str(), value.as_str()));
        Self::new(others.chain([(name, value)]))
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and values in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Only those that `keep` wants.
    #[must_use]
    pub fn filtered(&self, keep: impl Fn(&str, &str) -> bool) -> Self {
        let kept = self.iter().filter(|(name, value)| keep(name, value));
        Self(kept.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// The identity of the label set.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Fnv1a::default();
        for (name, value) in self.iter() {
            hash.field(name);
            hash.field(value);
        }
        Fingerprint(hash.finish())
    }
}

/// `{a="1", b="2"}`, as Alertmanager writes label sets.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = Error;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Self> {
        Self::new(labels)
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

pub(crate) fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    let start = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    start && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && name.len() <= LABEL_NAME_BYTES_MAX
}

fn fault(name: &str, value: &str) -> Option<String> {
    if !is_label_name(name) {
        let shown = cut(name, LABEL_NAME_BYTES_MAX);
        return Some(format!(
            "label name {shown:?} must be a letter or underscore, then letters, digits and underscores, at most {LABEL_NAME_BYTES_MAX} bytes"
        ));
    }
    (value.len() > LABEL_VALUE_BYTES_MAX)
        .then(|| format!("label {name:?} has {} bytes; at most {LABEL_VALUE_BYTES_MAX} are allowed", value.len()))
}

/// The hash of a label set: FNV-1a over each name and value, each followed by the byte 255, as
/// Prometheus computes it. Alertmanager shows the same sixteen hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(u64);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = if plain { u64::from_str_radix(text, 16).ok() } else { None };
        number.map(Self).ok_or_else(|| {
            Error::invalid_argument(format!("fingerprint {:?} is not sixteen hexadecimal digits", cut(text, 32)))
        })
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.to_string()
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo; draft-eastlake-fnv).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a {
    /// Adds bytes that end at a byte that cannot be part of text.
    pub(crate) fn field(&mut self, text: &str) {
        for byte in text.bytes().chain([255]) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn finish(self) -> u64 {
        self.0
    }
}

/// What is known about an alert at the moment: sentences, scores, links. Never part of its identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Annotations(BTreeMap<String, String>);

impl Annotations {
    /// Adds or replaces one. Text beyond [`ANNOTATION_BYTES_MAX`] is cut; beyond
    /// [`ANNOTATIONS_MAX`] annotations, and under a name that is no label name, nothing is added.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.insert(name.into(), &value.to_string());
        self
    }

    fn insert(&mut self, name: String, value: &str) {
        let room = self.0.len() < ANNOTATIONS_MAX || self.0.contains_key(&name);
        if room && is_label_name(&name) {
            self.0.insert(name, cut(value, ANNOTATION_BYTES_MAX).to_owned());
        }
    }

    /// The text of one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names and texts in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The sentence for people: `summary`, or nothing.
    #[must_use]
    pub fn summary(&self) -> &str {
        self.get("summary").unwrap_or_default()
    }
}

impl From<BTreeMap<String, String>> for Annotations {
    fn from(texts: BTreeMap<String, String>) -> Self {
        let mut annotations = Self::default();
        for (name, value) in texts {
            annotations.insert(name, &value);
        }
        annotations
    }
}

impl From<Annotations> for BTreeMap<String, String> {
    fn from(annotations: Annotations) -> Self {
        annotations.0
    }
}

/// The longest prefix of at most `bytes` bytes that is text.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let end = text.floor_char_boundary(bytes);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_those_that_alertmanager_0_25_shows() {
        let check = |feature: &str, expected: &str| {
            let labels = [("alertname", "Drift"), ("feature", feature), ("model", "fraud"), ("severity", "warning")];
            let fingerprint = Labels::new(labels).unwrap().fingerprint();
            assert_eq!(fingerprint.to_string(), expected);
            assert_eq!(expected.parse::<Fingerprint>().unwrap(), fingerprint);
        };
        check("amount", "b4de29b2b2c9f691");
        check("hour", "fa3cadf22bd95613");
        assert!("+b4de29b2b2c9f69".parse::<Fingerprint>().is_err());
    }

    #[test]
    fn all_bad_labels_are_named_at_once_and_empty_values_are_none() {
        let long = "x".repeat(LABEL_VALUE_BYTES_MAX + 1);
        let error = Labels::new([("0a", "x"), ("b", long.as_str()), ("c", "1"), ("c", "2")]).unwrap_err();
        for word in ["\"0a\"", "\"b\"", "\"c\" is given twice"] {
            assert!(error.message().contains(word), "{error}");
        }
        let many = (0..=LABELS_MAX).map(|index| (format!("l{index}"), "x"));
        assert!(Labels::new(many).is_err());
        assert_eq!(Labels::new([("a", "")]).unwrap(), Labels::default());
        assert_eq!(Labels::new([("b", "x\"y"), ("a", "1")]).unwrap().to_string(), r#"{a="1", b="x\"y"}"#);
    }

    #[test]
    fn annotations_are_cut_at_a_character() {
        let annotations = Annotations::default().with("summary", "ü".repeat(ANNOTATION_BYTES_MAX)).with("no name", 1);
        assert_eq!(annotations.summary().chars().count(), ANNOTATION_BYTES_MAX / 2);
        assert_eq!(annotations.iter().count(), 1);
        let full = (0..100).fold(Annotations::default(), |all, index| all.with(format!("a{index}"), index));
        assert_eq!(full.iter().count(), ANNOTATIONS_MAX);
    }
}
