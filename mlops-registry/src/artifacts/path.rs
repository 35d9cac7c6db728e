//! Which paths of files are taken.
//!
//! Invariant: a path that is admitted stays below the root however often someone further on decodes its percent codes.

use mlops_core::{Error, Result};
use percent_encoding::percent_decode_str;

/// Longest path of a file, in bytes.
pub const ARTIFACT_PATH_MAX: usize = 1_024;
/// How often a path is decoded before it counts as an attempt to hide something.
const DECODINGS_MAX: usize = 8;

/// Admits a relative path that stays where it is, also when it is decoded again.
pub(crate) fn check_path(what: &str, path: &str) -> Result<()> {
    if path.len() > ARTIFACT_PATH_MAX {
        return Err(Error::invalid_argument(format!(
            "{what} has {} bytes; at most {ARTIFACT_PATH_MAX} are allowed",
            path.len()
        )));
    }
    let mut text = path.to_owned();
    for _ in 0..DECODINGS_MAX {
        check_plain(what, path, &text)?;
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        if decoded == text {
            return Ok(());
        }
        text = decoded;
    }
    Err(Error::invalid_argument(format!("Invalid path: {what} {path:?} is percent-encoded over and over")))
}

/// Control characters are refused where they are written, not where only a code stands for them, as in the names that
/// MLflow's client gives to images (`dog%step%100%timestamp%17..`).
///
/// A drive letter, a backslash, `#` or a `file:` scheme could mean a place elsewhere to a store or a client.
fn check_plain(what: &str, path: &str, decoded: &str) -> Result<()> {
    let written = decoded == path;
    if let Some(bad) = decoded.chars().find(|c| (written && c.is_control()) || matches!(c, '\\' | '#')) {
        return Err(Error::invalid_argument(format!(
            "Invalid path: {what} {path:?} contains {bad:?}; choose another name"
        )));
    }
    let mut start = decoded.chars();
    let drive = start.next().is_some_and(|c| c.is_ascii_alphabetic()) && start.next() == Some(':');
    let scheme = decoded.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("file:"));
    if drive || scheme || decoded.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(Error::invalid_argument(format!(
            "Invalid path: {what} {path:?} is not a plain relative path; remove drives, empty, \".\" and \"..\" parts"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_that_could_leave_are_refused() {
        let many = format!("%{}2e./x", "25".repeat(20));
        for bad in [
            "",
            "..",
            "../x",
            "a/../../x",
            "/etc/passwd",
            "a//b",
            "a/",
            "./a",
            "..\\x",
            "%2e%2e/x",
            "%252e%252e%252fx",
            "%2fetc/passwd",
            "C:x",
            "C%3ax",
            "a\0b",
            "a%23b",
            "a#b",
            "file:/etc/passwd",
            "FILE:x",
            &many,
        ] {
            assert!(check_path("path", bad).is_err(), "{bad:?}");
        }
        for good in
            ["a", "a b/ünï.txt", "notes/n 1%.txt", "50%25", "ab:c", "..a/b..", "x=1/y", "%zz", "a%00b", "dog%step%100"]
        {
            check_path("path", good).unwrap();
        }
        assert!(check_path("path", &"a".repeat(ARTIFACT_PATH_MAX + 1)).is_err());
    }

    proptest! {
        #[test]
        fn an_admitted_path_never_climbs(path in "[a./%25e\\\\:]{1,24}") {
            if check_path("path", &path).is_ok() {
                let mut text = path;
                for _ in 0..DECODINGS_MAX {
                    prop_assert!(text.split('/').all(|part| !matches!(part, "" | "." | "..")), "{text}");
                    text = percent_decode_str(&text).decode_utf8_lossy().into_owned();
                }
            }
        }
    }
}
