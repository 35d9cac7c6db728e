//! Text to tokens. Every token knows where it began, so errors can point.

use mlops_core::{Error, Result};

/// Longest filter or order key in bytes.
pub const FILTER_BYTES_MAX: usize = 16_384;

/// One token and the byte at which it began.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: TokenKind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// A bare word, keyword or dotted name; quoted parts of a name are unquoted already.
    Word(String),
    /// A quoted string where a value stands.
    Text(String),
    /// A number as written.
    Number(f64),
    /// `=`, `!=`, `<`, `<=`, `>`, `>=`.
    Operator(&'static str),
    Open,
    Close,
    Comma,
}

pub(super) fn error_at(text: &str, at: usize, what: &str) -> Error {
    let found: String = text.get(at..).unwrap_or_default().chars().take(20).collect();
    let found = if found.is_empty() { "the end".to_owned() } else { format!("{found:?}") };
    Error::invalid_argument(format!("Invalid filter at position {at}, near {found}: {what}")).with("position", at)
}

/// Splits a filter into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(Error::invalid_argument(format!(
            "filter has {} bytes; at most {FILTER_BYTES_MAX} are allowed",
            text.len()
        )));
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (kind, length) = token(text, at, c)?;
        found.push(Token { at, kind });
        at += length;
    }
    Ok(found)
}

fn token(text: &str, at: usize, c: char) -> Result<(TokenKind, usize)> {
    let rest = text.get(at..).unwrap_or_default();
    let symbols = [("!=", "!="), ("<=", "<="), (">=", ">="), ("=", "="), ("<", "<"), (">", ">")];
    if let Some((symbol, operator)) = symbols.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
        return Ok((TokenKind::Operator(operator), symbol.len()));
    }
    match c {
        '(' => Ok((TokenKind::Open, 1)),
        ')' => Ok((TokenKind::Close, 1)),
        ',' => Ok((TokenKind::Comma, 1)),
        '\'' => quoted(text, at, '\'').map(|(text, length)| (TokenKind::Text(text), length)),
        '"' => quoted(text, at, '"').map(|(text, length)| (TokenKind::Text(text), length)),
        '-' | '+' | '0'..='9' | '.' => number(text, at, rest),
        '`' => name(text, at),
        c if c.is_alphanumeric() || c == '_' => name(text, at),
        _ => Err(error_at(text, at, "unexpected character")),
    }
}

/// A text in quotes. A quote that is doubled does not end it; as in MLflow both of them are part of the text.
fn quoted(text: &str, at: usize, quote: char) -> Result<(String, usize)> {
    let inner = text.get(at + 1..).unwrap_or_default();
    let is_quote = |at: usize| inner.get(at..).is_some_and(|rest| rest.starts_with(quote));
    let mut end = 0;
    while let Some(length) = inner.get(end..).and_then(|rest| rest.find(quote)) {
        end += length;
        if !is_quote(end + 1) {
            return Ok((inner.get(..end).unwrap_or_default().to_owned(), end + 2));
        }
        end += 2;
    }
    Err(error_at(text, at, "quote is not closed"))
}

fn number(text: &str, at: usize, rest: &str) -> Result<(TokenKind, usize)> {
    let is_part = |(index, c): &(usize, char)| {
        c.is_ascii_digit()
            || matches!(c, '.' | 'e' | 'E')
            || (matches!(c, '-' | '+')
                && (*index == 0 || rest.get(..*index).is_some_and(|before| before.ends_with(['e', 'E']))))
    };
    let length = rest.char_indices().take_while(is_part).count();
    let digits = rest.get(..length).unwrap_or_default();
    match digits.parse::<f64>() {
        Ok(value) => Ok((TokenKind::Number(value), length)),
        Err(_) => Err(error_at(text, at, "not a number")),
    }
}

/// A word, or a dotted name such as `` tags.`a b` `` whose key may be quoted.
fn name(text: &str, at: usize) -> Result<(TokenKind, usize)> {
    let (mut name, mut end) = (String::new(), at);
    while let Some(c) = text.get(end..).and_then(|rest| rest.chars().next()) {
        let key_begins = name.is_empty() || name.ends_with('.');
        match c {
            '`' | '"' if key_begins => {
                let (part, length) = quoted(text, end, c)?;
                name.push_str(&part);
                return Ok((TokenKind::Word(name), end + length - at));
            }
            c if c.is_alphanumeric() || matches!(c, '_' | '.' | '/') => {
                name.push(c);
                end += c.len_utf8();
            }
            '-' if name.contains('.') => {
                name.push(c);
                end += 1;
            }
            _ => break,
        }
    }
    Ok((TokenKind::Word(name), end - at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_may_be_quoted_and_numbers_signed() {
        let kinds: Vec<_> = tokens("tags.`a b` != 'x' AND metrics.m-1 >= -1.5e-3")
            .unwrap()
            .into_iter()
            .map(|token| token.kind)
            .collect();
        assert_eq!(kinds[0], TokenKind::Word("tags.a b".into()));
        assert_eq!(kinds[4], TokenKind::Word("metrics.m-1".into()));
        assert_eq!(kinds[6], TokenKind::Number(-0.0015));
    }

    #[test]
    fn a_doubled_quote_belongs_to_the_text() {
        let value = |filter: &str| tokens(filter).map(|tokens| tokens[2].kind.clone());
        for (filter, text) in [
            ("tags.q = 'it''s'", "it''s"),
            ("tags.q = '''it'", "''it"),
            (r#"tags.q = "say ""x""""#, r#"say ""x"""#),
            (r#"tags.q = "it's""#, "it's"),
            ("tags.q = '' AND tags.r = ''", ""),
        ] {
            assert_eq!(value(filter).unwrap(), TokenKind::Text(text.to_owned()), "{filter}");
        }
        assert!(value("tags.q = 'it''").is_err());
    }

    #[test]
    fn errors_point_at_the_place() {
        let message = |text: &str| tokens(text).unwrap_err().message().to_owned();
        assert!(message("a = 'x").contains("position 4"), "{}", message("a = 'x"));
        assert!(message("a = 1 ; drop").contains("position 6"));
        assert!(message(&"x".repeat(20_000)).contains("20000 bytes"));
    }
}
