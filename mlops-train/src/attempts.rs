//! How often, and after how long, a transaction that lost a race is begun again.

use std::time::Duration;

use mlops_core::{Clock, Error, ErrorKind, Result};

use crate::rng::SeededRng;

/// Attempts before a conflict is an error.
const ATTEMPTS_MAX: u32 = 100;
/// Pauses between attempts are at least and at most so long, in microseconds.
const PAUSE_US: (u64, u64) = (1_000, 50_000);

/// Counts the attempts of one transaction.
#[derive(Debug, Default)]
pub(crate) struct Attempts(u32);

impl Attempts {
    /// Returns when the transaction that failed by `error` is to be begun again, after a pause.
    ///
    /// # Errors
    /// `error` itself when it is no lost race or there were too many attempts.
    pub(crate) async fn again(&mut self, error: Error, clock: &dyn Clock) -> Result<()> {
        self.0 += 1;
        if error.kind() != ErrorKind::Conflict || self.0 >= ATTEMPTS_MAX {
            return Err(error);
        }
        tokio::time::sleep(self.pause(clock.monotonic())).await;
        Ok(())
    }

    /// From the least pause to a bound that doubles with every attempt, drawn by the time so that those who collided
    /// part.
    fn pause(&self, now: Duration) -> Duration {
        let (least, most) = PAUSE_US;
        let bound = (least << self.0.min(16)).min(most);
        let share = SeededRng::new(now.as_nanos() as u64, u64::from(self.0)).uniform();
        Duration::from_micros(least + ((bound - least) as f64 * share) as u64)
    }
}

#[cfg(test)]
mod tests {
    use mlops_core::{Timestamp, testing::ManualClock};

    use super::*;

    #[tokio::test]
    async fn conflicts_alone_are_repeated_and_not_for_ever() {
        let clock = ManualClock::at(Timestamp::from_micros(0));
        assert!(Attempts::default().again(Error::internal("broken"), &clock).await.is_err());
        let mut attempts = Attempts(ATTEMPTS_MAX - 10);
        let mut repeated = 0;
        while attempts.again(Error::new(ErrorKind::Conflict, "another was faster"), &clock).await.is_ok() {
            repeated += 1;
        }
        assert_eq!(repeated, 9);
    }

    #[test]
    fn pauses_grow_and_differ() {
        let pause = |attempt, nanos| Attempts(attempt).pause(Duration::from_nanos(nanos));
        for attempt in 1..100 {
            for nanos in 0..20 {
                let bound = Duration::from_millis(50.min(1 << attempt.min(16)));
                assert!((Duration::from_millis(1)..=bound).contains(&pause(attempt, nanos)));
            }
        }
        assert_ne!(pause(3, 1), pause(3, 2));
    }
}
