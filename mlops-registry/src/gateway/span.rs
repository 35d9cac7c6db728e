//! Spans of time that follow one another: minutes, hours, days, weeks and months of the calendar, in UTC.

use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::named::named;

/// Most units of a span.
const LENGTH_MAX: u32 = 1_000_000;
const MINUTE_MICROS: i64 = 60 * 1_000_000;
const HOUR_MICROS: i64 = 60 * MINUTE_MICROS;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;
const WEEK_MICROS: i64 = 7 * DAY_MICROS;
/// The Sunday before 1970, from which weeks are counted.
const SUNDAY_MICROS: i64 = -4 * DAY_MICROS;

named! {
    /// What the length of a span is counted in.
    BudgetLength {
        /// Minutes, from 1970 on.
        Minutes = "MINUTES",
        /// Hours, from 1970 on.
        Hours = "HOURS",
        /// Days, from 1970 on.
        Days = "DAYS",
        /// Weeks that begin on Sunday.
        Weeks = "WEEKS",
        /// Months of the calendar, in UTC.
        Months = "MONTHS",
    }
}

/// The length of the spans in which costs are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetSpan {
    /// What it is counted in.
    pub unit: BudgetLength,
    /// How many, 1 to 1,000,000.
    pub count: u32,
}

impl BudgetSpan {
    /// Begin and end of the span that a time is in. Spans follow one another without gaps, in UTC.
    ///
    /// ```
    /// use mlops_core::Timestamp;
    /// use mlops_registry::gateway::{BudgetLength, BudgetSpan};
    ///
    /// let quarters = BudgetSpan { unit: BudgetLength::Months, count: 3 };
    /// let time = |text: &str| text.parse::<Timestamp>();
    /// let (begin, end) = quarters.around(time("2026-05-17T12:00:00Z")?);
    /// assert_eq!((begin, end), (time("2026-04-01T00:00:00Z")?, time("2026-07-01T00:00:00Z")?));
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    #[must_use]
    pub fn around(self, at: Timestamp) -> (Timestamp, Timestamp) {
        let (count, micros) = (i64::from(self.count.max(1)), at.as_micros());
        let whole = |unit: i64, origin: i64| {
            let length = count.saturating_mul(unit);
            let begin = (micros - origin).div_euclid(length) * length + origin;
            (begin, begin.saturating_add(length))
        };
        let (begin, end) = match self.unit {
            BudgetLength::Minutes => whole(MINUTE_MICROS, 0),
            BudgetLength::Hours => whole(HOUR_MICROS, 0),
            BudgetLength::Days => whole(DAY_MICROS, 0),
            BudgetLength::Weeks => whole(WEEK_MICROS, SUNDAY_MICROS),
            BudgetLength::Months => {
                let begin = month_of_day(micros.div_euclid(DAY_MICROS)).div_euclid(count) * count;
                let micros = |month| first_day_of_month(month).saturating_mul(DAY_MICROS);
                (micros(begin), micros(begin.saturating_add(count)))
            }
        };
        (Timestamp::from_micros(begin), Timestamp::from_micros(end))
    }

    pub(super) fn check(self) -> Result<()> {
        if (1..=LENGTH_MAX).contains(&self.count) {
            return Ok(());
        }
        let count = self.count;
        Err(Error::invalid_argument(format!(
            "duration.value must be a positive integer, got {count}; at most {LENGTH_MAX} is kept"
        )))
    }
}

// Both count in years that begin in March, so that the leap day is a year's last; an era is 400 years. The arithmetic is
// Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
const ERA_DAYS: i64 = 146_097;
/// Days from the first of March of the year 0 to 1970.
const EPOCH_DAYS: i64 = 719_468;

/// The month that a day since 1970 is in, in months since January 1970.
fn month_of_day(day: i64) -> i64 {
    let day = day + EPOCH_DAYS;
    let (era, of_era) = (day.div_euclid(ERA_DAYS), day.rem_euclid(ERA_DAYS));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (ERA_DAYS - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    (era * 400 + year - 1970) * 12 + month + 2
}

/// The day since 1970 with which a month since January 1970 begins.
fn first_day_of_month(month: i64) -> i64 {
    let march = month - 2;
    let (year, month) = (march.div_euclid(12) + 1970, march.rem_euclid(12));
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5;
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_those_of_the_calendar() {
        let check = |unit, count, at: &str, begin: &str, end: &str| {
            let time = |text: &str| text.parse::<Timestamp>().unwrap();
            let found = BudgetSpan { unit, count }.around(time(at));
            assert_eq!(found, (time(begin), time(end)), "{count} {unit:?} around {at}");
        };
        use BudgetLength::{Days, Hours, Minutes, Months, Weeks};
        let at = "2026-11-27T18:25:59Z";
        check(Minutes, 5, at, "2026-11-27T18:25:00Z", "2026-11-27T18:30:00Z");
        check(Hours, 4, at, "2026-11-27T16:00:00Z", "2026-11-27T20:00:00Z");
        check(Days, 1, at, "2026-11-27T00:00:00Z", "2026-11-28T00:00:00Z");
        check(Weeks, 1, at, "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z");
        check(Months, 1, "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z");
        check(Months, 12, at, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        check(Months, 1, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-02-01T00:00:00Z");
    }

    proptest! {
        #[test]
        fn every_time_is_in_one_span(
            at in -4_000_000_000_000_000_i64..40_000_000_000_000_000,
            count in 1_u32..1_000,
            unit in 0..5_usize,
        ) {
            let span = BudgetSpan { unit: BudgetLength::NAMES[unit].1, count };
            let at = Timestamp::from_micros(at);
            let (begin, end) = span.around(at);
            prop_assert!(begin <= at && at < end);
            prop_assert_eq!(span.around(begin), (begin, end));
            prop_assert_eq!(span.around(end).0, end);
        }
    }

    #[test]
    fn lengths_are_bounded() {
        for count in [0, LENGTH_MAX + 1] {
            assert!(BudgetSpan { unit: BudgetLength::Weeks, count }.check().is_err());
        }
        let longest = BudgetSpan { unit: BudgetLength::Months, count: LENGTH_MAX };
        longest.check().unwrap();
        let (begin, end) = longest.around(Timestamp::from_millis(-1));
        assert!(begin < Timestamp::from_millis(-1) && Timestamp::from_millis(-1) < end);
    }
}
