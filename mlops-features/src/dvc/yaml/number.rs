//! Numbers as Python's `repr` writes them.

/// A YAML integer in decimal, without sign of plus, leading zeros or underscores.
pub(super) fn int_text(text: &str) -> String {
    let digits: String = text.chars().filter(|digit| *digit != '_').collect();
    let (minus, digits) = match digits.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0b") => (2, digits.get(2..)),
        Some("0o") => (8, digits.get(2..)),
        Some("0x") => (16, digits.get(2..)),
        _ => (10, Some(digits)),
    };
    let digits = digits.unwrap_or_default();
    let magnitude = match u128::from_str_radix(digits, radix) {
        Ok(number) => number.to_string(),
        // Longer than any machine number: decimal digits stay what they are.
        Err(_) => digits.trim_start_matches('0').to_owned(),
    };
    if minus && magnitude != "0" { format!("-{magnitude}") } else { magnitude }
}

/// A YAML float as `repr` writes it: the shortest digits that read back the same, an exponent below 1e-4 and from 1e16.
pub(in crate::dvc) fn float_text(text: &str) -> String {
    let text: String = text.chars().filter(|digit| *digit != '_').collect();
    match text.to_ascii_lowercase().as_str() {
        ".nan" => return ".nan".to_owned(),
        ".inf" | "+.inf" => return ".inf".to_owned(),
        "-.inf" => return "-.inf".to_owned(),
        _ => {}
    }
    let Ok(number) = text.parse::<f64>() else { return text };
    if number.is_infinite() {
        return if number > 0.0 { ".inf".to_owned() } else { "-.inf".to_owned() };
    }
    let scientific = format!("{number:e}");
    let exponent: i32 = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    if number != 0.0 && !(-4..16).contains(&exponent) {
        let (digits, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.unsigned_abs());
    }
    format!("{number:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_python_repr_does() {
        let ints = [("0x10", "16"), ("1_000", "1000"), ("+7", "7"), ("-0", "0"), ("0o17", "15"), ("007", "7")];
        for (text, expected) in ints {
            assert_eq!(int_text(text), expected, "{text}");
        }
        assert_eq!(int_text(&"9".repeat(60)), "9".repeat(60));
        let floats = [
            ("0.1", "0.1"),
            ("1e3", "1000.0"),
            ("1e-5", "1e-05"),
            ("0.0001", "0.0001"),
            ("1e16", "1e+16"),
            ("123456789012345680.0", "1.2345678901234568e+17"),
            ("1e15", "1000000000000000.0"),
            ("-0.0", "-0.0"),
            ("1.", "1.0"),
            (".5", "0.5"),
            ("1e400", ".inf"),
            ("5e-324", "5e-324"),
        ];
        for (text, expected) in floats {
            assert_eq!(float_text(text), expected, "{text}");
        }
    }
}
