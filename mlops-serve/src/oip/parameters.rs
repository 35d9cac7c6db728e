//! The named values of a request in JSON.
//!
//! A request has none or a few of them: a list is read faster than a map is made. Of several of one name the last counts.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::Value;

use super::wish;

/// Parameters in the order of the request.
#[derive(Debug, Default)]
pub(super) struct Parameters<'a>(Vec<(Name<'a>, Value)>);

/// A name that is borrowed from the request where it can be.
#[derive(Debug, Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Parameters<'a> {
    pub(super) fn push(&mut self, name: &'a str, value: Value) {
        self.0.push((Name(Cow::Borrowed(name)), value));
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().rev().find(|(known, _)| known.0 == name).map(|(_, value)| value)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Parameters<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Named;

        impl<'de> Visitor<'de> for Named {
            type Value = Parameters<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters<'de>, A::Error> {
                let mut all = Vec::new();
                while let Some(parameter) = map.next_entry()? {
                    all.push(parameter);
                }
                Ok(Parameters(all))
            }
        }

        deserializer.deserialize_map(Named)
    }
}

impl wish::Parameters for Parameters<'_> {
    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
    fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_str()
    }
    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }
    fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)?.as_bool()
    }
}

#[cfg(test)]
mod tests {
    use super::{wish::Parameters as _, *};

    #[test]
    fn the_last_of_a_name_counts_and_each_has_its_type() {
        let text = r#"{"a": 1, "t": "x", "a": 2, "\u0062": true, "deep": {"a": [3]}}"#;
        let parameters: Parameters<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(
            (parameters.number("a"), parameters.flag("b"), parameters.text("t")),
            (Some(2), Some(true), Some("x"))
        );
        assert!(parameters.has("deep") && !parameters.has("none"));
        assert_eq!((parameters.text("a"), parameters.number("t"), parameters.flag("deep")), (None, None, None));
        for wrong in ["[]", "1", "{\"a\"}"] {
            assert!(serde_json::from_str::<Parameters<'_>>(wrong).is_err(), "{wrong}");
        }
    }
}
