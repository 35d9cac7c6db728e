//! How often a center looks, how long it tries to deliver, and how much it keeps.

use std::time::Duration;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// The knobs of an [`super::AlertCenter`].
///
/// ```
/// use mlops_monitor::alert::CenterSettings;
///
/// let settings: CenterSettings = serde_json::from_str(r#"{"retry": {"attempts_max": 3}}"#)?;
/// assert_eq!((settings.retry.attempts_max, settings.tick_ms), (3, 1000));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CenterSettings {
    /// Time between looks at the router in milliseconds, above 0. Default 1 s.
    pub tick_ms: u64,
    /// Longest time that a sink may take for one notification, in milliseconds, above 0. Default 30 s.
    pub send_timeout_ms: u64,
    /// What to do when a sink does not take a notification.
    pub retry: RetrySettings,
    /// Most notifications that may wait for their sinks; while there are as many, nothing new is
    /// told, and nothing is lost. At least 1. Default 10 000.
    pub pending_max: usize,
    /// Size in bytes beyond which the journal is replaced by a snapshot. Default 4 MiB.
    pub journal_bytes_max: u64,
    /// Size in bytes beyond which the file of dead letters becomes `.old`. Default 64 MiB.
    pub dead_letters_bytes_max: u64,
}

impl Default for CenterSettings {
    fn default() -> Self {
        Self {
            tick_ms: 1_000,
            send_timeout_ms: 30_000,
            retry: RetrySettings::default(),
            pending_max: 10_000,
            journal_bytes_max: 4 << 20,
            dead_letters_bytes_max: 64 << 20,
        }
    }
}

impl CenterSettings {
    /// Checks every value.
    ///
    /// # Errors
    /// `InvalidArgument` naming all that are out of range.
    pub fn validate(&self) -> Result<()> {
        let mut faults = Vec::new();
        let retry = &self.retry;
        let (attempts, pending) = (u64::from(retry.attempts_max), u64::try_from(self.pending_max).unwrap_or(u64::MAX));
        for (name, value) in [
            ("tick_ms", self.tick_ms),
            ("send_timeout_ms", self.send_timeout_ms),
            ("pending_max", pending),
            ("retry.attempts_max", attempts),
            ("retry.backoff_ms", retry.backoff_ms),
        ] {
            if value == 0 {
                faults.push(format!("{name} must be above 0"));
            }
        }
        if retry.backoff_max_ms < retry.backoff_ms {
            let (max, first) = (retry.backoff_max_ms, retry.backoff_ms);
            faults.push(format!("retry.backoff_max_ms must be at least backoff_ms ({first}), found {max}"));
        }
        if !(0.0..=1.0).contains(&retry.jitter) {
            faults.push(format!("retry.jitter must be 0 to 1, found {}", retry.jitter));
        }
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::invalid_argument(format!("alert center settings: {}", faults.join("; "))))
    }
}

/// How a delivery that failed is repeated. Errors that repeating cannot mend
/// ([`mlops_core::Retry::Never`]) are not repeated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Attempts before a notification becomes a dead letter, at least 1. Default 15, spread
    /// over about ten minutes with the other defaults.
    pub attempts_max: u32,
    /// Wait after the first attempt in milliseconds, above 0; doubles with each. Default 500 ms.
    pub backoff_ms: u64,
    /// Longest wait in milliseconds. Default 2 min.
    pub backoff_max_ms: u64,
    /// Share of each wait that is left to chance, 0 to 1, so that many senders do not come back at
    /// once. Default 0.5.
    pub jitter: f64,
    /// Longest wait in milliseconds that a receiver may ask for (`Retry-After`). Default 10 min.
    pub retry_after_max_ms: u64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { attempts_max: 15, backoff_ms: 500, backoff_max_ms: 120_000, jitter: 0.5, retry_after_max_ms: 600_000 }
    }
}

impl RetrySettings {
    /// The wait after attempt number `attempt` (from 1): `backoff * 2^(attempt - 1)`, at most the
    /// longest, of which the share `jitter` is multiplied by `chance` (0 to 1); or what the
    /// receiver asked for, if that is longer.
    #[must_use]
    pub fn wait(&self, attempt: u32, chance: f64, asked_ms: Option<u64>) -> Duration {
        let doubled = 1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX);
        let full = Duration::from_millis(self.backoff_ms.saturating_mul(doubled).min(self.backoff_max_ms));
        let kept = 1.0 - self.jitter.clamp(0.0, 1.0) * (1.0 - chance.clamp(0.0, 1.0));
        let asked = Duration::from_millis(asked_ms.unwrap_or(0).min(self.retry_after_max_ms));
        full.mul_f64(kept).max(asked)
    }
}

/// A number from 0 to 1 that depends on nothing but its arguments: SplitMix64's output function
/// (Steele, Lea, Flood 2014) on their sum.
pub(super) fn chance(seed: u64, id: u64, attempt: u32) -> f64 {
    const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = id.wrapping_mul(0x1_0000).wrapping_add(u64::from(attempt)).wrapping_add(1);
    let mut mixed = seed.wrapping_add(GAMMA.wrapping_mul(step));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    crate::stats::float(mixed >> 11) / crate::stats::float(1 << 53)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_faults_are_named_at_once() {
        let retry = RetrySettings { attempts_max: 0, backoff_max_ms: 1, jitter: f64::NAN, ..RetrySettings::default() };
        let settings = CenterSettings { tick_ms: 0, retry, ..CenterSettings::default() };
        let error = settings.validate().unwrap_err();
        for word in ["tick_ms", "attempts_max", "backoff_max_ms", "jitter"] {
            assert!(error.message().contains(word), "{error}");
        }
        CenterSettings::default().validate().unwrap();
    }

    #[test]
    fn waits_double_up_to_the_cap_and_honor_what_was_asked() {
        let retry = RetrySettings { backoff_ms: 100, backoff_max_ms: 1000, ..RetrySettings::default() };
        let waits = [1, 2, 3, 4, 5, 100].map(|attempt| retry.wait(attempt, 1.0, None).as_millis());
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(retry.wait(1, 0.0, None).as_millis(), 50);
        assert_eq!(retry.wait(1, 0.0, Some(7_000)).as_secs(), 7);
        assert_eq!(retry.wait(1, 0.0, Some(u64::MAX)).as_secs(), 600);
        let all = (1..=RetrySettings::default().attempts_max - 1).map(|n| RetrySettings::default().wait(n, 0.5, None));
        assert_eq!(all.sum::<Duration>().as_secs() / 60, 10);
    }

    #[test]
    fn chance_is_even_and_repeatable() {
        let all: Vec<f64> = (0..1000).flat_map(|id| (1..=4).map(move |attempt| chance(7, id, attempt))).collect();
        let mean = all.iter().sum::<f64>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert!(all.iter().all(|value| (0.0..1.0).contains(value)));
        assert_eq!(chance(7, 3, 2).to_bits(), chance(7, 3, 2).to_bits());
        assert!(chance(7, 3, 2) != chance(8, 3, 2));
    }
}
