//! A number of JSON, read in one pass.
//!
//! Short decimals, which are nearly all, are a whole number over a power of ten. Where both are floats without loss
//! (up to 2^53 and 10^22) their quotient is the float next to the decimal (W. Clinger, How to Read Floating Point Numbers
//! Accurately, PLDI 1990), bit by bit what [`str::parse`] gives; it reads all others.

use super::element::Element;

/// Powers of ten that are floats without loss.
const TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Largest whole number up to which all are floats without loss.
const WHOLE_MAX: u64 = 1 << 53;
/// Below this one more digit still fits, whatever the sign.
const ROOM: u64 = i64::MAX as u64 / 16;

/// The number at the start of `text`, which is JSON, and its length; none where it is none or `T` cannot be it. Whole
/// numbers are those that are written so.
pub(super) fn number<T: Element>(text: &str) -> Option<(T, usize)> {
    let bytes = text.as_bytes();
    let negative = bytes.first() == Some(&b'-');
    let (mut digits, mut places, mut point, mut plain) = (0_u64, 0_usize, false, true);
    let mut length = usize::from(negative);
    for byte in bytes.iter().skip(length) {
        match byte {
            b'0'..=b'9' => {
                plain &= digits < ROOM;
                digits = digits.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                places += usize::from(point);
            }
            b'.' => point = true,
            b',' | b']' | b' ' | b'\n' | b'\r' | b'\t' => break,
            b'e' | b'E' | b'+' | b'-' => plain = false,
            _ => return None,
        }
        length += 1;
    }
    if length == usize::from(negative) {
        return None;
    }
    let value = match TENS.get(places) {
        Some(_) if plain && !point => whole(negative, digits),
        Some(ten) if plain && digits <= WHOLE_MAX => {
            let value = digits as f64 / ten;
            T::from_f64(if negative { -value } else { value })
        }
        _ => parsed(text.get(..length)?),
    };
    Some((value?, length))
}

fn whole<T: Element>(negative: bool, digits: u64) -> Option<T> {
    match (negative, digits) {
        (false, digits) => T::from_u64(digits),
        // JSON's zero has a sign only where it stands for a float.
        (true, 0) => T::from_f64(-0.0),
        (true, digits) => T::from_i64(-i64::try_from(digits).ok()?),
    }
}

/// Any other number.
fn parsed<T: Element>(token: &str) -> Option<T> {
    if token.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
        return T::from_f64(token.parse().ok()?);
    }
    if let Ok(whole) = token.parse() {
        return T::from_u64(whole);
    }
    match token.parse() {
        Ok(whole) => T::from_i64(whole),
        Err(_) => T::from_f64(token.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bits of a number, read here and by the standard library.
    fn check(text: &str) {
        let whole = !text.contains(['.', 'e', 'E']);
        for end in ["", ",1", "]", " ,"] {
            let line = format!("{text}{end}");
            let read = number::<f64>(&line);
            let expected = text.parse::<f64>().ok().filter(|value| value.is_finite());
            assert_eq!(read.map(|(value, _)| value.to_bits()), expected.map(f64::to_bits), "{line}");
            assert!(read.is_none_or(|(_, length)| length == text.len()), "{line}");
            let integer = number::<i64>(&line).map(|(value, _)| value);
            assert_eq!(integer, text.parse().ok().filter(|_| whole && text != "-0"), "{line}");
            let natural = number::<u64>(&line).map(|(value, _)| value);
            assert_eq!(natural, text.parse().ok().filter(|_| whole), "{line}");
        }
    }

    #[test]
    fn numbers_at_the_edges_are_what_the_standard_library_reads() {
        for text in [
            "0",
            "-0",
            "0.0",
            "-0.0",
            "1e2",
            "1E+2",
            "-1.5e-3",
            "1e400",
            "9007199254740992",
            "9007199254740993",
            "9007199254740992.0",
            "9007199254740993.0",
            "0.9007199254740993",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "0.0000000000000000000001",
            "0.00000000000000000000001",
            "1152921504606846975",
            "1152921504606846976",
            "11529215046068469759",
            "184467440737095516150.5",
            "3.4028236e38",
        ] {
            check(text);
        }
        assert!(number::<f64>("").is_none() && number::<f64>("-").is_none() && number::<f64>("\"1\"").is_none());
        assert!(number::<f32>("3.5e38").is_none() && number::<u8>("256").is_none() && number::<u8>("-1").is_none());
    }

    proptest! {
        #[test]
        fn any_number_is_what_the_standard_library_reads(
            text in "-?(0|[1-9][0-9]{0,24})(\\.[0-9]{1,26})?([eE][+-]?[0-9]{1,3})?",
        ) {
            check(&text);
        }
    }
}
