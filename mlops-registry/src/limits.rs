//! What names and values of tracked things may look like, and how large they may be.
//!
//! The limits are those that MLflow documents, so that whatever is tracked here can be moved to
//! an MLflow server and back. Lengths count characters.

use mlops_core::{Alias, Error, Result};

/// Longest name of an experiment.
pub const EXPERIMENT_NAME_MAX: usize = 500;
/// Longest key of a metric, param or tag.
pub const KEY_MAX: usize = 250;
/// Longest value of a param; longer ones are cut.
pub const PARAM_VALUE_MAX: usize = 6_000;
/// Longest value of a tag of a run; longer ones are cut.
pub const RUN_TAG_VALUE_MAX: usize = 8_000;
/// Longest value of a tag of an experiment.
pub const EXPERIMENT_TAG_VALUE_MAX: usize = 20_000;
/// Longest value of a tag of a registered model or model version.
pub const MODEL_TAG_VALUE_MAX: usize = 100_000;
/// Longest artifact location, source URI or run link.
pub const LOCATION_MAX: usize = 2_048;
/// Longest description.
pub const DESCRIPTION_MAX: usize = 100_000;
/// Longest idempotency key.
pub const IDEMPOTENCY_KEY_MAX: usize = 250;
/// Most metric points in one batch.
pub const BATCH_METRICS_MAX: usize = 1_000;
/// Most params in one batch.
pub const BATCH_PARAMS_MAX: usize = 100;
/// Most tags in one batch.
pub const BATCH_TAGS_MAX: usize = 100;
/// Most metrics, params and tags together in one batch.
pub const BATCH_ITEMS_MAX: usize = 1_000;
/// Longest name of a dataset.
pub const DATASET_NAME_MAX: usize = 500;
/// Longest digest of a dataset that MLflow keeps; the stores take up to [`KEY_MAX`].
pub const DATASET_DIGEST_MAX: usize = 36;
/// Longest text that says where a dataset comes from.
pub const DATASET_SOURCE_MAX: usize = 65_535;
/// Longest schema of a dataset.
pub const DATASET_SCHEMA_MAX: usize = 1_048_575;
/// Longest profile of a dataset.
pub const DATASET_PROFILE_MAX: usize = 16_777_215;
/// Longest key of a tag of an input.
pub const INPUT_TAG_KEY_MAX: usize = 255;
/// Longest value of a tag of an input.
pub const INPUT_TAG_VALUE_MAX: usize = 500;
/// Most datasets, or logged models, linked to a run in one call. MLflow's clients send 1,000 at once, its server bounds
/// nothing.
pub const BATCH_DATASETS_MAX: usize = 10_000;
/// Longest id of a trace or of a client's request.
pub const TRACE_ID_MAX: usize = 256;
/// Longest value of a tag of a trace; longer ones are cut.
pub const TRACE_TAG_VALUE_MAX: usize = 8_000;
/// Longest value of metadata of a trace; longer ones are cut.
pub const METADATA_VALUE_MAX: usize = 8_000;
/// Longest preview of a request or response; longer ones are cut.
pub const PREVIEW_MAX: usize = 1_000;
/// Largest value and metadata of an assessment, in bytes of JSON.
pub const ASSESSMENT_BYTES_MAX: usize = 1 << 20;

/// Most points of a logged model that are given with it; older ones are kept but not shown.
pub const MODEL_POINTS_MAX: usize = 10_000;
/// Most experiments in one search for logged models: SQLite takes 32,766 values in a statement.
pub const SEARCH_EXPERIMENTS_MAX: usize = 30_000;

/// Refuses text over `max` characters, naming it as `what`, whose last word is the field as clients name it.
pub(crate) fn check_length(what: &str, text: &str, max: usize) -> Result<()> {
    check_length_at(what, ("", field(what)), text, max)
}

/// The same of a field that clients know by this name at this place.
fn check_length_at(what: &str, (place, field): (&str, &str), text: &str, max: usize) -> Result<()> {
    // A string of `max` bytes has at most `max` characters; most need no counting.
    if text.len() <= max {
        return Ok(());
    }
    let length = text.chars().count();
    if length <= max {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "{what} is too long: '{place}{field}' exceeds the maximum length of {max} characters, it has {length}"
    )))
}

/// What clients call a thing in a message: its last word, or `value`.
fn field(what: &str) -> &str {
    if what.starts_with("value of ") { "value" } else { what.rsplit(' ').next().unwrap_or(what) }
}

/// Checks the name of an experiment.
pub(crate) fn check_experiment_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid_argument("Invalid experiment name: it is empty"));
    }
    check_length("experiment name", name, EXPERIMENT_NAME_MAX)
}

/// The first `max` characters.
pub(crate) fn truncated(text: &str, max: usize) -> &str {
    match text.char_indices().nth(max) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

/// The value of a param as it is stored.
pub(crate) fn param_value(text: &str) -> &str {
    truncated(text, PARAM_VALUE_MAX)
}

/// The value of a tag of a run as it is stored.
pub(crate) fn run_tag_value(text: &str) -> &str {
    truncated(text, RUN_TAG_VALUE_MAX)
}

/// Checks the key of a metric, param or tag: letters, digits and `_ - . / :` and blank, and as a
/// path it stays where it is (no `..`, no doubled, leading or trailing slash).
pub(crate) fn check_key(what: &str, key: &str) -> Result<()> {
    check_key_at(what, "", key)
}

/// The same of a key at a place of a request, such as `tags[3].`.
pub(crate) fn check_key_at(what: &str, place: &str, key: &str) -> Result<()> {
    let field = if what.starts_with("metric") { "name" } else { "key" };
    if key.is_empty() {
        return Err(Error::invalid_argument(format!("{what} is empty")));
    }
    check_length_at(what, (place, field), key, KEY_MAX)?;
    let invalid = |why: &str| {
        let shown = serde_json::Value::from(key);
        Error::invalid_argument(format!(
            "Invalid value {shown} for parameter '{place}{field}' supplied: as a {what} {why}"
        ))
    };
    let permitted = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':' | ' ');
    if let Some(bad) = key.chars().find(|&c| !permitted(c)) {
        return Err(invalid(&format!("it contains {bad:?}; letters, digits, blanks and _ - . / : are allowed")));
    }
    if key.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(invalid("it is not a plain relative path; remove empty, \".\" and \"..\" parts"));
    }
    Ok(())
}

/// Checks a key of anything: of a sane length.
pub(crate) fn check_free_key(what: &str, key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Error::invalid_argument(format!("{what} is empty")));
    }
    check_length(what, key, KEY_MAX)
}

/// The tags of a model or version, checked against the limits.
pub(crate) fn check_tags<'a>(tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<()> {
    tags.into_iter().try_for_each(|(key, value)| {
        check_key("tag key", key)?;
        check_length(&format!("value of tag {key:?}"), value, MODEL_TAG_VALUE_MAX)
    })
}

/// The tags of a record that was written before, also by a version that took any key.
pub(crate) fn check_kept_tags<'a>(tags: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<()> {
    tags.into_iter().try_for_each(|(key, value)| {
        check_free_key("tag key", key)?;
        check_length(&format!("value of tag {key:?}"), value, MODEL_TAG_VALUE_MAX)
    })
}

/// Checks the name of an alias or environment: letters, digits, `_` and `-`.
pub(crate) fn check_plain_name(what: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid_argument(format!("{what} is empty")));
    }
    check_length(what, text, KEY_MAX)?;
    match text.chars().find(|&c| !c.is_alphanumeric() && c != '_' && c != '-') {
        Some(bad) => Err(Error::invalid_argument(format!(
            "{what} {text:?} contains {bad:?}; letters, digits, _ and - are allowed"
        ))),
        None => Ok(()),
    }
}

/// Checks an alias beyond what its type holds: letters, digits, `_` and `-`, and neither `latest`
/// nor `v` with a number, which mean versions.
pub(crate) fn check_alias(alias: &Alias) -> Result<()> {
    let text = alias.as_str();
    check_plain_name("alias", text)?;
    let lower = text.to_lowercase();
    let number =
        lower.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()));
    if lower == "latest" || number {
        return Err(Error::invalid_argument(format!("alias {text:?} is reserved; choose another name")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_relative_paths() {
        for good in ["a", "a/b.c-d_e f:g", "ключ", &"k".repeat(250), &"é".repeat(250), "..a", "a.."] {
            assert!(check_key("tag key", good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../a", "/a", "a/", "a//b", "a/./b", "a,b", "a?b", &"k".repeat(251)] {
            assert!(check_key("tag key", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn aliases_that_mean_versions_are_reserved() {
        let check = |text: &str| check_alias(&Alias::new(text).unwrap());
        for good in ["champion", "Challenger_1", "v", "v1a", "très-bien"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["latest", "LATEST", "v1", "V22", "a b", "a.b"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cutting_counts_characters() {
        assert_eq!(truncated("äöü", 2), "äö");
        assert_eq!(truncated("äöü", 3), "äöü");
    }
}
