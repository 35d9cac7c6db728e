//! How pages write numbers, times and sizes.

use mlops_core::{RunStatus, Timestamp};

use crate::tracking::RunRecord;

/// Six significant digits; whole numbers as they are.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "\u{221e}" } else { "\u{2212}\u{221e}" }.into();
    }
    if value.fract() == 0.0 && size < 1e15 {
        return format!("{value:.0}");
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{value:.4e}");
    }
    let places = match size {
        1e6.. => 0,
        1e5.. => 1,
        1e4.. => 2,
        1e3.. => 3,
        100.0.. => 4,
        10.0.. => 5,
        1.0.. => 6,
        _ => 7,
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Date and time to the second, in UTC.
pub(super) fn time(time: Timestamp) -> String {
    let text = time.to_string();
    text.get(..19).map_or_else(|| text.clone(), |start| start.replace('T', " "))
}

/// How long a run took; none while it is open.
pub(super) fn duration(run: &RunRecord) -> Option<String> {
    let millis = run.ended?.as_millis().saturating_sub(run.started.as_millis()).max(0);
    let seconds = millis / 1_000;
    Some(match seconds {
        0..10 => format!("{}.{} s", seconds, millis % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    })
}

/// Bytes in the largest decimal unit that fits.
pub(super) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1_000.0 {
            return if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1_000.0;
    }
    format!("{value:.1} TB")
}

/// `1 run`, `2 runs`, `10,000 runs`.
pub(super) fn count(number: u64, thing: &str) -> String {
    let plain = number.to_string();
    let mut digits = String::new();
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place).is_multiple_of(3) {
            digits.push(',');
        }
        digits.push(digit);
    }
    format!("{digits} {thing}{}", if number == 1 { "" } else { "s" })
}

/// The class and word of a status.
pub(super) fn status(status: RunStatus) -> (&'static str, &'static str) {
    match status {
        RunStatus::Running => ("attention", "\u{25b6} running"),
        RunStatus::Scheduled => ("neutral", "\u{25cb} scheduled"),
        RunStatus::Finished => ("good", "\u{2713} finished"),
        RunStatus::Failed => ("bad", "\u{25b2} failed"),
        RunStatus::Killed => ("neutral", "\u{25a0} killed"),
    }
}

/// The first characters, with an ellipsis where some are missing.
pub(super) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}\u{2026}", text.get(..end).unwrap_or_default().trim_end()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_true() {
        let cases = [
            (0.0, "0"),
            (0.912_345_678_9, "0.9123457"),
            (12_000.5, "12000.5"),
            (-3.25, "-3.25"),
            (1e-9, "1.0000e-9"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "\u{221e}"),
        ];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!((bytes(999).as_str(), bytes(1_500_000).as_str()), ("999 B", "1.5 MB"));
        assert_eq!((count(1, "run").as_str(), count(10_000, "run").as_str()), ("1 run", "10,000 runs"));
        assert_eq!(time(Timestamp::from_millis(0)), "1970-01-01 00:00:00");
    }
}
