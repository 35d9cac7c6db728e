//! Ordering results by keys.
//!
//! Missing values come last in both directions, NaN after all numbers but before missing ones.

use std::cmp::Ordering;

use mlops_core::{Error, Result};

use super::plan::{Fields, Operand, resolve};

/// One key to order by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderKey {
    pub(crate) group: &'static str,
    pub(crate) key: String,
    pub(crate) descending: bool,
}

impl OrderKey {
    /// A key whose large values come first.
    pub(crate) fn descending(group: &'static str, key: &str) -> Self {
        Self { group, key: key.to_owned(), descending: true }
    }

    /// Parses the keys of a search over records of type `T`.
    pub(crate) fn parse_all<T: Fields>(texts: &[String]) -> Result<Vec<Self>> {
        let mut keys: Vec<Self> = Vec::new();
        for text in texts {
            let key = Self::parse::<T>(text)?;
            if keys.iter().any(|known| (known.group, &known.key) == (key.group, &key.key)) {
                return Err(Error::invalid_argument(format!("order_by names {:?} twice", key.key)));
            }
            keys.push(key);
        }
        Ok(keys)
    }

    /// Whether it is one of these keys of a group.
    pub(crate) fn is(&self, group: &str, keys: &[&str]) -> bool {
        self.group == group && keys.contains(&&*self.key)
    }

    /// Whether large values come first.
    pub(crate) fn is_descending(&self) -> bool {
        self.descending
    }

    fn parse<T: Fields>(text: &str) -> Result<Self> {
        let bad = |what: &str| Error::invalid_argument(format!("Invalid order_by clause {text:?}: {what}"));
        let trimmed = text.trim();
        let (name, direction) = match trimmed.rsplit_once(char::is_whitespace) {
            Some((name, word)) if word.eq_ignore_ascii_case("asc") || word.eq_ignore_ascii_case("desc") => {
                (name.trim(), word)
            }
            _ => (trimmed, "ASC"),
        };
        let plain = name.replace(['`', '"'], "");
        if plain.is_empty() || (plain == name && plain.contains(char::is_whitespace)) {
            return Err(bad("expected a key, then ASC or DESC"));
        }
        let (group, key) = resolve::<T>(&plain).map_err(|what| bad(&what))?;
        Ok(Self { group, key, descending: direction.eq_ignore_ascii_case("desc") })
    }
}

/// Compares two records by the keys.
pub(crate) fn compare_by<T: Fields>(keys: &[OrderKey], a: &T, b: &T) -> Ordering {
    let by_key = |key: &OrderKey| compare(&a.rank(key.group, &key.key), &b.rank(key.group, &key.key), key.descending);
    keys.iter().map(by_key).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
}

/// 0 for a value, 1 for NaN, 2 for nothing.
fn rank(value: &Operand) -> u8 {
    match value {
        Operand::Missing => 2,
        Operand::Number(number) if number.is_nan() => 1,
        _ => 0,
    }
}

/// Compares two values, in the direction that is asked for.
pub(crate) fn compare(a: &Operand, b: &Operand, descending: bool) -> Ordering {
    let by_value = match (a, b) {
        (Operand::Number(a), Operand::Number(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
        (Operand::Text(a), Operand::Text(b)) => a.cmp(b),
        _ => Ordering::Equal,
    };
    let by_value = if descending { by_value.reverse() } else { by_value };
    rank(a).cmp(&rank(b)).then(by_value)
}
