//! The values of a stage's parameters, as the lock file keeps them.

use std::path::Path;

use mlops_core::{Error, Result};
use serde_json::Value;

use super::{
    fault::io_error,
    yaml::{BYTES_MAX, Mapping, Node, Scalar, float_text, parse},
};

/// The values of `keys` in the file at `path`, called `name`; all top-level values when there are no keys. A dotted key
/// leads into mappings.
///
/// # Errors
/// `NotFound` for a missing file or key, `Unimplemented` for a format other than YAML and JSON.
pub(super) fn values(path: &Path, name: &str, keys: &[String]) -> Result<Mapping> {
    let text = read_text(path)?;
    let tree = match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => parse(name, &text)?,
        Some("json") => {
            let fault = |error| Error::invalid_argument(format!("{name}: is not JSON")).with_source(error);
            from_json(&serde_json::from_str(&text).map_err(fault)?)
        }
        _ => {
            return Err(Error::unimplemented(format!("{name}: parameters are read from YAML and JSON files only")));
        }
    };
    let Node::Mapping(tree) = tree else {
        return Err(Error::invalid_argument(format!("{name}: is not a mapping")));
    };
    if keys.is_empty() {
        let mut pairs: Vec<_> = tree.iter().map(|(key, value)| (key.source().to_owned(), value.clone())).collect();
        pairs.sort_by(|left, right| left.0.cmp(&right.0));
        return Ok(pairs.into_iter().collect());
    }
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        let value = lookup(&tree, key).ok_or_else(|| Error::not_found(format!("{name} has no parameter \"{key}\"")))?;
        found.push((key.clone(), value.clone()));
    }
    Ok(found.into_iter().collect())
}

/// A text file of at most [`BYTES_MAX`].
pub(super) fn read_text(path: &Path) -> Result<String> {
    let fail = |error| io_error("cannot read", path, error);
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > BYTES_MAX {
        return Err(Error::resource_exhausted(format!(
            "{} has {size} bytes; at most {BYTES_MAX} are read",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(fail)
}

fn lookup<'a>(tree: &'a Mapping, key: &str) -> Option<&'a Node> {
    if let Some(value) = tree.get(key) {
        return Some(value);
    }
    let (first, rest) = key.split_once('.')?;
    let inner = tree.get(first)?;
    match inner {
        Node::Mapping(inner) => lookup(inner, rest),
        Node::Sequence(items) => {
            let (index, rest) = rest.split_once('.').map_or((rest, None), |(index, rest)| (index, Some(rest)));
            let item = items.get(index.parse::<usize>().ok()?)?;
            match rest {
                None => Some(item),
                Some(rest) => lookup(item.as_mapping()?, rest),
            }
        }
        Node::Scalar(_) => None,
    }
}

fn from_json(value: &Value) -> Node {
    match value {
        Value::Null => Node::Scalar(Scalar::plain("null")),
        Value::Bool(flag) => Node::plain(flag),
        Value::Number(number) if number.is_f64() => Node::plain(float_text(&number.to_string())),
        Value::Number(number) => Node::plain(number),
        Value::String(text) => Node::text(text),
        Value::Array(items) => Node::Sequence(items.iter().map(from_json).collect()),
        Value::Object(entries) => {
            Node::Mapping(entries.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dvc::yaml::render;

    #[test]
    fn values_are_kept_as_dvc_keeps_them() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("params.yaml");
        std::fs::write(&path, "lr: 1e-3 # small\nnest: {k: 0x10, n: ~, on: yes}\nl: [1, {a: 'true'}]\na.b: 1\n")
            .unwrap();
        let keys = ["a.b", "l", "l.1.a", "lr", "nest"].map(str::to_owned);
        let found = values(&path, "params.yaml", &keys).unwrap();
        let expected = "a.b: 1\nl:\n- 1\n- a: 'true'\nl.1.a: 'true'\nlr: 0.001\nnest:\n  k: 16\n  n:\n  on: yes\n";
        assert_eq!(render(&Node::Mapping(found)), expected);
        assert_eq!(values(&path, "params.yaml", &[]).unwrap().len(), 4);
        let missing = values(&path, "params.yaml", &["x.y".to_owned()]).unwrap_err();
        assert_eq!(missing.kind(), mlops_core::ErrorKind::NotFound);
        let json = home.path().join("p.json");
        std::fs::write(&json, "{\"b\": 1e16, \"a\": [true, null]}").unwrap();
        let found = values(&json, "p.json", &[]).unwrap();
        assert_eq!(render(&Node::Mapping(found)), "a:\n- true\n- \nb: 1e+16\n");
    }
}
