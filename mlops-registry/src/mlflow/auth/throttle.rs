//! How often somebody may guess.
//!
//! Invariant: after the allowed number of wrong passwords for a name, or from an address, no password is tried for it
//! until the window has passed; the memory this takes is bounded.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use mlops_core::{Error, Result, Timestamp};

use super::AuthSettings;

/// Most names and addresses with wrong passwords that are remembered.
const WATCHED_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Throttle {
    failures_max: u32,
    window_micros: i64,
    watched: Mutex<HashMap<String, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    since: Timestamp,
}

impl Throttle {
    pub(super) fn new(settings: &AuthSettings) -> Self {
        let window_micros = i64::try_from(settings.failures_seconds).unwrap_or(i64::MAX / 2_000_000) * 1_000_000;
        Self { failures_max: settings.failures_max, window_micros, watched: Mutex::default() }
    }

    fn over(&self, failures: &Failures, now: Timestamp) -> bool {
        now.as_micros().saturating_sub(failures.since.as_micros()) >= self.window_micros
    }

    /// Refuses when one of the keys had too many failures.
    pub(super) fn check(&self, keys: &[String], now: Timestamp) -> Result<()> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        let spent = |key: &String| {
            watched.get(key).is_some_and(|failures| failures.count >= self.failures_max && !self.over(failures, now))
        };
        if keys.iter().any(spent) {
            return Err(Error::resource_exhausted("too many wrong passwords; wait some minutes, then try again"));
        }
        Ok(())
    }

    pub(super) fn failed(&self, keys: &[String], now: Timestamp) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            if watched.len() >= WATCHED_MAX && !watched.contains_key(key) {
                watched.retain(|_, failures| !self.over(failures, now));
            }
            if watched.len() >= WATCHED_MAX && !watched.contains_key(key) {
                // Under such an attack the oldest half is forgotten rather than the memory grown.
                let mut times: Vec<Timestamp> = watched.values().map(|failures| failures.since).collect();
                times.sort_unstable();
                let middle = times.get(times.len() / 2).copied().unwrap_or(now);
                watched.retain(|_, failures| failures.since > middle);
            }
            let failures = watched.entry(key.clone()).or_insert(Failures { count: 0, since: now });
            if self.over(failures, now) {
                *failures = Failures { count: 0, since: now };
            }
            failures.count = failures.count.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_ends_after_the_bound_and_begins_anew_after_the_window() {
        let settings = AuthSettings { failures_max: 3, failures_seconds: 10, ..AuthSettings::default() };
        let throttle = Throttle::new(&settings);
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let (ann, here) = (["user ann".to_owned()], ["user bob".to_owned(), "address here".to_owned()]);
        for second in 0..3 {
            throttle.check(&ann, at(second)).unwrap();
            throttle.failed(&[ann[0].clone(), here[1].clone()], at(second));
        }
        assert!(throttle.check(&ann, at(4)).is_err());
        assert!(throttle.check(&here, at(4)).is_err(), "the address is refused for every user");
        throttle.check(&here[..1], at(4)).unwrap();
        throttle.check(&ann, at(10)).unwrap();
        throttle.failed(&ann, at(10));
        throttle.check(&ann, at(11)).unwrap();
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::new(&AuthSettings::default());
        for n in 0..25_000_i64 {
            throttle.failed(&[format!("user {n}")], Timestamp::from_micros(n));
        }
        assert!(throttle.watched.lock().unwrap().len() <= WATCHED_MAX);
    }
}
