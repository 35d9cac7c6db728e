//! How reports write names, numbers and probabilities for people.
//!
//! Invariant: whatever text goes in, [`Escaped`] comes out without markup, control characters or
//! direction overrides, and [`Name`] is bounded as well.

use std::fmt::{self, Write};

use crate::stats::Tail;

/// Longest name that a page shows, in characters; the rest is an ellipsis.
pub(super) const NAME_CHARS_MAX: usize = 60;
/// What stands where there is no number.
pub(super) const NOTHING: &str = "\u{2013}";

/// Text made safe for element content and quoted attributes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Escaped<'a>(pub(super) &'a str);

/// Characters that a page must not take from outside: controls, and marks that turn the direction of writing.
pub(super) fn is_forbidden(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn write_escaped(f: &mut fmt::Formatter<'_>, character: char) -> fmt::Result {
    match character {
        '&' => f.write_str("&amp;"),
        '<' => f.write_str("&lt;"),
        '>' => f.write_str("&gt;"),
        '"' => f.write_str("&quot;"),
        '\'' => f.write_str("&#39;"),
        '`' => f.write_str("&#96;"),
        other if is_forbidden(other) => f.write_char('\u{fffd}'),
        other => f.write_char(other),
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| write_escaped(f, character))
    }
}

/// A name of at most [`NAME_CHARS_MAX`] characters, escaped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&shortened(self.0, NAME_CHARS_MAX)).fmt(f)
    }
}

/// The first `chars_max` characters, with an ellipsis where some are missing.
pub(super) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}\u{2026}", text.get(..end).unwrap_or_default().trim_end()),
        None => text.to_owned(),
    }
}

/// A number for people: three significant digits or a grouped integer, a dash when there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        match value.abs() {
            size if size.is_nan() => f.write_str(NOTHING),
            size if size.is_infinite() => f.write_str(if value > 0.0 { "\u{221e}" } else { "\u{2212}\u{221e}" }),
            0.0 => f.write_str("0"),
            size if size < 1e9 && size.fract() == 0.0 => f.write_str(&grouped(value)),
            size if (1e-3..1e6).contains(&size) => f.write_str(&significant(value)),
            size => {
                let exponent = size.log10().floor();
                let mantissa = size / 10_f64.powf(exponent);
                write!(f, "{}{}", sign(value), PowerOfTen { mantissa, exponent })
            }
        }
    }
}

fn sign(value: f64) -> &'static str {
    if value < 0.0 { "\u{2212}" } else { "" }
}

/// Whole numbers with a comma between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = sign(value).to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn significant(value: f64) -> String {
    let size = value.abs();
    let decimals: usize = match size {
        100.0.. => return grouped(size.round().copysign(value)),
        10.0.. => 1,
        1.0.. => 2,
        0.1.. => 3,
        0.01.. => 4,
        _ => 5,
    };
    let text = format!("{size:.decimals$}");
    format!("{}{}", sign(value), text.trim_end_matches('0').trim_end_matches('.'))
}

/// `1.2 x 10^-9` in the characters of print.
struct PowerOfTen {
    mantissa: f64,
    exponent: f64,
}

impl fmt::Display for PowerOfTen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mantissa = format!("{:.1}", self.mantissa);
        if mantissa != "1.0" {
            write!(f, "{}\u{d7}", mantissa.trim_end_matches(".0"))?;
        }
        f.write_str("10")?;
        for character in format!("{:.0}", self.exponent).chars() {
            f.write_char(match character {
                '-' => '\u{207b}',
                '1' => '\u{b9}',
                '2' => '\u{b2}',
                '3' => '\u{b3}',
                digit => digit.to_digit(10).and_then(|digit| char::from_u32(0x2070 + digit)).unwrap_or(digit),
            })?;
        }
        Ok(())
    }
}

/// A probability for people, also where it is too small for a double.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probability(pub(super) Option<Tail>);

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(tail) = self.0.filter(|tail| !tail.ln().is_nan()) else { return f.write_str(NOTHING) };
        let log10 = tail.log10();
        if log10 == f64::NEG_INFINITY {
            return f.write_str("0");
        }
        if log10 >= -3.0 {
            return f.write_str(&significant(tail.p()));
        }
        let exponent = log10.floor();
        PowerOfTen { mantissa: 10_f64.powf(log10 - exponent), exponent }.fmt(f)
    }
}

/// A share of one as a percentage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Percent(pub(super) f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        match percent.abs() {
            size if size.is_nan() => f.write_str(NOTHING),
            0.0 => f.write_str("0%"),
            size if size < 0.01 => f.write_str("<0.01%"),
            size if size < 1.0 => write!(f, "{}%", significant((percent * 100.0).round() / 100.0)),
            _ => write!(f, "{}%", Number((percent * 10.0).round() / 10.0)),
        }
    }
}

/// `1 column`, `2 columns`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    #[allow(clippy::cast_precision_loss, reason = "counts of things on a page")]
    let number = Number(count as f64);
    format!("{number} {noun}{}", if count == 1 { "" } else { "s" })
}

/// The name of a test in prose; names of other detectors are shown with spaces.
pub(super) fn test_title(name: &str) -> String {
    match name {
        "ks" => "Kolmogorov\u{2013}Smirnov".to_owned(),
        "psi" => "PSI".to_owned(),
        "mmd" => "MMD".to_owned(),
        "pca_reconstruction" => "PCA reconstruction".to_owned(),
        "chi_squared" => "Chi-squared".to_owned(),
        "null_share" => "Missing values".to_owned(),
        other => {
            let spaced = other.replace('_', " ");
            let mut characters = spaced.chars();
            characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_become_markup() {
        assert_eq!(Escaped("<script>'\"&`").to_string(), "&lt;script&gt;&#39;&quot;&amp;&#96;");
        assert_eq!(Escaped("a\0b\u{202e}c\n").to_string(), "a\u{fffd}b\u{fffd}c\u{fffd}");
        assert_eq!(Name(&"\u{e9}".repeat(61)).to_string(), format!("{}\u{2026}", "\u{e9}".repeat(60)));
    }

    #[test]
    fn numbers_read_well() {
        let cases = [
            (f64::NAN, "\u{2013}"),
            (0.0, "0"),
            (0.5, "0.5"),
            (-0.98765, "\u{2212}0.988"),
            (0.012_345, "0.0123"),
            (12.345, "12.3"),
            (1234.5, "1,235"),
            (-45_312.0, "\u{2212}45,312"),
            (1e-9, "10\u{207b}\u{2079}"),
            (2.5e12, "2.5\u{d7}10\u{b9}\u{b2}"),
            (f64::INFINITY, "\u{221e}"),
        ];
        for (value, text) in cases {
            assert_eq!(Number(value).to_string(), text, "{value}");
        }
    }

    #[test]
    fn probabilities_keep_their_size() {
        let text = |log10: f64| Probability(Some(Tail::from_ln(log10 * std::f64::consts::LN_10))).to_string();
        assert_eq!(text(-2000.5), "3.2\u{d7}10\u{207b}\u{b2}\u{2070}\u{2070}\u{b9}");
        assert_eq!([text(0.0), text(-1.0)], ["1", "0.1"]);
        assert_eq!(Probability(None).to_string(), "\u{2013}");
    }

    #[test]
    fn shares_are_percentages() {
        let text = |share: f64| Percent(share).to_string();
        assert_eq!(
            [text(0.1234), text(0.0), text(1e-9), text(0.0025), text(1.0)],
            ["12.3%", "0%", "<0.01%", "0.25%", "100%"]
        );
    }

    #[test]
    fn words_agree_with_counts() {
        assert_eq!((plural(1, "column"), plural(1234, "row")), ("1 column".to_owned(), "1,234 rows".to_owned()));
        assert_eq!(test_title("welch_t"), "Welch t");
    }
}
