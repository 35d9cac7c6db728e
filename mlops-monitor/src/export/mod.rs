//! Metrics of monitoring for Prometheus and OpenTelemetry, and a Grafana dashboard that draws them.
//!
//! [`MonitorMetrics`] keeps the latest values and renders them; an application mounts [`MonitorMetrics::render`] at
//! `/metrics` or pushes [`MonitorMetrics::to_otlp`]. Names are API: they are listed in `families`, and dashboards and
//! alerts rely on them.
//!
//! | Prometheus | labels beside `model`, `version` | OpenTelemetry |
//! |---|---|---|
//! | `mlops_drift_score` | `feature`, `method` | `mlops.drift.score` |
//! | `mlops_drift_pvalue` | `feature`, `method` | `mlops.drift.pvalue` |
//! | `mlops_drift_neg_log10_pvalue` | `feature`, `method` | `mlops.drift.neg_log10_pvalue` |
//! | `mlops_drift_detected` | `feature` | `mlops.drift.detected` |
//! | `mlops_drifted_features_ratio` | | `mlops.drift.drifted_features` |
//! | `mlops_feature_missing_ratio` | `feature` | `mlops.feature.missing` |
//! | `mlops_window_rows` | | `mlops.window.rows` |
//! | `mlops_monitor_run_duration_seconds` | | `mlops.monitor.run.duration` |
//! | `mlops_monitor_runs_total` | `outcome` | `mlops.monitor.runs` |
//! | `mlops_quality_violations_total` | `rule`, `severity` | `mlops.quality.violations` |
//! | `mlops_performance_estimate`, `_lower`, `_upper` | `metric`, `kind` | `mlops.performance.estimate`... |
//! | `mlops_last_success_timestamp_seconds` | | `mlops.monitor.last_success` |
//! | `mlops_monitor_build_info` | only `version`, of this library | `mlops.monitor.build` |
//!
//! Invariant: the number of series is bounded; what is beyond a bound is pooled under `other`, never dropped silently
//! where pooling makes sense. No row, entity or level ever becomes a label.

mod dashboard;
mod families;
mod metrics;
mod negotiation;
mod otlp;
#[cfg(feature = "otlp")]
mod otlp_client;
mod state;
mod text;

pub use dashboard::DASHBOARD;
pub use metrics::{EstimateKind, MetricsSettings, MonitorMetrics, MonitorMetricsBuilder, PerformanceEstimate};
pub use negotiation::TextFormat;
pub use otlp::OtlpResource;
#[cfg(feature = "otlp")]
pub use otlp_client::{OtlpClient, OtlpSettings};
