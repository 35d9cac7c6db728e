//! Hyper-parameters by name, as a search proposes them and a run records them.
//!
//! Invariant: names are ordered, so that equal parameters print and hash equally. What a name
//! means is up to the trainer's settings, which refuse names they do not know.

use std::{collections::BTreeMap, fmt};

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// One value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a text, a number, a switch or null")]
pub enum ParamValue {
    /// Nothing: a choice such as no limit, or `None` of a study that Optuna wrote.
    Null,
    /// A switch.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A real number.
    Float(f64),
    /// A choice by name.
    Text(String),
}

impl ParamValue {
    /// The value as a real number; none for text, switches and nothing.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Null | Self::Bool(_) | Self::Text(_) => None,
        }
    }
}

impl fmt::Display for ParamValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
        }
    }
}

macro_rules! from_value {
    ($($source:ty => $variant:ident $convert:expr),* $(,)?) => {
        $(impl From<$source> for ParamValue {
            fn from(value: $source) -> Self {
                let convert: fn($source) -> _ = $convert;
                Self::$variant(convert(value))
            }
        })*
    };
}

from_value! {
    bool => Bool |v| v,
    i32 => Int i64::from,
    u32 => Int i64::from,
    i64 => Int |v| v,
    f32 => Float f64::from,
    f64 => Float |v| v,
    &str => Text str::to_owned,
    String => Text |v| v,
}

/// Named values; what is not named keeps the trainer's default.
///
/// ```
/// use mlops_train::{GbdtSettings, Params};
///
/// let params = Params::new().with("rounds", 50).with("learning_rate", 0.2);
/// assert_eq!(params.to_settings::<GbdtSettings>()?.rounds, 50);
/// assert!(Params::new().with("runds", 50).to_settings::<GbdtSettings>().is_err());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Params(BTreeMap<String, ParamValue>);

impl Params {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one value set or replaced.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<ParamValue>) -> Self {
        self.insert(name, value);
        self
    }

    /// Sets or replaces one value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<ParamValue>) {
        self.0.insert(name.into(), value.into());
    }

    /// One value.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&ParamValue> {
        self.0.get(name)
    }

    /// One value as a real number.
    ///
    /// # Errors
    /// `InvalidArgument` when it is absent or not a number.
    pub fn number(&self, name: &str) -> Result<f64> {
        let value = self.0.get(name).and_then(ParamValue::as_f64);
        value.ok_or_else(|| Error::invalid_argument(format!("parameter {name:?} is absent or not a number")))
    }

    /// All values in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ParamValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many values are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the values into a trainer's settings; absent ones keep their default.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that the settings do not have, or a value of the wrong type.
    pub fn to_settings<S: DeserializeOwned>(&self) -> Result<S> {
        let json = serde_json::to_value(&self.0)
            .map_err(|error| Error::invalid_argument("parameters cannot be written as JSON").with_source(error))?;
        serde_json::from_value(json)
            .map_err(|error| Error::invalid_argument(format!("parameters do not fit the trainer: {error}")))
    }
}

impl<N: Into<String>, V: Into<ParamValue>> FromIterator<(N, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_kind_of_number() {
        let params = Params::new().with("a", 1.0).with("b", 1).with("c", "x").with("d", true);
        let params = params.with("e", ParamValue::Null);
        let json = serde_json::to_string(&params).unwrap();
        assert_eq!(json, r#"{"a":1.0,"b":1,"c":"x","d":true,"e":null}"#);
        assert_eq!(serde_json::from_str::<Params>(&json).unwrap(), params);
    }

    #[test]
    fn absent_and_textual_numbers_are_named() {
        let params = Params::new().with("kind", "x");
        assert!(params.number("kind").unwrap_err().message().contains("\"kind\""));
        assert!(params.number("depth").unwrap_err().message().contains("\"depth\""));
    }
}
