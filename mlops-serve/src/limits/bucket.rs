//! A token bucket: so many requests a second in the long run, so many at once after a pause.

use std::time::Duration;

/// Tokens at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(burst: u32, now: Duration) -> Self {
        Self { tokens: f64::from(burst.max(1)), at: now }
    }

    /// Takes a token, or says how long until there is one.
    pub(super) fn take(&mut self, rate: f64, burst: u32, now: Duration) -> Result<(), Duration> {
        let gained = now.saturating_sub(self.at).as_secs_f64() * rate;
        self.tokens = (self.tokens + gained).min(f64::from(burst.max(1)));
        self.at = self.at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::try_from_secs_f64((1.0 - self.tokens) / rate).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut bucket = Bucket::full(2, Duration::ZERO);
        let mut take = |ms: u64| bucket.take(10.0, 2, Duration::from_millis(ms));
        assert_eq!([take(0), take(0)], [Ok(()), Ok(())]);
        assert_eq!(take(50), Err(Duration::from_millis(50)));
        assert_eq!(take(100), Ok(()));
        assert_eq!([take(10_000), take(10_000), take(10_000)], [Ok(()), Ok(()), Err(Duration::from_millis(100))]);
        assert_eq!(take(9_000), Err(Duration::from_millis(100)), "a clock that goes back gives nothing");
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            rate in 0.1_f64..1e3, burst in 1_u32..50, steps in prop::collection::vec(0_u64..200, 1..200),
        ) {
            let (mut bucket, mut now, mut taken) = (Bucket::full(burst, Duration::ZERO), 0, 0_u32);
            for step in steps {
                now += step;
                taken += u32::from(bucket.take(rate, burst, Duration::from_millis(now)).is_ok());
            }
            let most = f64::from(burst) + rate * now as f64 / 1e3;
            prop_assert!(f64::from(taken) <= most + 1e-6, "{taken} of {most}");
        }
    }
}
