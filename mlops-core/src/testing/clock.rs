//! A clock that moves only when told.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use crate::clock::{Clock, Timestamp};

/// A clock for tests and replays.
///
/// ```
/// use std::time::Duration;
/// use mlops_core::{Clock, testing::ManualClock};
///
/// let clock = ManualClock::at("2024-01-01".parse()?);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), "2024-01-01T00:01:00Z".parse()?);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    /// How far it has gone forward in all.
    monotonic: AtomicI64,
}

impl ManualClock {
    /// Stands at `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now: AtomicI64::new(now.as_micros()), monotonic: AtomicI64::new(0) }
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        self.set(self.now() + by);
    }

    /// Jumps, in either direction; monotonic time stands still while it jumps back.
    pub fn set(&self, to: Timestamp) {
        let before = self.now.swap(to.as_micros(), Ordering::SeqCst);
        self.monotonic.fetch_add(to.as_micros().saturating_sub(before).max(0), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.now.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Timestamp::from_micros(self.monotonic.load(Ordering::SeqCst)).duration_since(Timestamp::default())
    }
}
