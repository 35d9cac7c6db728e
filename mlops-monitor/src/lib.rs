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
//! | bounded summaries of streams that merge across replicas | [`Profile`], [`SketchSettings`] |
//! | the outcome: verdicts, JSON, Markdown, HTML, the event to publish | [`DriftReport`] |
//! | one page with quality, performance and values over time as well | [`MonitoringReport`], [`report`] |
//! | metrics for Prometheus and OpenTelemetry, a dashboard | [`export`] |
//! | a service watched while it serves | [`live`] |
//! | the tests behind it, and a place for your own | [`DriftDetector`] |
//! | tests of whole rows: domain classifier, MMD, PCA | [`multivariate`] |
//! | which runs are alarms, so many false ones per 30 days | [`AlarmBudget`] |
//! | means and proportions that may be looked at after every value | [`sequential`] |
//! | the same statistics as plain functions | [`stats`] |
//! | how good predictions were, once labels came | [`performance`] |
//! | performance before the labels have come | [`estimate`] |
//! | the values of a metric against its history, freshness, volume | [`history`] |
//! | latency and throughput | [`latency`] |
//! | rules that a batch must keep before it is stored | [`quality`] |
//! | telling people and programs, so that nothing is lost | [`alert`] |
//!
//! Guarantees: a verdict of drift needs an effect that matters, significance after correction for
//! the number of tests, and enough rows; p-values keep their accuracy however small they are; a
//! column that cannot be compared never hides the others; no state, no I/O, no clock, no
//! randomness but from a seed: the same window and reference give the same bytes. Only [`alert`] and [`live`] hold state
//! and run in the background, and only sinks of [`alert`] and the OTLP client talk to others, by features.

pub mod alert;
mod correction;
mod detector;
pub mod estimate;
pub mod export;
mod extract;
pub mod history;
pub mod latency;
pub mod live;
mod monitor;
pub mod multivariate;
pub mod performance;
mod profile;
pub mod quality;
mod random;
pub mod report;
mod sample;
pub mod sequential;
mod settings;
pub mod stats;
pub mod stream;

/// How this crate names itself to servers.
#[cfg(any(feature = "alerts-http", feature = "otlp"))]
const PRODUCT: &str = concat!("mlops-monitor/", env!("CARGO_PKG_VERSION"));

pub use correction::{
    AlarmBudget, AlarmBudgetSettings, AlarmDecision, AlarmMethod, Correction, REJECTIONS_MAX, benjamini_hochberg,
};
pub use detector::{
    Binning, ChiSquared, Distance, DriftDetector, DriftTest, FISHER_EXACT_MAX, Fisher, G, HistogramDistance,
    KolmogorovSmirnov, NullShare, Psi, Thresholds, TwoProportionZ, TwoSample, TwoSampleTest, Verdict,
};
pub use monitor::{Monitor, MonitorBuilder};
pub use profile::{
    ColumnProfile, ColumnSummary, FrequentLevel, Interval, NumericSummary, PROFILE_BYTES_MAX, Profile, ProfileSettings,
    ProfileSummary, ReferenceProfile, SketchSettings, Sketches,
};
pub use report::{ColumnReport, ColumnVerdict, DriftReport, Headline, Histogram, MonitoringReport, SchemaChange};
pub use sample::{CategoricalSample, ColumnKind, ColumnSample, NumericSample, Values};
pub use settings::{CRAMERS_V_MIN, KS_D_MIN, MonitorSettings, NULL_SHARE_MIN, PSI_MIN};
