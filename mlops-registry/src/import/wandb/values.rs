//! JSON as Weights & Biases writes it: nested values become keys with dots, and numbers need not be finite.
//!
//! Invariant: `NaN`, `Infinity` and `-Infinity` are numbers, bare as Python writes them or quoted as the service does. An
//! object with `_type` is a chart, table, image or other medium and is never taken apart.

use serde_json::Value;

/// How deep objects are taken apart; below stands JSON.
const DEPTH_MAX: usize = 16;

/// Reads JSON that may hold bare `NaN`, `Infinity` and `-Infinity`.
pub(super) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text).or_else(|error| match text.contains("NaN") || text.contains("Infinity") {
        true => serde_json::from_str(&quoted(text)),
        false => Err(error),
    })
}

/// Puts quotes around the three words outside of strings.
fn quoted(text: &str) -> String {
    let (mut out, mut rest, mut inside) = (String::with_capacity(text.len() + 16), text, false);
    while let Some(c) = rest.chars().next() {
        let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| !inside && rest.starts_with(word));
        let taken = match (c, word) {
            (_, Some(word)) => {
                out.extend(["\"", word, "\""]);
                word.len()
            }
            ('\\', _) if inside => {
                let escape: String = rest.chars().take(2).collect();
                out.push_str(&escape);
                escape.len()
            }
            _ => {
                inside ^= c == '"';
                out.push(c);
                c.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    out
}

/// The number that a metric has; true is 1 and false 0.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

/// The text that a param has: strings as they are, everything else as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Whether it is a medium.
pub(super) fn is_medium(value: &Value) -> bool {
    value.get("_type").is_some()
}

/// Gives `take` every value that is no object, under the names on the way to it with dots between them.
pub(super) fn flatten(key: &str, value: Value, take: &mut impl FnMut(String, Value)) {
    flatten_below(key.to_owned(), value, 0, take);
}

fn flatten_below(key: String, value: Value, depth: usize, take: &mut impl FnMut(String, Value)) {
    match value {
        Value::Object(object) if depth < DEPTH_MAX && !object.is_empty() && !object.contains_key("_type") => {
            for (name, value) in object {
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                flatten_below(key, value, depth + 1, take);
            }
        }
        value => take(key, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_lacks_are_read_and_strings_stay() {
        let value = parse(r#"{"a": NaN, "b": -Infinity, "c": [Infinity], "d": "NaN \" NaN", "e": 1}"#).unwrap();
        assert!(number(&value["a"]).unwrap().is_nan());
        assert_eq!(number(&value["b"]), Some(f64::NEG_INFINITY));
        assert_eq!(value["d"], "NaN \" NaN");
        assert_eq!(number(&value["d"]), None);
        assert_eq!(parse("Infinity").as_ref().ok().and_then(number), Some(f64::INFINITY));
        assert!(parse("{NaN").is_err() && parse("").is_err());
    }

    #[test]
    fn nested_values_get_dotted_keys_and_media_stay_whole() {
        let value = parse(r#"{"a": {"b": 1, "c": {"d": [1]}}, "h": {"_type": "histogram"}, "e": {}}"#).unwrap();
        let mut found = Vec::new();
        flatten("", value, &mut |key, value| found.push((key, text(&value))));
        found.sort();
        let want = [("a.b", "1"), ("a.c.d", "[1]"), ("e", "{}"), ("h", "{\"_type\":\"histogram\"}")];
        assert_eq!(found, want.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }
}
