//! Is the data that a model sees still the data that it learnt from, and is it sound?
//!
//! ```
//! use std::sync::Arc;
//!
//! use mlops_core::{ModelName, Timestamp, Version, arrow_array::{ArrayRef, Float64Array, RecordBatch}};
//! use mlops_monitor::{Headline, Monitor, ProfileSettings, ReferenceProfile};
//!
//! let hours = |late: f64| {
//!     let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..1000).map(|i| f64::from(i % 24) + late)));
//!     RecordBatch::try_from_iter([("hour", values)])
//! };
//!
//! // At training time: the profile goes into the model's package.
//! let profile = ReferenceProfile::from_batch(&hours(0.0)?, &ProfileSettings::default())?;
//! let stored = profile.to_bytes()?;
//!
//! // Later, for each window of what was served:
//! let monitor = Monitor::builder(ReferenceProfile::from_bytes(&stored)?).build()?;
//! let report = monitor.observe(&hours(6.0)?, "2026-01-31T00:00:00Z".parse::<Timestamp>()?);
//! assert_eq!(report.verdict(), Headline::Drift);
//! assert!(report.to_html().contains("hour"));
//! let event = report.event(&ModelName::new("rides")?, Version(3));
//! assert!(event.is_some());
//! # Ok::<(), mlops_core::Error>(())
//! ```
//!
//! | look for | in |
//! |---|---|
//! | comparing windows with a reference | [`Monitor`], [`MonitorSettings`] |
//! | the stored reference | [`ReferenceProfile`] |
//! | the outcome: verdicts, JSON, HTML, the event to publish | [`DriftReport`] |
//! | the tests behind it, and a place for your own | [`DriftDetector`] |
//! | the same statistics as plain functions | [`stats`] |
//! | performance before the labels have come | [`estimate`] |
//! | the values of a metric against its history, freshness, volume | [`history`] |
//! | latency and throughput | [`latency`] |
//! | rules that a batch must keep before it is stored | [`quality`] |
//!
//! Guarantees: a verdict of drift needs an effect that matters, significance after correction for
//! the number of tests, and enough rows; p-values keep their accuracy however small they are; a
//! column that cannot be compared never hides the others; no state, no I/O, no clock, no
//! randomness: the same window and reference give the same bytes.

mod correction;
mod detector;
pub mod estimate;
mod extract;
pub mod history;
pub mod latency;
mod monitor;
mod profile;
mod profile_format;
pub mod quality;
mod report;
mod sample;
mod settings;
pub mod stats;
pub mod stream;

pub use correction::benjamini_hochberg;
pub use detector::{
    Binning, ChiSquared, Distance, DriftDetector, DriftTest, HistogramDistance, KolmogorovSmirnov, NullShare, Psi,
    Thresholds, TwoSample, TwoSampleTest, Verdict,
};
pub use monitor::{Monitor, MonitorBuilder};
pub use profile::{ColumnProfile, ProfileSettings, ReferenceProfile};
pub use profile_format::PROFILE_BYTES_MAX;
pub use report::{ColumnReport, ColumnVerdict, DriftReport, Headline, Histogram, SchemaChange};
pub use sample::{CategoricalSample, ColumnKind, ColumnSample, NumericSample, Values};
pub use settings::{CRAMERS_V_MIN, KS_D_MIN, MonitorSettings, NULL_SHARE_MIN, PSI_MIN};
