//! A value of a column as JSON, for results that may show values.

use chrono::{DateTime, Days, NaiveDate, SecondsFormat};
use serde_json::Value as Json;

use super::column::{Column, Lane, Meaning, with_text};

/// Longest text shown of one value, in characters.
const TEXT_CHARS_MAX: usize = 200;

impl Column {
    /// The value of a row: `null` without one, dates and times as ISO 8601, decimals as text.
    pub(super) fn json(&self, row: usize) -> Json {
        if row >= self.rows || self.valid.as_ref().is_some_and(|valid| valid.is_null(row)) {
            return Json::Null;
        }
        match &self.lane {
            Lane::Int(values, meaning) => {
                values.get(row).map_or(Json::Null, |value| integer(i128::from(*value), *meaning))
            }
            Lane::Wide(values, meaning) => values.get(row).map_or(Json::Null, |value| integer(*value, *meaning)),
            Lane::Float(values) => values.get(row).map_or(Json::Null, |value| float(*value)),
            Lane::Bool(values) => Json::Bool(values.value(row)),
            Lane::Text(text) => {
                with_text!(text, array => array.value(row).chars().take(TEXT_CHARS_MAX).collect::<String>().into())
            }
            Lane::Opaque(_) => Json::String(format!("<{}>", self.data_type)),
        }
    }
}

/// A number; JSON has none for NaN and infinities, which are shown as text.
pub(in crate::quality) fn float(value: f64) -> Json {
    serde_json::Number::from_f64(value).map_or_else(|| Json::String(value.to_string()), Json::Number)
}

/// An integer of a lane by its meaning.
pub(super) fn integer(value: i128, meaning: Meaning) -> Json {
    match meaning {
        Meaning::Number { scale } if scale > 0 => Json::String(decimal(value, scale.unsigned_abs())),
        Meaning::Number { .. } | Meaning::Ticks { .. } => match i64::try_from(value) {
            Ok(value) => value.into(),
            Err(_) => u64::try_from(value).map_or_else(|_| Json::String(value.to_string()), Json::from),
        },
        Meaning::Days => date(value).map_or_else(|| value.to_string(), |date| date.to_string()).into(),
        Meaning::Instant { per_second, utc } => {
            instant(value, per_second, utc).unwrap_or_else(|| value.to_string()).into()
        }
    }
}

fn decimal(value: i128, scale: u32) -> String {
    let digits = value.unsigned_abs().to_string();
    let width = usize::try_from(scale).unwrap_or(0) + 1;
    let digits = format!("{digits:0>width$}");
    let (whole, fraction) = digits.split_at(digits.len() - (width - 1));
    format!("{}{whole}.{fraction}", if value < 0 { "-" } else { "" })
}

fn date(days: i128) -> Option<NaiveDate> {
    let (epoch, days) = (NaiveDate::from_ymd_opt(1970, 1, 1)?, i64::try_from(days).ok()?);
    if days < 0 {
        epoch.checked_sub_days(Days::new(days.unsigned_abs()))
    } else {
        epoch.checked_add_days(Days::new(days.unsigned_abs()))
    }
}

fn instant(ticks: i128, per_second: i128, utc: bool) -> Option<String> {
    let seconds = i64::try_from(ticks.div_euclid(per_second)).ok()?;
    let nanos = u32::try_from(ticks.rem_euclid(per_second) * (1_000_000_000 / per_second)).ok()?;
    let text = DateTime::from_timestamp(seconds, nanos)?.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    Some(if utc { text } else { text.trim_end_matches('Z').to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_show_what_they_mean() {
        let number = |scale| Meaning::Number { scale };
        assert_eq!(integer(-5, number(2)), "-0.05");
        assert_eq!(integer(12345, number(2)), "123.45");
        assert_eq!(integer(7, number(0)), 7);
        assert_eq!(integer(i128::from(u64::MAX), number(0)), u64::MAX);
        assert_eq!(integer(-1, Meaning::Days), "1969-12-31");
        let instant = |utc| Meaning::Instant { per_second: 1000, utc };
        assert_eq!(integer(1_500, instant(true)), "1970-01-01T00:00:01.500Z");
        assert_eq!(integer(-1, instant(false)), "1969-12-31T23:59:59.999");
        assert_eq!(integer(i128::from(i64::MAX), Meaning::Days), i64::MAX.to_string());
        assert_eq!(float(f64::NAN), "NaN");
    }
}
