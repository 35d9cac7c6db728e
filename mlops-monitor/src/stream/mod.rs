//! Detectors that look at a stream value by value, in memory that does not grow with it.
//!
//! | input | detector | finds |
//! |---|---|---|
//! | numbers | [`Adwin`] | a change of the mean at any time scale, with bounded false alarms |
//! | numbers | [`PageHinkley`] | a lasting shift of the mean |
//! | numbers | [`Cusum`] | a small lasting shift from a known level |
//! | numbers | [`Kswin`] | a change of the distribution within a window |
//! | errors | [`Ddm`], [`HddmA`], [`HddmW`], [`Fhddm`] | a rising error rate |
//! | errors | [`Eddm`] | errors that come closer together |
//!
//! Invariant: the state is plain data. A detector that is serialised and read back goes on as if nothing had happened;
//! after an alarm it begins anew with the next value.
//!
//! ```
//! use mlops_monitor::stream::{Adwin, AdwinSettings, Signal, StreamDetector};
//!
//! let mut detector = Adwin::new(AdwinSettings::default())?;
//! let quiet = (0..1_000).map(|i| f64::from(i % 2));
//! let shifted = (0..1_000).map(|i| 1.0 + f64::from(i % 2));
//! let alarm = quiet.chain(shifted).position(|value| detector.update(value) == Signal::Drift);
//! assert!((1_000..1_100).contains(&alarm.expect("the shift is found")));
//! # Ok::<(), mlops_core::Error>(())
//! ```

mod adwin;
mod cusum;
mod ddm;
mod eddm;
mod fhddm;
mod hddm_a;
mod hddm_w;
mod kswin;
mod page_hinkley;
mod running;
#[cfg(test)]
mod tests;

use mlops_core::{Error, Result};

pub use adwin::{Adwin, AdwinSettings};
pub use cusum::{Cusum, CusumLevel, CusumSettings};
pub use ddm::{Ddm, DdmSettings};
pub use eddm::{Eddm, EddmSettings};
pub use fhddm::{Fhddm, FhddmSettings, OneMeans};
pub use hddm_a::{HddmA, HddmASettings};
pub use hddm_w::{HddmW, HddmWSettings};
pub use kswin::{Kswin, KswinSettings};
pub use page_hinkley::{Direction, PageHinkley, PageHinkleySettings, Scale};

/// What a detector says after a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Nothing points to a change.
    Stable,
    /// A change may be under way.
    Warning,
    /// The stream has changed. The detector begins anew with the next value.
    Drift,
    /// The value does not count: it was not finite, or so large (beyond 1e150) that sums of squares would not be.
    Skipped,
}

/// A detector of changes in a stream.
pub trait StreamDetector {
    /// What it looks at: a number, or whether a prediction was wrong.
    type Input: Copy;

    /// Takes the next value.
    fn update(&mut self, value: Self::Input) -> Signal;

    /// Takes values up to and with the first at which the stream has changed; the place of that value among them, `None`
    /// when all were taken without an alarm. Leaves the same state and alarms at the same values as [`Self::update`] on
    /// each, faster; warnings and skipped values are passed over.
    ///
    /// ```
    /// use mlops_monitor::stream::{PageHinkley, PageHinkleySettings, StreamDetector};
    ///
    /// let values: Vec<f64> = (0..3_000).map(|i| if i < 1_000 { 0.0 } else { 1.0 }).collect();
    /// let mut detector = PageHinkley::new(PageHinkleySettings::default())?;
    /// let mut alarms = Vec::new();
    /// let mut taken = 0;
    /// while let Some(at) = values.get(taken..).and_then(|rest| detector.update_until_drift(rest)) {
    ///     alarms.push(taken + at);
    ///     taken += at + 1;
    /// }
    /// assert_eq!(alarms.len(), 1);
    /// # Ok::<(), mlops_core::Error>(())
    /// ```
    fn update_until_drift(&mut self, values: &[Self::Input]) -> Option<usize> {
        values.iter().position(|value| self.update(*value) == Signal::Drift)
    }

    /// Forgets everything but its settings.
    fn reset(&mut self);
}

/// Whether sums of squares of such values stay finite, so that the state can be written down.
pub(crate) fn is_usable(value: f64) -> bool {
    value.abs() <= 1e150
}

/// Refuses a setting outside its range.
fn check(what: &str, value: f64, accepted: bool, range: &str) -> Result<()> {
    if accepted {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{what} is {value}; it must be {range}")))
}

/// Refuses what is no probability strictly between 0 and 1.
fn check_probability(what: &str, value: f64) -> Result<()> {
    check(what, value, value > 0.0 && value < 1.0, "between 0 and 1")
}
