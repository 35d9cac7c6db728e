//! Quantiles of durations with a relative error, mergeable without loss.
//!
//! Invariant: the count of a bin is the number of durations of (gamma^(k-1), gamma^k] nanoseconds, whatever the order in
//! which they came and sketches were merged.

use std::time::Duration;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::stats::{count_of, float};

/// Smallest relative error; it needs 22 182 bins.
const RELATIVE_ERROR_MIN: f64 = 1e-3;
/// Largest relative error.
const RELATIVE_ERROR_MAX: f64 = 0.5;

/// A DDSketch of durations. At the default error it holds at most 2219 bins (17 KiB), far fewer in use.
///
/// Durations above 2^64 nanoseconds (584 years) count as that.
///
/// ```
/// use std::time::Duration;
///
/// use mlops_monitor::latency::LatencySketch;
///
/// let mut sketch = LatencySketch::new(0.01)?;
/// (1..=1_000).for_each(|i| sketch.observe(Duration::from_micros(i)));
/// let median = sketch.quantile(0.5).expect("it is not empty").as_secs_f64();
/// assert!((median / 500e-6 - 1.0).abs() <= 0.01);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct LatencySketch {
    relative_error: f64,
    ln_gamma: f64,
    zeros: u64,
    // By k, from 0 on.
    bins: Vec<u64>,
    sum: Duration,
    min: Duration,
    max: Duration,
}

/// The bins that are not empty, with their k.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    relative_error: f64,
    zeros: u64,
    bins: Vec<(usize, u64)>,
    sum: Duration,
    min: Duration,
    max: Duration,
}

impl LatencySketch {
    /// An empty sketch of this relative error, 0.001 to 0.5.
    ///
    /// # Errors
    /// `InvalidArgument` when the error is out of range.
    pub fn new(relative_error: f64) -> Result<Self> {
        if !(RELATIVE_ERROR_MIN..=RELATIVE_ERROR_MAX).contains(&relative_error) {
            return Err(Error::invalid_argument(format!(
                "latency sketch: relative_error must be {RELATIVE_ERROR_MIN} to {RELATIVE_ERROR_MAX}, found {relative_error}"
            )));
        }
        Ok(Self {
            relative_error,
            ln_gamma: ((1.0 + relative_error) / (1.0 - relative_error)).ln(),
            zeros: 0,
            bins: Vec::new(),
            sum: Duration::ZERO,
            min: Duration::MAX,
            max: Duration::ZERO,
        })
    }

    /// Counts a duration.
    pub fn observe(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if nanoseconds == 0 {
            self.zeros = self.zeros.saturating_add(1);
        } else {
            self.add(self.bin_of(nanoseconds), 1);
        }
        self.sum = self.sum.saturating_add(duration);
        self.min = self.min.min(duration);
        self.max = self.max.max(duration);
    }

    /// Adds what another sketch has counted.
    ///
    /// # Errors
    /// `InvalidArgument` when the relative errors differ.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.relative_error != other.relative_error {
            return Err(Error::invalid_argument(format!(
                "latency sketches of relative error {} and {} cannot be merged",
                self.relative_error, other.relative_error
            )));
        }
        self.zeros = self.zeros.saturating_add(other.zeros);
        other.bins.iter().enumerate().filter(|(_, count)| **count > 0).for_each(|(bin, count)| self.add(bin, *count));
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        Ok(())
    }

    /// The duration of rank floor(q (n - 1)), within the relative error; `None` when the sketch is empty or q is not 0
    /// to 1. The smallest and the largest are exact.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let last = self.count().checked_sub(1)?;
        if !(0.0..=1.0).contains(&q) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= q n <= n")]
        let rank = ((q * float(last)) as u64).min(last);
        if rank == 0 {
            return Some(self.min);
        }
        if rank == last {
            return Some(self.max);
        }
        let mut upto = self.zeros;
        if rank < upto {
            return Some(Duration::ZERO);
        }
        let bin = self.bins.iter().position(|count| {
            upto = upto.saturating_add(*count);
            rank < upto
        });
        Some(self.middle(bin?).clamp(self.min, self.max))
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.bins.iter().fold(self.zeros, |sum, count| sum.saturating_add(*count))
    }

    /// Their sum, exact.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// The smallest, exact; `None` when the sketch is empty.
    #[must_use]
    pub fn min(&self) -> Option<Duration> {
        (self.count() > 0).then_some(self.min)
    }

    /// The largest, exact; `None` when the sketch is empty.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        (self.count() > 0).then_some(self.max)
    }

    /// The bound of the relative error of quantiles.
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        self.relative_error
    }

    fn add(&mut self, bin: usize, count: u64) {
        if bin >= self.bins.len() {
            self.bins.resize(bin + 1, 0);
        }
        if let Some(slot) = self.bins.get_mut(bin) {
            *slot = slot.saturating_add(count);
        }
    }

    /// The k of the bin, ceil(log_gamma x).
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to bins_max")]
    fn bin_of(&self, nanoseconds: u64) -> usize {
        (float(nanoseconds).ln() / self.ln_gamma).ceil() as usize
    }

    /// The point of a bin that is within the relative error of all of it: 2 gamma^k / (gamma + 1).
    fn middle(&self, bin: usize) -> Duration {
        let upper = (float(count_of(bin)) * self.ln_gamma).exp();
        Duration::try_from_secs_f64(2.0 * upper / (self.ln_gamma.exp() + 1.0) * 1e-9).unwrap_or(Duration::MAX)
    }
}

impl TryFrom<Stored> for LatencySketch {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let mut sketch = Self::new(stored.relative_error)?;
        let bins_max = sketch.bin_of(u64::MAX);
        if let Some((bin, _)) = stored.bins.iter().find(|(bin, _)| *bin > bins_max) {
            return Err(Error::invalid_argument(format!("latency sketch: bin {bin} is beyond the last, {bins_max}")));
        }
        stored.bins.iter().for_each(|(bin, count)| sketch.add(*bin, *count));
        sketch.zeros = stored.zeros;
        let ordered = if sketch.count() == 0 {
            (stored.min, stored.max, stored.sum) == (Duration::MAX, Duration::ZERO, Duration::ZERO)
        } else {
            stored.min <= stored.max && stored.max <= stored.sum
        };
        if !ordered {
            return Err(Error::invalid_argument("latency sketch: smallest, largest and sum contradict each other"));
        }
        (sketch.sum, sketch.min, sketch.max) = (stored.sum, stored.min, stored.max);
        Ok(sketch)
    }
}

impl From<LatencySketch> for Stored {
    fn from(sketch: LatencySketch) -> Self {
        let LatencySketch { relative_error, zeros, bins, sum, min, max, .. } = sketch;
        let bins = bins.into_iter().enumerate().filter(|(_, count)| *count > 0).collect();
        Self { relative_error, zeros, bins, sum, min, max }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(nanoseconds: &[u64]) -> LatencySketch {
        let mut sketch = LatencySketch::new(0.01).unwrap();
        nanoseconds.iter().for_each(|value| sketch.observe(Duration::from_nanos(*value)));
        sketch
    }

    /// From nothing to the largest, evenly on the scale of logarithms.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(
            (any::<u64>(), 0_u32..65).prop_map(|(value, shift)| value.checked_shr(shift).unwrap_or(0)),
            1..200,
        )
    }

    #[test]
    fn what_is_damaged_is_refused() {
        assert!(LatencySketch::new(f64::NAN).is_err());
        let text = serde_json::to_string(&sketch(&[1, 1_000])).unwrap();
        assert!(serde_json::from_str::<LatencySketch>(&text).is_ok());
        for (from, to) in [("0.01", "0.0"), ("[346,1]", "[4000000000,1]"), (r#""zeros":0"#, r#""zeros":-1"#)] {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(damaged, text, "{text}");
            assert!(serde_json::from_str::<LatencySketch>(&damaged).is_err(), "{damaged}");
        }
        let empty = LatencySketch::new(0.01).unwrap();
        assert_eq!((empty.quantile(0.5), empty.min(), empty.max()), (None, None, None));
        let text = serde_json::to_string(&empty).unwrap();
        assert_eq!(serde_json::from_str::<LatencySketch>(&text).unwrap(), empty);
    }

    #[test]
    fn memory_is_bounded_by_the_range_of_durations() {
        let mut finest = LatencySketch::new(RELATIVE_ERROR_MIN).unwrap();
        finest.observe(Duration::MAX);
        assert!(finest.bins.len() <= 22_182, "{}", finest.bins.len());
        assert!(sketch(&[u64::MAX]).bins.len() <= 2_219);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_relative_error(mut values in durations(), q in 0.0..=1.0_f64) {
            let found = sketch(&values).quantile(q).unwrap().as_nanos() as f64;
            values.sort_unstable();
            let exact = values[(q * (values.len() - 1) as f64) as usize] as f64;
            // A nanosecond is the unit of the answer.
            prop_assert!((found - exact).abs() <= 0.010_000_1 * exact + 1.0, "{found} {exact}");
        }

        #[test]
        fn merging_is_the_same_as_seeing_everything(left in durations(), right in durations()) {
            let (mut a, mut b) = (sketch(&left), sketch(&right));
            let (first, second) = (a.clone(), b.clone());
            a.merge(&second).unwrap();
            b.merge(&first).unwrap();
            let all = sketch(&[left, right].concat());
            prop_assert_eq!(&a, &all);
            prop_assert_eq!(&b, &all);
            let text = serde_json::to_string(&all).unwrap();
            prop_assert_eq!(serde_json::from_str::<LatencySketch>(&text).unwrap(), all);
        }
    }
}
