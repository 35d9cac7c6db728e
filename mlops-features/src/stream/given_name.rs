//! Names that a kind of server allows: checked before a server is asked, so that a wrong one is told as what it is.

use mlops_core::{Error, Result};

/// What may be the name of something on a server.
#[derive(Debug)]
pub(super) struct NameRule {
    /// What has the name.
    pub(super) thing: &'static str,
    /// Longest name in bytes.
    pub(super) bytes_max: usize,
    /// Which letters are allowed.
    pub(super) allows: fn(char) -> bool,
    /// The same in words.
    pub(super) allowed: &'static str,
}

impl NameRule {
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let Self { thing, bytes_max, allows, allowed } = self;
        if !name.is_empty() && name.len() <= *bytes_max && name.chars().all(allows) {
            return Ok(());
        }
        let shown: String = name.chars().take(*bytes_max).collect();
        Err(Error::invalid_argument(format!("{shown:?} can be no {thing}: 1 to {bytes_max} bytes, {allowed}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: NameRule = NameRule {
        thing: "stream of tests",
        bytes_max: 4,
        allows: |letter| letter.is_ascii_lowercase(),
        allowed: "small letters",
    };

    #[test]
    fn a_name_that_is_not_allowed_is_told_with_what_is() {
        for good in ["a", "abcd"] {
            RULE.check(good).unwrap();
        }
        for (bad, shown) in
            [("", "\"\""), ("a b", "\"a b\""), ("A", "\"A\""), ("abcde", "\"abcd\""), ("a\n", "\"a\\n\"")]
        {
            let error = RULE.check(bad).unwrap_err();
            let expected = format!("{shown} can be no stream of tests: 1 to 4 bytes, small letters");
            assert_eq!(error.message(), expected);
        }
    }
}
