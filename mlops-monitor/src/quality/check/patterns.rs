//! Patterns of text made into regular expressions, of bounded size and matched in linear time.

use chrono::format::{Item, StrftimeItems};
use regex::{Regex, RegexBuilder};

/// Most memory that one compiled pattern may take, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// Compiles a pattern; anchored, the whole text must match.
pub(super) fn compile(pattern: &str, anchored: bool) -> Result<Regex, String> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build().map_err(|error| error.to_string())
    };
    // As it stands first, so that a fault is shown in the pattern that was given, and an unmatched
    // parenthesis does not close the group.
    let plain = build(pattern)?;
    if anchored { build(&format!(r"\A(?:{pattern})\z")) } else { Ok(plain) }
}

/// An SQL `LIKE` pattern as a regular expression for the whole text.
pub(super) fn like(pattern: &str) -> Result<Regex, String> {
    let mut translated = String::from(r"(?s)\A");
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => translated.push_str(".*"),
            '_' => translated.push('.'),
            '\\' => {
                let literal = characters.next().ok_or("an escape at the end of the pattern")?;
                translated.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
            }
            other => translated.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    compile(&format!(r"{translated}\z"), false)
}

/// What is wrong with a regular expression.
pub(in crate::quality) fn pattern_fault(pattern: &str, anchored: bool) -> Option<String> {
    compile(pattern, anchored).err()
}

/// What is wrong with a `LIKE` pattern.
pub(in crate::quality) fn like_fault(pattern: &str) -> Option<String> {
    like(pattern).err()
}

/// What is wrong with a `strftime` format.
pub(in crate::quality) fn format_fault(format: &str) -> Option<String> {
    let broken = StrftimeItems::new(format).any(|item| matches!(item, Item::Error));
    broken.then(|| format!("strftime format {format:?} is not understood"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_is_sql_s() {
        let matches = |pattern: &str, text: &str| like(pattern).unwrap().is_match(text);
        assert!(matches("a%c", "abbc") && matches("a%c", "ac") && matches("a%c", "a\nc"));
        assert!(!matches("a%c", "abcd") && !matches("a%c", "xac"));
        assert!(matches("a_c", "abc") && matches("a_c", "aéc") && !matches("a_c", "ac"));
        assert!(matches(r"100\%", "100%") && !matches(r"100\%", "1000"));
        assert!(matches(r"\\x", r"\x") && matches("a.c", "a.c") && !matches("a.c", "abc"));
        assert!(matches("", "") && !matches("", "a") && matches("%", ""));
        assert!(like_fault(r"a\").is_some());
    }

    #[test]
    fn anchored_patterns_cover_the_whole_text() {
        let matches = |pattern: &str, text: &str| compile(pattern, true).unwrap().is_match(text);
        assert!(matches("a|bc", "bc") && !matches("a|bc", "abc") && !matches("a", "a\n"));
        assert!(pattern_fault("a)(b", true).is_some());
        assert!(pattern_fault("(?=a)", false).is_some());
        assert!(pattern_fault(r"\w{1000}{1000}", false).is_some());
    }
}
