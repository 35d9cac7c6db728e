//! Text: patterns, lengths, dates, JSON, and well-known formats.

use std::sync::LazyLock;

use arrow_buffer::BooleanBuffer;
use chrono::{
    DateTime, NaiveDate, NaiveDateTime,
    format::{ParseErrorKind, Parsed, StrftimeItems, parse},
};
use regex::Regex;
use serde::de::IgnoredAny;

use super::{
    column::{Column, with_text},
    exception::{Checked, ExceptionKind, RuleException},
    patterns,
    rows::Predicate,
};
use crate::quality::expectation::{Expectation, LengthUnit};

/// A test of one text.
pub(super) enum TextTest {
    /// At least one pattern matches.
    Any(Vec<Regex>),
    /// Every pattern matches.
    All(Vec<Regex>),
    /// No pattern matches.
    None(Vec<Regex>),
    Length {
        min: u64,
        max: u64,
        unit: LengthUnit,
    },
    Strftime(String),
    Date,
    Json,
    Email,
    Url,
    CreditCard,
    Ssn,
}

impl std::fmt::Debug for TextTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TextTest")
    }
}

impl TextTest {
    /// The test of a rule about text; `None` for other rules.
    pub(super) fn of(expectation: &Expectation) -> Option<Checked<Self>> {
        let regex = |patterns: &[String], anchored: bool| -> Checked<Vec<Regex>> {
            patterns.iter().map(|pattern| patterns::compile(pattern, anchored).map_err(unusable)).collect()
        };
        let like = |patterns: &[String]| -> Checked<Vec<Regex>> {
            patterns.iter().map(|pattern| patterns::like(pattern).map_err(unusable)).collect()
        };
        let one = std::slice::from_ref::<String>;
        Some(match expectation {
            Expectation::Regex { pattern, anchored, .. } => regex(one(pattern), *anchored).map(Self::Any),
            Expectation::NotRegex { pattern, anchored, .. } => regex(one(pattern), *anchored).map(Self::None),
            Expectation::AnyOfRegex { patterns, anchored, .. } => regex(patterns, *anchored).map(Self::Any),
            Expectation::AllOfRegex { patterns, anchored, .. } => regex(patterns, *anchored).map(Self::All),
            Expectation::NoneOfRegex { patterns, anchored, .. } => regex(patterns, *anchored).map(Self::None),
            Expectation::Like { pattern, .. } => like(one(pattern)).map(Self::Any),
            Expectation::NotLike { pattern, .. } => like(one(pattern)).map(Self::None),
            Expectation::AnyOfLike { patterns, .. } => like(patterns).map(Self::Any),
            Expectation::NoneOfLike { patterns, .. } => like(patterns).map(Self::None),
            Expectation::LengthBetween { min, max, unit, .. } => {
                Ok(Self::Length { min: min.unwrap_or(0), max: max.unwrap_or(u64::MAX), unit: *unit })
            }
            Expectation::LengthEquals { length, unit, .. } => {
                Ok(Self::Length { min: *length, max: *length, unit: *unit })
            }
            Expectation::Strftime { format, .. } => Ok(Self::Strftime(format.clone())),
            Expectation::DateParseable { .. } => Ok(Self::Date),
            Expectation::JsonParseable { .. } => Ok(Self::Json),
            Expectation::Email { .. } => Ok(Self::Email),
            Expectation::Url { .. } => Ok(Self::Url),
            Expectation::CreditCard { .. } => Ok(Self::CreditCard),
            Expectation::Ssn { .. } => Ok(Self::Ssn),
            _ => return None,
        })
    }
}

fn unusable(fault: String) -> RuleException {
    RuleException::new(ExceptionKind::UnsupportedType, fault)
}

impl Predicate for TextTest {
    fn passes(&mut self, column: &Column, counted: Option<&BooleanBuffer>) -> Checked<BooleanBuffer> {
        let each = |test: &dyn Fn(&str) -> bool| -> Checked<BooleanBuffer> {
            let wanted = |row: usize| counted.is_none_or(|counted| counted.value(row));
            Ok(with_text!(column.text()?, array => {
                BooleanBuffer::collect_bool(column.rows, |row| wanted(row) && test(array.value(row)))
            }))
        };
        match self {
            Self::Any(patterns) => match patterns.as_slice() {
                [only] => each(&|text| only.is_match(text)),
                patterns => each(&|text| patterns.iter().any(|pattern| pattern.is_match(text))),
            },
            Self::All(patterns) => each(&|text| patterns.iter().all(|pattern| pattern.is_match(text))),
            Self::None(patterns) => each(&|text| !patterns.iter().any(|pattern| pattern.is_match(text))),
            Self::Length { min, max, unit } => {
                let length = |text: &str| match unit {
                    LengthUnit::Chars => text.chars().count() as u64,
                    LengthUnit::Bytes => text.len() as u64,
                };
                each(&|text| (*min..=*max).contains(&length(text)))
            }
            Self::Strftime(format) => each(&|text| is_time(text, format)),
            Self::Date => each(&is_date),
            Self::Json => each(&|text| serde_json::from_str::<IgnoredAny>(text).is_ok()),
            Self::Email => each(&|text| is_email(text)),
            Self::Url => each(&|text| found(&URL, text)),
            Self::CreditCard => each(&is_card),
            Self::Ssn => each(&is_ssn),
        }
    }
}

/// Whether all of the text is of the format, and names a day that exists.
fn is_time(text: &str, format: &str) -> bool {
    let mut parsed = Parsed::new();
    if parse(&mut parsed, text, StrftimeItems::new(format)).is_err() {
        return false;
    }
    // A format without a full date has no day to check.
    let exists = |kind: Option<ParseErrorKind>| matches!(kind, None | Some(ParseErrorKind::NotEnough));
    exists(parsed.to_naive_date().err().map(|error| error.kind()))
        && exists(parsed.to_naive_time().err().map(|error| error.kind()))
}

fn is_date(text: &str) -> bool {
    const LOCAL: [&str; 4] = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"];
    text.parse::<NaiveDate>().is_ok()
        || DateTime::parse_from_rfc3339(text).is_ok()
        || LOCAL.iter().any(|format| NaiveDateTime::parse_from_str(text, format).is_ok())
        || DateTime::parse_from_rfc2822(text).is_ok()
}

type Pattern = LazyLock<Option<Regex>>;

static EMAIL: Pattern = LazyLock::new(|| {
    let atom = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+";
    let label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
    patterns::compile(&format!(r"{atom}(?:\.{atom})*@(?:{label}\.)+[A-Za-z]{{2,63}}"), true).ok()
});

static URL: Pattern = LazyLock::new(|| {
    let label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
    let host = format!(r"(?:{label}(?:\.{label})*\.?|\[[0-9A-Fa-f:.]{{2,45}}\])");
    let pattern = format!(r"(?i:https?|ftp)://(?:[^\s/?#@]+@)?{host}(?::[0-9]{{1,5}})?(?:[/?#]\S*)?");
    patterns::compile(&pattern, true).ok()
});

fn found(pattern: &Pattern, text: &str) -> bool {
    pattern.as_ref().is_some_and(|pattern| pattern.is_match(text))
}

fn is_email(text: &str) -> bool {
    let local = text.split('@').next().unwrap_or("");
    text.len() <= 254 && local.len() <= 64 && found(&EMAIL, text)
}

fn is_card(text: &str) -> bool {
    let mut digits = Vec::new();
    let mut before = ' ';
    for character in text.chars() {
        match character.to_digit(10) {
            Some(digit) => digits.push(digit),
            None if matches!(character, ' ' | '-') && before.is_ascii_digit() => {}
            None => return false,
        }
        before = character;
    }
    before.is_ascii_digit() && (12..=19).contains(&digits.len()) && luhn(&digits)
}

/// Every second digit from the right is doubled, less 9 above 9; the sum is a multiple of ten.
fn luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| if index % 2 == 1 { doubled(*digit) } else { *digit })
        .sum();
    sum.is_multiple_of(10)
}

fn is_ssn(text: &str) -> bool {
    let plain = text.len() == 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = match plain {
        true => [0..3, 3..5, 5..9].into_iter().filter_map(|span| text.get(span)).collect(),
        false => text.split('-').collect(),
    };
    let [area, group, serial] = parts.as_slice() else { return false };
    let number = |part: &str, length: usize| {
        (part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let (Some(area), Some(group), Some(serial)) = (number(area, 3), number(group, 2), number(serial, 4)) else {
        return false;
    };
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(test: impl Fn(&str) -> bool, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(test(text), "{text}");
        }
        for text in no {
            assert!(!test(text), "{text}");
        }
    }

    #[test]
    fn formats_are_strict() {
        check(
            is_email,
            &["a@b.co", "first.last+tag@sub.example.org"],
            &["", "a", "a@b", "a@b.1", ".a@b.co", "a..b@b.co", "a@-b.co", "a b@c.de", "a@b.co\n", "é@b.co"],
        );
        check(
            |text| found(&URL, text),
            &["http://a", "https://example.org:8080/p?q=1#f", "ftp://1.2.3.4/x", "http://[::1]/", "HTTP://u:p@h/"],
            &[
                "",
                "example.org",
                "http://",
                "http:///x",
                "mailto:a@b.co",
                "http://a b",
                "http://-a.de",
                "http://a:123456",
            ],
        );
        // Test numbers of the card schemes.
        check(
            is_card,
            &["4111111111111111", "5555 5555 5555 4444", "3782-822463-10005", "4222222222222"],
            &[
                "",
                "4111111111111112",
                "41111",
                "4111  1111 1111 1111",
                "4111111111111111 ",
                "-4111111111111111",
                "4111a",
            ],
        );
        check(
            is_ssn,
            &["123-45-6789", "123456789", "899-99-9999"],
            &[
                "",
                "000-12-3456",
                "666-12-3456",
                "900-12-3456",
                "123-00-4567",
                "123-45-0000",
                "12-345-6789",
                "123-45-678a",
            ],
        );
        check(
            is_date,
            &[
                "2024-02-29",
                "2024-02-29T10:00:00Z",
                "2024-02-29 10:00",
                "2024-02-29T10:00:00.5+02:00",
                "Thu, 29 Feb 2024 10:00:00 +0000",
            ],
            &["", "2023-02-29", "yesterday", "2024-02-29T25:00:00", "29.02.2024"],
        );
        let is = |format: &'static str| move |text: &str| is_time(text, format);
        check(is("%Y-%m-%d"), &["2024-02-29"], &["2023-02-29", "2024-02-29x", " ", "2024-13-01"]);
        check(is("%H:%M"), &["23:59"], &["24:00", "12:60"]);
        check(is("%Y-%m"), &["2024-12"], &["2024-13", "2024"]);
    }
}
