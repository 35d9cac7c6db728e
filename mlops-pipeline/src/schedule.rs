//! When a DAG is due: a cron expression and what to do about missed times.
//!
//! Invariant: which times are due depends on the expression, the cursor and the given time alone.
//! The zone is a fixed offset, so no time is skipped or doubled by daylight saving.

use chrono::{DateTime, FixedOffset, TimeZone as _};
use croner::Cron;
use mlops_core::{Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

/// What becomes of times that passed while nobody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Each is fired, in order: for runs that process an interval of their own.
    All,
    /// Only the latest is fired: for runs that look at everything anyway.
    #[default]
    Latest,
    /// None is fired but one that is due now, within [`ScheduleSettings::grace_ms`].
    None,
}

/// A schedule as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduleSettings {
    /// Cron expression of five fields (minute, hour, day of month, month, day of week), or six with
    /// seconds first. Default `0 0 * * *`, daily at midnight.
    pub cron: String,
    /// Zone of the expression, in minutes east of UTC. Default 0.
    pub utc_offset_minutes: i32,
    /// What becomes of missed times. Default `latest`.
    pub catch_up: CatchUp,
    /// How late a time may be looked at and still be fired under `none`, in milliseconds. Default
    /// 60,000.
    pub grace_ms: u64,
    /// Most times that one look at the schedule gives under `all`; the next look goes on after
    /// them. Default 100.
    pub catch_up_max: usize,
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        Self {
            cron: "0 0 * * *".to_owned(),
            utc_offset_minutes: 0,
            catch_up: CatchUp::default(),
            grace_ms: 60_000,
            catch_up_max: 100,
        }
    }
}

/// A checked schedule.
///
/// ```
/// use mlops_pipeline::{CatchUp, Schedule, ScheduleSettings};
///
/// let settings = ScheduleSettings { cron: "30 6 * * MON".into(), catch_up: CatchUp::All, ..Default::default() };
/// let schedule = Schedule::new(settings)?;
/// let due = schedule.due("2024-01-01T06:30:00Z".parse()?, "2024-01-15T12:00:00Z".parse()?)?;
/// assert_eq!(due.times, ["2024-01-08T06:30:00Z".parse()?, "2024-01-15T06:30:00Z".parse()?]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Schedule {
    settings: ScheduleSettings,
    cron: Cron,
    zone: FixedOffset,
}

/// What one look at a schedule gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The times to fire, ascending.
    pub times: Vec<Timestamp>,
    /// Where the next look begins.
    pub until: Timestamp,
}

impl Schedule {
    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidArgument` for an expression that cannot be read, an offset of a day or more, or a
    /// `catch_up_max` of 0.
    pub fn new(settings: ScheduleSettings) -> Result<Self> {
        let cron = settings.cron.parse::<Cron>().map_err(|error| {
            Error::invalid_argument(format!(
                "cron expression {:?} cannot be read: {error}; write five fields such as \"0 6 * * MON\"",
                settings.cron
            ))
        })?;
        let seconds = settings.utc_offset_minutes.checked_mul(60);
        let zone = seconds.and_then(FixedOffset::east_opt).ok_or_else(|| {
            Error::invalid_argument(format!(
                "schedule offset is {} minutes; it must be less than a day",
                settings.utc_offset_minutes
            ))
        })?;
        if settings.catch_up_max == 0 {
            return Err(Error::invalid_argument("schedule has catch_up_max 0; at least 1 is needed"));
        }
        Ok(Self { settings, cron, zone })
    }

    /// A schedule in UTC with the defaults.
    ///
    /// # Errors
    /// As [`Schedule::new`].
    pub fn cron(expression: &str) -> Result<Self> {
        Self::new(ScheduleSettings { cron: expression.to_owned(), ..ScheduleSettings::default() })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &ScheduleSettings {
        &self.settings
    }

    /// The times after `last` and not after `now` that are to be fired, by the catch-up policy.
    ///
    /// # Errors
    /// `InvalidArgument` when a time is outside the calendar (beyond the year 5000).
    pub fn due(&self, last: Timestamp, now: Timestamp) -> Result<Due> {
        if now <= last {
            return Ok(Due { times: Vec::new(), until: last });
        }
        match self.settings.catch_up {
            CatchUp::All => self.all(last, now),
            CatchUp::Latest => Ok(Due { times: self.latest(last, now)?.into_iter().collect(), until: now }),
            CatchUp::None => {
                let grace = std::time::Duration::from_millis(self.settings.grace_ms);
                let fresh = self.latest(last, now)?.filter(|&time| now.duration_since(time) <= grace);
                Ok(Due { times: fresh.into_iter().collect(), until: now })
            }
        }
    }

    /// The first time after `after`, or none when the expression never matches again.
    ///
    /// # Errors
    /// As [`Schedule::due`].
    pub fn next(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        let start = self.whole_second(after)?;
        match self.cron.find_next_occurrence(&start, false) {
            Ok(time) => Ok(Some(Timestamp::from_micros(time.timestamp_micros()))),
            Err(croner::errors::CronError::TimeSearchLimitExceeded) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn all(&self, last: Timestamp, now: Timestamp) -> Result<Due> {
        let (mut times, mut at) = (Vec::new(), last);
        while let Some(time) = self.next(at)?.filter(|&time| time <= now) {
            times.push(time);
            at = time;
            if times.len() == self.settings.catch_up_max {
                return Ok(Due { times, until: at });
            }
        }
        Ok(Due { times, until: now })
    }

    fn latest(&self, last: Timestamp, now: Timestamp) -> Result<Option<Timestamp>> {
        match self.cron.find_previous_occurrence(&self.whole_second(now)?, true) {
            Ok(time) => Ok(Some(Timestamp::from_micros(time.timestamp_micros())).filter(|&time| time > last)),
            Err(croner::errors::CronError::TimeSearchLimitExceeded) => Ok(None),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Cron knows whole seconds; the second that `time` is in begins not after it.
    fn whole_second(&self, time: Timestamp) -> Result<DateTime<FixedOffset>> {
        let seconds = time.as_micros().div_euclid(1_000_000);
        self.zone
            .timestamp_opt(seconds, 0)
            .single()
            .ok_or_else(|| Error::invalid_argument(format!("time {time} is outside the calendar")))
    }

    fn failed(&self, error: &croner::errors::CronError) -> Error {
        Error::invalid_argument(format!("cron expression {:?} cannot be evaluated: {error}", self.settings.cron))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn check(cron: &str, catch_up: CatchUp, last: &str, now: &str, expected: &[&str]) {
        let settings = ScheduleSettings { cron: cron.into(), catch_up, ..ScheduleSettings::default() };
        let due = Schedule::new(settings).unwrap().due(at(last), at(now)).unwrap();
        assert_eq!(due.times, expected.iter().map(|text| at(text)).collect::<Vec<_>>(), "{cron} {last} {now}");
    }

    #[test]
    fn the_interval_is_open_at_its_beginning_and_closed_at_its_end() {
        let hours = ["2024-01-01 01:00", "2024-01-01 02:00"];
        check("0 * * * *", CatchUp::All, "2024-01-01 00:00", "2024-01-01 02:00", &hours);
        check("0 * * * *", CatchUp::All, "2024-01-01 00:59:59.999999", "2024-01-01 02:00", &hours);
        check("0 * * * *", CatchUp::All, "2024-01-01 00:00", "2024-01-01 01:59:59.999999", &hours[..1]);
        check("0 * * * *", CatchUp::Latest, "2024-01-01 00:00", "2024-01-01 02:00:00.5", &hours[1..]);
        check("0 * * * *", CatchUp::Latest, "2024-01-01 02:00", "2024-01-01 02:30", &[]);
        check("0 * * * *", CatchUp::None, "2024-01-01 00:00", "2024-01-01 02:01:00", &hours[1..]);
        check("0 * * * *", CatchUp::None, "2024-01-01 00:00", "2024-01-01 02:01:01", &[]);
        check("0 * * * *", CatchUp::All, "2024-01-01 02:00", "2024-01-01 01:00", &[]);
        check("0 0 29 2 *", CatchUp::All, "2023-01-01", "2028-12-31", &["2024-02-29", "2028-02-29"]);
    }

    #[test]
    fn a_zone_shifts_the_times() {
        let settings = ScheduleSettings { cron: "0 6 * * *".into(), utc_offset_minutes: 330, ..Default::default() };
        let schedule = Schedule::new(settings).unwrap();
        assert_eq!(schedule.next(at("2024-01-01")).unwrap(), Some(at("2024-01-01 00:30")));
    }

    #[test]
    fn faults_are_named() {
        assert!(Schedule::cron("every day").unwrap_err().message().contains("\"every day\""));
        let far = ScheduleSettings { utc_offset_minutes: i32::MAX, ..Default::default() };
        assert!(Schedule::new(far).unwrap_err().message().contains("less than a day"));
        assert!(Schedule::cron("* * * * *").unwrap().next(Timestamp::MAX).is_err());
    }

    proptest! {
        /// However often one looks, `all` gives each time once; an independent count says how many.
        #[test]
        fn looking_more_often_changes_nothing(
            looks in prop::collection::vec(1_i64..20_000, 1..20),
            minutes in prop::sample::select(vec![1_i64, 5, 15, 30]),
        ) {
            let settings = ScheduleSettings {
                cron: format!("*/{minutes} * * * *"),
                catch_up: CatchUp::All,
                catch_up_max: 7,
                ..Default::default()
            };
            let schedule = Schedule::new(settings).unwrap();
            let (mut cursor, mut now, mut times) = (Timestamp::default(), 0, Vec::new());
            for seconds in looks {
                now += seconds;
                loop {
                    let due = schedule.due(cursor, Timestamp::from_millis(now * 1_000)).unwrap();
                    cursor = due.until;
                    if due.times.is_empty() { break }
                    times.extend(due.times);
                }
            }
            let expected: Vec<_> =
                (1..=now / 60 / minutes).map(|i| Timestamp::from_millis(i * minutes * 60_000)).collect();
            prop_assert_eq!(times, expected);
        }
    }
}
