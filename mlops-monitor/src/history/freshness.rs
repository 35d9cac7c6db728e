//! Has new data come?

use std::time::Duration;

use mlops_core::{Result, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    series::MetricHistory,
    strategy::{AnomalyDetector, Strategy},
    verdict::{AnomalyVerdict, Expected, PointFault},
};

/// How old the newest event may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreshnessBound {
    /// So old at most.
    AgeMax(Duration),
    /// No older than its history leads to expect; younger is never odd.
    History(Strategy),
}

/// Checks the age of the newest event, in seconds.
///
/// ```
/// use std::time::Duration;
///
/// use mlops_core::Timestamp;
/// use mlops_monitor::history::{Freshness, FreshnessBound, MetricHistory};
///
/// let freshness = Freshness::new(FreshnessBound::AgeMax(Duration::from_secs(3_600)))?;
/// let (now, ages) = ("2026-01-31T12:00:00Z".parse::<Timestamp>()?, MetricHistory::new(100));
/// let verdict = freshness.check(Some("2026-01-31T10:00:00Z".parse()?), now, &ages);
/// assert_eq!(verdict.describe("age of orders in seconds"), "age of orders in seconds is 7200; expected at most 3600");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Freshness {
    bound: Bound,
    clock_skew_max: Duration,
}

#[derive(Debug, Clone, PartialEq)]
enum Bound {
    AgeMax(Duration),
    History(AnomalyDetector),
}

impl Freshness {
    /// A check against this bound; events up to a minute in the future are taken as of now.
    ///
    /// # Errors
    /// `InvalidArgument` when a setting of the strategy is out of range.
    pub fn new(bound: FreshnessBound) -> Result<Self> {
        let bound = match bound {
            FreshnessBound::AgeMax(age) => Bound::AgeMax(age),
            FreshnessBound::History(strategy) => Bound::History(AnomalyDetector::new(strategy)?),
        };
        Ok(Self { bound, clock_skew_max: Duration::from_secs(60) })
    }

    /// How far clocks may differ.
    #[must_use]
    pub fn with_clock_skew_max(mut self, skew: Duration) -> Self {
        self.clock_skew_max = skew;
        self
    }

    /// Judges the age at `now` of the newest event, `None` when there is none at all. `ages` are the ages in seconds at
    /// earlier checks; a bound by [`FreshnessBound::AgeMax`] does not look at them.
    #[must_use]
    pub fn check(&self, newest: Option<Timestamp>, now: Timestamp, ages: &MetricHistory) -> AnomalyVerdict {
        let Some(newest) = newest else {
            return AnomalyVerdict::Insufficient { n: 0, min_n: 1 };
        };
        if newest.duration_since(now) > self.clock_skew_max {
            return AnomalyVerdict::Unusable(PointFault::FromFuture);
        }
        let age = Self::age_seconds(newest, now);
        match &self.bound {
            Bound::AgeMax(bound) => Expected { lower: None, upper: Some(bound.as_secs_f64()) }.judge(age),
            Bound::History(detector) => match detector.check(ages, now, age) {
                AnomalyVerdict::Ok { expected } | AnomalyVerdict::Anomaly { expected, .. } => {
                    Expected { lower: None, ..expected }.judge(age)
                }
                other => other,
            },
        }
    }

    /// The age that is to be recorded; zero for an event in the future.
    #[must_use]
    pub fn age_seconds(newest: Timestamp, now: Timestamp) -> f64 {
        now.duration_since(newest).as_secs_f64()
    }
}
