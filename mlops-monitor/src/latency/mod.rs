//! How long answers take and how many there are.
//!
//! Durations go into a [`LatencySketch`] (DDSketch: Masson, Rim, Lee, VLDB 12, 2019): counts in bins whose ends grow by a
//! constant factor, so that every quantile is within a relative error of the truth, 1 % by default. A duration is 0 or 1
//! to 2^64 nanoseconds, so the bins are finite in number by nature: nothing is ever collapsed, the bound holds for every
//! quantile, and merging is exact and indifferent to order.
//!
//! ```
//! use std::time::Duration;
//!
//! use mlops_core::Timestamp;
//! use mlops_monitor::latency::{LatencySettings, LatencyWindow};
//!
//! let settings = LatencySettings { slo: Some(Duration::from_millis(100)), ..LatencySettings::default() };
//! let mut replica = LatencyWindow::new("2026-01-31T12:00:00Z".parse()?, settings)?;
//! let mut other = LatencyWindow::new("2026-01-31T12:00:00Z".parse()?, settings)?;
//! for i in 1..=990 {
//!     replica.observe(Duration::from_millis(i % 50));
//! }
//! for _ in 0..10 {
//!     other.observe(Duration::from_millis(400));
//! }
//! replica.merge(&other)?;
//!
//! let summary = replica.summary("2026-01-31T12:01:40Z".parse()?);
//! assert_eq!((summary.count, summary.per_second), (1_000, Some(10.0)));
//! let slo = summary.over_slo.expect("an objective is set");
//! assert_eq!((slo.count, slo.share), (10, 0.01));
//! assert!(slo.lower > 0.005 && slo.upper < 0.019);
//! assert!((summary.p999.expect("it is not empty").as_secs_f64() - 0.4).abs() <= 0.004);
//! # Ok::<(), mlops_core::Error>(())
//! ```

mod sketch;
mod window;

pub use sketch::LatencySketch;
pub use window::{LatencySettings, LatencySummary, LatencyWindow, SloShare};
