//! A literal of a rule or a condition, and the exact decimal behind a number.
//!
//! Invariant: a literal is compared as it is written. `0.1` against a decimal column is one tenth,
//! not the nearest double, and an integer column is never rounded to doubles.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One literal value. Compared without conversion: text with text, integers with integers; dates
/// and timestamps are written as ISO 8601 text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SetValue {
    /// For boolean columns.
    Bool(bool),
    /// For integer columns.
    Integer(i64),
    /// For floating-point columns, where integers are allowed as well.
    Float(f64),
    /// For text, date and timestamp columns, and for decimals beyond the range of integers.
    Text(String),
}

impl From<&str> for SetValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for SetValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for SetValue {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for SetValue {
    fn from(value: i32) -> Self {
        Self::Integer(i64::from(value))
    }
}

impl From<f64> for SetValue {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<bool> for SetValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl fmt::Display for SetValue {
    /// As written in a condition: text in single quotes, a quote inside it doubled.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            // With a point or an exponent, so that it reads back as a float.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
}

impl SetValue {
    #[allow(clippy::cast_precision_loss, reason = "an integer that is no double equals no double in the column")]
    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Float(value) => Some(*value),
            Self::Bool(_) | Self::Text(_) => None,
        }
    }

    /// Less than, when both are numbers or both are text.
    pub(super) fn less(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a < b),
            (Self::Text(a), Self::Text(b)) => Some(a < b),
            (a, b) => Some(a.as_f64()? < b.as_f64()?),
        }
    }
}

/// `digits * 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decimal {
    digits: i128,
    exponent: i32,
}

/// A number in whole units of a column: the largest not above it, and whether that is the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Units {
    pub(super) floor: i128,
    pub(super) exact: bool,
}

impl Decimal {
    /// The decimal that the shortest text of the number shows; `None` for NaN and text that is no
    /// number.
    pub(super) fn of(value: &SetValue) -> Option<Self> {
        match value {
            SetValue::Integer(value) => Some(Self { digits: i128::from(*value), exponent: 0 }),
            SetValue::Float(value) if value.is_infinite() => {
                Some(Self { digits: if *value > 0.0 { i128::MAX } else { i128::MIN }, exponent: 0 })
            }
            SetValue::Float(value) => Self::parse(&format!("{value:e}")),
            SetValue::Text(text) => Self::parse(text),
            SetValue::Bool(_) => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if fraction.starts_with(['+', '-']) {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok()?;
        let exponent = exponent.parse::<i32>().ok()?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        Some(Self { digits, exponent })
    }

    /// The number in units of `10^-scale`; beyond the range of i128 it is the nearest end of it.
    pub(super) fn units(self, scale: i32) -> Units {
        let shift = self.exponent.saturating_add(scale);
        let power = 10_i128.checked_pow(shift.unsigned_abs());
        match (power, shift >= 0) {
            _ if self.digits == 0 => Units { floor: 0, exact: true },
            (Some(power), true) => Units { floor: self.digits.saturating_mul(power), exact: true },
            (None, true) => Units { floor: if self.digits > 0 { i128::MAX } else { i128::MIN }, exact: true },
            (Some(power), false) => {
                Units { floor: self.digits.div_euclid(power), exact: self.digits.rem_euclid(power) == 0 }
            }
            (None, false) => Units { floor: if self.digits > 0 { 0 } else { -1 }, exact: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        let units = |value: SetValue, scale| {
            let units = Decimal::of(&value).unwrap().units(scale);
            (units.floor, units.exact)
        };
        assert_eq!(units(0.1.into(), 2), (10, true));
        assert_eq!(units(0.1.into(), 0), (0, false));
        assert_eq!(units((-0.1).into(), 0), (-1, false));
        assert_eq!(units(1e30.into(), 2), (10_i128.pow(32), true));
        assert_eq!(units(1e300.into(), 2), (i128::MAX, true));
        assert_eq!(units((-1e-300).into(), 2), (-1, false));
        assert_eq!(units(i64::MAX.into(), 0), (i128::from(i64::MAX), true));
        assert_eq!(units("123456789012345678901.25".into(), 2), (12_345_678_901_234_567_890_125, true));
        assert_eq!(units(f64::NEG_INFINITY.into(), 2), (i128::MIN, true));
        for text in ["", "a", "1.-2", "nan", "1e", "--1"] {
            assert_eq!(Decimal::of(&text.into()), None, "{text}");
        }
    }
}
