//! Is the newest value of a metric what its history leads one to expect?
//!
//! | strategy | expects |
//! |---|---|
//! | [`Strategy::Threshold`] | a fixed range |
//! | [`Strategy::AbsoluteChange`], [`Strategy::RelativeChange`] | a step from the last value, as a difference or a ratio |
//! | [`Strategy::RateOfChange`] | a step in proportion to the time that has passed |
//! | [`Strategy::BatchNormal`] | mean and deviation of the history |
//! | [`Strategy::OnlineNormal`], [`Strategy::Ewma`] | running mean and deviation, without what was odd before |
//! | [`Strategy::HoltWinters`] | level, trend and season |
//!
//! [`Freshness`] and [`Volume`] put them to the two questions that every table is asked: has new data come, and as much
//! of it as usual?
//!
//! Invariant: a value is judged by values before it only, except where Deequ's definition says otherwise and the
//! strategy says so; time never runs backwards in a history, and its length is bounded.
//!
//! ```
//! use mlops_core::Timestamp;
//! use mlops_monitor::history::{AnomalyDetector, AnomalyVerdict, HoltWinters, MetricHistory, Strategy};
//!
//! // Rows per day for five weeks: few at weekends.
//! let rows = |day: i64| if day % 7 < 5 { 1_000.0 } else { 200.0 } + (day % 3) as f64;
//! let day = |day: i64| Timestamp::from_millis(day * 86_400_000);
//! let mut history = MetricHistory::new(100);
//! for i in 0..35 {
//!     let _ = history.record(day(i), rows(i));
//! }
//! let detector = AnomalyDetector::new(Strategy::HoltWinters(HoltWinters { season_length: 7, ..HoltWinters::default() }))?;
//!
//! assert!(matches!(detector.check(&history, day(35), 1_001.0), AnomalyVerdict::Ok { .. }));
//! // A Monday like a Sunday.
//! let verdict = detector.check(&history, day(35), 205.0);
//! assert!(verdict.is_anomaly() && verdict.describe("rows").starts_with("rows is 205; expected"));
//! # Ok::<(), mlops_core::Error>(())
//! ```

mod freshness;
mod holt_winters;
mod normal;
mod series;
mod strategy;
#[cfg(test)]
mod tests;
mod verdict;
mod volume;

pub use freshness::{Freshness, FreshnessBound};
pub use holt_winters::{HoltWinters, Smoothing};
pub use series::{HISTORY_MAX, MetricHistory, Recorded};
pub use strategy::{AnomalyDetector, Strategy};
pub use verdict::{AnomalyVerdict, Expected, PointFault};
pub use volume::Volume;
