//! Names of DAGs, tasks, triggers and runs. They become parts of keys, so their alphabet is small.

use mlops_core::{Error, Result, id::NAME_BYTES_MAX};

/// Longest name of a DAG, task or trigger in bytes; a run key adds a time to one.
const PART_BYTES_MAX: usize = 120;

/// A name that may be joined into keys: letters, digits, `_`, `-` and `.`.
pub(crate) fn check_part(what: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Error::invalid_argument(format!("{what} name is empty")));
    }
    if text.len() > PART_BYTES_MAX {
        return Err(Error::invalid_argument(format!(
            "{what} name is {} bytes long; at most {PART_BYTES_MAX} are allowed",
            text.len()
        )));
    }
    match text.chars().find(|&c| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))) {
        None => Ok(()),
        Some(bad) => Err(Error::invalid_argument(format!(
            "{what} name {text:?} contains {bad:?}; use letters, digits, '_', '-' and '.'"
        ))),
    }
}

/// A run key: anything printable without a slash, which separates run and task in idempotency
/// keys.
pub(crate) fn check_run_key(key: &str) -> Result<()> {
    if key.is_empty() || key.len() > NAME_BYTES_MAX {
        return Err(Error::invalid_argument(format!(
            "run key is {} bytes long; from 1 to {NAME_BYTES_MAX} are allowed",
            key.len()
        )));
    }
    match key.chars().find(|c| c.is_control() || *c == '/') {
        None => Ok(()),
        Some(bad) => Err(Error::invalid_argument(format!(
            "run key {key:?} contains {bad:?}; slashes and control characters are not allowed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_say_what_is_wrong_with_them() {
        check_part("task", "fit_1.b-c").unwrap();
        assert!(check_part("task", "a b").unwrap_err().message().contains("' '"));
        assert!(check_part("task", "").unwrap_err().message().contains("empty"));
        assert!(check_part("task", &"x".repeat(121)).unwrap_err().message().contains("121 bytes"));
        check_run_key("train@2024-01-01T00:00:00Z").unwrap();
        assert!(check_run_key("a/b").unwrap_err().message().contains("'/'"));
        assert!(check_run_key("").is_err());
    }
}
