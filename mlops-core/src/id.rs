//! Validated names. Each is parsed once at the edge; code that holds one need not check again.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// Longest name in bytes that any id accepts.
pub const NAME_BYTES_MAX: usize = 250;

/// What no id may contain, besides control characters.
const FORBIDDEN: &[char] = &['/', ':', '@', '\\'];
/// What no name of a model may contain: of a reference the part before its last `@` is the name.
const FORBIDDEN_IN_MODELS: &[char] = &['/', ':', '\\'];

fn check_name(what: &str, text: &str, forbidden: &[char]) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid_argument(format!("{what} is empty")));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(Error::invalid_argument(format!(
            "{what} is {} bytes long; at most {NAME_BYTES_MAX} are allowed",
            text.len()
        )));
    }
    if let Some(bad) = text.chars().find(|c| forbidden.contains(c) || c.is_control()) {
        let forbidden: String = forbidden.iter().flat_map(|c| [*c, ' ']).collect();
        return Err(Error::invalid_argument(format!(
            "{what} {text:?} contains {bad:?}; {forbidden}and control characters are not allowed"
        )));
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $forbidden:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and keeps the name.
            ///
            /// # Errors
            /// `InvalidArgument` when it is empty, over [`NAME_BYTES_MAX`] bytes, or contains a
            /// slash, backslash, colon or control character; except for models also when it
            /// contains `@`.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                check_name($what, text.as_ref(), $forbidden)?;
                Ok(Self(text.as_ref().into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name_type!(
    /// The name of a registered model.
    ModelName,
    "model name",
    FORBIDDEN_IN_MODELS
);
name_type!(
    /// A movable name for one version of a model, such as `champion`.
    Alias,
    "alias",
    FORBIDDEN
);
name_type!(
    /// The id of a tracked run, 32 hexadecimal digits when this SDK makes it.
    RunId,
    "run id",
    FORBIDDEN
);

/// The number of a model version: 1, 2, 3... in order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Version {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        match text.parse() {
            Ok(number) if number > 0 && !text.starts_with('+') => Ok(Self(number)),
            _ => Err(Error::invalid_argument(format!("version {text:?} is not a whole number from 1"))),
        }
    }
}

/// The word after `@` that means the highest version.
const LATEST: &str = "latest";

/// Which version of a model is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// Exactly this version.
    Version(Version),
    /// Whatever the alias points at when it is resolved.
    Alias(Alias),
    /// The highest version number.
    Latest,
}

/// A model and which version of it: `fraud/3`, `fraud@champion`, or `fraud` for the latest.
///
/// The last `@` begins the alias. `fraud@latest` is the latest version too, which is how a model is written whose name
/// has an `@` itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// The registered model.
    pub name: ModelName,
    /// Which of its versions.
    pub selector: Selector,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Version(version) => write!(f, "{}/{version}", self.name),
            Selector::Alias(alias) => write!(f, "{}@{alias}", self.name),
            Selector::Latest if self.name.as_str().contains('@') => write!(f, "{}@{LATEST}", self.name),
            Selector::Latest => self.name.fmt(f),
        }
    }
}

impl FromStr for ModelRef {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let (name, selector) = if let Some((name, version)) = text.split_once('/') {
            (name, Selector::Version(version.parse()?))
        } else if let Some((name, alias)) = text.rsplit_once('@') {
            (name, if alias == LATEST { Selector::Latest } else { Selector::Alias(alias.parse()?) })
        } else {
            (text, Selector::Latest)
        };
        Ok(Self { name: name.parse()?, selector })
    }
}

/// One feature of one feature view: `view:feature`, or `view@v2:feature` for a version of the view that need not be
/// the current one.
///
/// ```
/// use mlops_core::FeatureRef;
///
/// let pinned: FeatureRef = "cards@v2:amount".parse()?;
/// assert_eq!((pinned.view(), pinned.view_version(), pinned.feature()), ("cards", Some(2), "amount"));
/// assert_eq!(pinned.view_key(), "cards@v2");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FeatureRef {
    /// `view`, or `view@v2`.
    key: Arc<str>,
    version: Option<u32>,
    feature: Arc<str>,
}

impl FeatureRef {
    /// Checks and joins the two names; that of the view may end in a version, as `cards@v2`.
    ///
    /// # Errors
    /// `InvalidArgument` when either is not a valid name, or the version is not a whole number from 1.
    pub fn new(view: impl AsRef<str>, feature: impl AsRef<str>) -> Result<Self> {
        let (key, feature) = (view.as_ref(), feature.as_ref());
        let (name, version) = match key.split_once('@') {
            Some((name, version)) => (name, Some(view_version(key, version)?)),
            None => (key, None),
        };
        check_name("feature view", name, FORBIDDEN)?;
        check_name("feature", feature, FORBIDDEN)?;
        Ok(Self { key: key.into(), version, feature: feature.into() })
    }

    /// The feature view, without its version.
    #[must_use]
    pub fn view(&self) -> &str {
        self.key.split_once('@').map_or(&self.key, |(name, _)| name)
    }

    /// The version of the view that is meant; none is the current one.
    #[must_use]
    pub fn view_version(&self) -> Option<u32> {
        self.version
    }

    /// The view as it was written, with its version: `cards@v2`.
    #[must_use]
    pub fn view_key(&self) -> &str {
        &self.key
    }

    /// The feature within the view.
    #[must_use]
    pub fn feature(&self) -> &str {
        &self.feature
    }
}

/// Reads `v2`. Written one way only, so that equal references are equal text.
fn view_version(key: &str, text: &str) -> Result<u32> {
    let number = text.strip_prefix('v').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match number.filter(|digits| !digits.starts_with('0')).and_then(|digits| digits.parse().ok()) {
        Some(number) => Ok(number),
        None => Err(Error::invalid_argument(format!(
            "feature view {key:?} has a version that is not v1, v2...; write view:feature or view@v2:feature"
        ))),
    }
}

impl fmt::Display for FeatureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.key, self.feature)
    }
}

impl FromStr for FeatureRef {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let Some((view, feature)) = text.split_once(':') else {
            return Err(Error::invalid_argument(format!("feature {text:?} is not of the form view:feature")));
        };
        Self::new(view, feature)
    }
}

impl TryFrom<String> for FeatureRef {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<FeatureRef> for String {
    fn from(reference: FeatureRef) -> Self {
        reference.to_string()
    }
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
///
/// ```
/// use mlops_core::Digest;
///
/// let digest = Digest::of(b"abc");
/// assert!(digest.to_string().starts_with("ba7816bf8f01cfea"));
/// assert_eq!(digest.to_string().parse::<Digest>()?, digest);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of several byte strings, each framed by its length, so that moving a boundary
    /// changes the digest.
    #[must_use]
    pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// From the 32 raw bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first twelve hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

/// Makes a [`Digest`] of bytes that come in pieces.
///
/// ```
/// use mlops_core::{Digest, DigestBuilder};
///
/// let mut builder = DigestBuilder::default();
/// builder.update(b"a");
/// builder.update(b"bc");
/// assert_eq!(builder.finish(), Digest::of(b"abc"));
/// ```
#[derive(Clone, Default)]
pub struct DigestBuilder(Sha256);

impl DigestBuilder {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes so far.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl fmt::Debug for DigestBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestBuilder")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid_argument(format!("digest {text:?} is not 64 lower-case hexadecimal digits"));
        if text.len() != 64 || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(bad());
        }
        let mut bytes = [0_u8; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let pair = text.get(2 * index..2 * index + 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_refused_with_the_reason() {
        assert!(ModelName::new("").unwrap_err().message().contains("empty"));
        assert!(ModelName::new("a/b").unwrap_err().message().contains("'/'"));
        assert!(ModelName::new("x".repeat(251)).unwrap_err().message().contains("251 bytes"));
        assert!(serde_json::from_str::<ModelName>("\"a:b\"").is_err());
        assert_eq!(ModelName::new("Fraud é").unwrap().as_str(), "Fraud é");
    }

    #[test]
    fn model_references_round_trip() {
        for text in ["fraud", "fraud/3", "fraud@champion", "a@b@c", "a@b/3", "a@b@latest"] {
            assert_eq!(text.parse::<ModelRef>().unwrap().to_string(), text);
        }
        for text in ["fraud/0", "fraud/x", "fraud@", "/1", "fraud/+1", "a@b/c"] {
            assert!(text.parse::<ModelRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn digest_frames_its_parts() {
        let left = Digest::of_parts([b"ab".as_slice(), b"c"]);
        let right = Digest::of_parts([b"a".as_slice(), b"bc"]);
        assert_ne!(left, right);
        assert!("AB".repeat(32).parse::<Digest>().is_err());
        assert!("é".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn feature_references_need_both_names() {
        assert_eq!("cards:spend_1h".parse::<FeatureRef>().unwrap().feature(), "spend_1h");
        for text in ["cards", ":x", "x:", "a:b:c"] {
            assert!(text.parse::<FeatureRef>().is_err(), "{text}");
        }
    }
}
