//! Has as much data come as usual?

use mlops_core::{Result, Timestamp};

use super::{
    series::MetricHistory,
    strategy::{AnomalyDetector, Strategy},
    verdict::{AnomalyVerdict, Expected},
};
use crate::stats::float;

/// Checks the rows of a window.
///
/// ```
/// use mlops_core::Timestamp;
/// use mlops_monitor::history::{MetricHistory, Strategy, Volume};
///
/// let mut rows = MetricHistory::new(100);
/// for hour in 0..24 {
///     let _ = rows.record(Timestamp::from_millis(hour * 3_600_000), 1_000.0 + (hour % 5) as f64);
/// }
/// let volume = Volume::new(Strategy::batch_normal())?;
/// let now = Timestamp::from_millis(24 * 3_600_000);
/// assert!(volume.check(0, now, &rows).is_anomaly());
/// assert!(!volume.check(1_003, now, &rows).is_anomaly());
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    detector: AnomalyDetector,
}

impl Volume {
    /// A check by this strategy.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting is out of range.
    pub fn new(strategy: Strategy) -> Result<Self> {
        AnomalyDetector::new(strategy).map(|detector| Self { detector })
    }

    /// Judges the rows of the window that ended at `time` by those of earlier windows of the same length. A range that
    /// reaches below zero says so as zero.
    #[must_use]
    pub fn check(&self, rows: u64, time: Timestamp, history: &MetricHistory) -> AnomalyVerdict {
        let at_least_zero =
            |expected: Expected| Expected { lower: expected.lower.map(|lower| lower.max(0.0)), ..expected };
        match self.detector.check(history, time, float(rows)) {
            AnomalyVerdict::Ok { expected } => AnomalyVerdict::Ok { expected: at_least_zero(expected) },
            AnomalyVerdict::Anomaly { value, expected } => {
                AnomalyVerdict::Anomaly { value, expected: at_least_zero(expected) }
            }
            other => other,
        }
    }
}
