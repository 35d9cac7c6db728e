//! Bare `NaN`, `Infinity` and `-Infinity`, which some protocols allow and JSON does not.

use std::borrow::Cow;

const TOKENS: [&[u8]; 3] = [b"NaN", b"Infinity", b"-Infinity"];

/// The body with each bare token made a string, so that a JSON reader takes it; text in strings stays as it is.
/// Borrowed, and not looked at again, when there is no token.
pub(crate) fn quoted(body: &[u8]) -> Cow<'_, [u8]> {
    if !body.windows(3).any(|window| window == b"NaN" || window == b"Inf") {
        return Cow::Borrowed(body);
    }
    let mut out = Vec::with_capacity(body.len() + 16);
    let (mut rest, mut in_text) = (body, false);
    while let [first, tail @ ..] = rest {
        if !in_text && let Some(token) = TOKENS.iter().find(|token| rest.starts_with(token)) {
            out.push(b'"');
            out.extend_from_slice(token);
            out.push(b'"');
            rest = rest.get(token.len()..).unwrap_or_default();
            continue;
        }
        out.push(*first);
        rest = tail;
        if in_text && *first == b'\\' {
            if let [escaped, tail @ ..] = rest {
                out.push(*escaped);
                rest = tail;
            }
        } else if *first == b'"' {
            in_text = !in_text;
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_quoted_and_text_is_left_alone() {
        let check = |input: &str, expected: &str| {
            assert_eq!(String::from_utf8_lossy(&quoted(input.as_bytes())), expected);
        };
        check("[NaN,-Infinity, Infinity]", r#"["NaN","-Infinity", "Infinity"]"#);
        check(r#"{"NaN":"a\"NaN","b":NaN}"#, r#"{"NaN":"a\"NaN","b":"NaN"}"#);
        check("[1]", "[1]");
        check("NaN\\", "\"NaN\"\\");
    }
}
