//! How often somebody may guess.
//!
//! Invariant: after the allowed number of wrong passwords for a name, or from an address, no password is tried for it
//! until the window has passed, and no more are tried at the same time than may still be wrong; the memory this takes is
//! bounded. Time is that of the monotonic clock: one that is set back locks nobody out.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mlops_core::{Error, Result};
use tokio::sync::{Notify, futures::Notified};

use super::AuthSettings;

/// Most names and addresses with wrong passwords that are remembered.
const WATCHED_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Throttle {
    failures_max: u32,
    window: Duration,
    watched: Mutex<HashMap<String, Tries>>,
    ended: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    failed: u32,
    /// When the first of the failed ones was made.
    since: Duration,
    /// Those whose outcome is not known yet.
    open: u32,
}

/// A password that is being tried. Unless it is said to have failed, it counts no longer than it lives.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    throttle: &'a Throttle,
    keys: Vec<String>,
    at: Duration,
    failed: bool,
}

impl Attempt<'_> {
    pub(super) fn fail(mut self) {
        self.failed = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.throttle.end(&self.keys, self.failed.then_some(self.at));
    }
}

impl Throttle {
    pub(super) fn new(settings: &AuthSettings) -> Self {
        let (watched, ended) = (Mutex::default(), Notify::new());
        let window = Duration::from_secs(settings.failures_seconds);
        Self { failures_max: settings.failures_max, window, watched, ended }
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<String, Tries>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over(&self, tries: &Tries, now: Duration) -> bool {
        now.saturating_sub(tries.since) >= self.window
    }

    /// Begins to try a password; none while as many are being tried as may still fail, until [`Throttle::ended`].
    /// Refuses when one of the keys had too many failures.
    pub(super) fn begin(&self, keys: &[String], now: Duration) -> Result<Option<Attempt<'_>>> {
        let mut watched = self.watched();
        let left = |key: &String| {
            let Some(tries) = watched.get(key) else { return (self.failures_max, 0) };
            let failed = if self.over(tries, now) { 0 } else { tries.failed };
            (self.failures_max.saturating_sub(failed), tries.open)
        };
        if keys.iter().any(|key| left(key).0 == 0) {
            return Err(Error::resource_exhausted("too many wrong passwords; wait some minutes, then try again"));
        }
        if keys.iter().map(left).any(|(left, open)| open >= left) {
            return Ok(None);
        }
        for key in keys {
            if !watched.contains_key(key) {
                self.make_room(&mut watched, now);
            }
            watched.entry(key.clone()).or_insert(Tries { failed: 0, since: now, open: 0 }).open += 1;
        }
        Ok(Some(Attempt { throttle: self, keys: keys.to_vec(), at: now, failed: false }))
    }

    /// When the next password that is being tried has been, counted from this call.
    pub(super) fn ended(&self) -> Notified<'_> {
        self.ended.notified()
    }

    fn end(&self, keys: &[String], failed_at: Option<Duration>) {
        let mut watched = self.watched();
        for key in keys {
            let Some(tries) = watched.get_mut(key) else { continue };
            tries.open = tries.open.saturating_sub(1);
            if let Some(at) = failed_at {
                if tries.failed == 0 || self.over(tries, at) {
                    (tries.failed, tries.since) = (0, at);
                }
                tries.failed = tries.failed.saturating_add(1);
            }
            if (tries.failed, tries.open) == (0, 0) {
                watched.remove(key);
            }
        }
        drop(watched);
        self.ended.notify_waiters();
    }

    /// Forgets what no longer counts when there is no place for one more; open ones are as many as there are requests.
    fn make_room(&self, watched: &mut HashMap<String, Tries>, now: Duration) {
        if watched.len() >= WATCHED_MAX {
            watched.retain(|_, tries| tries.open > 0 || !self.over(tries, now));
        }
        if watched.len() >= WATCHED_MAX {
            // Under such an attack the oldest half is forgotten rather than the memory grown.
            let mut times: Vec<Duration> = watched.values().map(|tries| tries.since).collect();
            times.sort_unstable();
            let middle = times.get(times.len() / 2).copied().unwrap_or(now);
            watched.retain(|_, tries| tries.open > 0 || tries.since > middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle() -> Throttle {
        Throttle::new(&AuthSettings { failures_max: 3, failures_seconds: 10, ..AuthSettings::default() })
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fail(throttle: &Throttle, keys: &[String], now: Duration) {
        throttle.begin(keys, now).unwrap().expect("no other is open").fail();
    }

    #[test]
    fn guessing_ends_after_the_bound_and_begins_anew_after_the_window() {
        let throttle = throttle();
        let (ann, here) = (["user ann".to_owned()], ["user bob".to_owned(), "address here".to_owned()]);
        for second in 0..3 {
            fail(&throttle, &[ann[0].clone(), here[1].clone()], at(second));
        }
        assert!(throttle.begin(&ann, at(4)).is_err());
        assert!(throttle.begin(&here, at(4)).is_err(), "the address is refused for every user");
        drop(throttle.begin(&here[..1], at(4)).unwrap().expect("is free"));
        fail(&throttle, &ann, at(10));
        drop(throttle.begin(&ann, at(11)).unwrap().expect("is free"));
    }

    #[test]
    fn as_many_are_open_as_may_still_fail() {
        let throttle = throttle();
        let ann = ["user ann".to_owned()];
        fail(&throttle, &ann, at(0));
        let open: Vec<Attempt<'_>> = (0..2).map(|_| throttle.begin(&ann, at(1)).unwrap().unwrap()).collect();
        assert!(throttle.begin(&ann, at(1)).unwrap().is_none());
        drop(open);
        let mut open: Vec<Attempt<'_>> = (0..2).map(|_| throttle.begin(&ann, at(1)).unwrap().unwrap()).collect();
        open.pop().unwrap().fail();
        assert!(throttle.begin(&ann, at(1)).unwrap().is_none(), "one has failed, and one may yet");
        open.pop().unwrap().fail();
        assert!(throttle.begin(&ann, at(1)).is_err());
    }

    #[test]
    fn what_was_right_leaves_nothing() {
        let throttle = throttle();
        drop(throttle.begin(&["user ann".to_owned()], at(0)).unwrap());
        assert!(throttle.watched().is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let throttle = Throttle::new(&AuthSettings::default());
        for n in 0..25_000 {
            fail(&throttle, &[format!("user {n}")], Duration::from_micros(n));
        }
        assert!(throttle.watched().len() <= WATCHED_MAX);
    }
}
