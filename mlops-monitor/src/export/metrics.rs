//! The latest values of every monitored model version, behind one lock.
//!
//! Invariant: bounded by its settings; recording is cheap and never fails for want of room where pooling makes sense.
//! It opens no port: an application serves what it renders.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use mlops_core::{Clock, Error, ModelName, Result, Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::{
    families::{self, Family, Kind, Point, Value},
    negotiation::TextFormat,
    state::{ModelState, label},
    text,
};
use crate::report::DriftReport;

/// How many series there may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsSettings {
    /// Features of a model version with series of their own, 1 to 10,000: the worst of its latest report. The others
    /// share the label `other`, with the worst value among them.
    pub features_max: usize,
    /// Model versions, 1 to 10,000; beyond, the one that was silent longest is forgotten.
    pub models_max: usize,
    /// Pairs of rule and severity of a model version, 1 to 10,000; later ones are counted as `other`.
    pub rules_max: usize,
    /// Performance metrics of a model version, 1 to 10,000; further ones are refused.
    pub estimates_max: usize,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self { features_max: 200, models_max: 100, rules_max: 200, estimates_max: 64 }
    }
}

/// Where a performance value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EstimateKind {
    /// Confidence-based performance estimation, without labels.
    Cbpe,
    /// Direct loss estimation, without labels.
    Dle,
    /// From labels.
    Realised,
}

impl EstimateKind {
    /// The label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cbpe => "cbpe",
            Self::Dle => "dle",
            Self::Realised => "realised",
        }
    }
}

/// One value of a performance metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerformanceEstimate<'a> {
    /// The metric, such as `roc_auc`.
    pub metric: &'a str,
    /// Where it comes from.
    pub kind: EstimateKind,
    /// Its value; NaN is not exported.
    pub value: f64,
    /// Lower and upper end of its interval.
    pub interval: Option<(f64, f64)>,
}

/// Keeps the latest results of monitoring and renders them as metrics.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use mlops_core::{ModelName, SystemClock, Timestamp, Version, arrow_array::{ArrayRef, Float64Array, RecordBatch}};
/// use mlops_monitor::{Monitor, ProfileSettings, ReferenceProfile, export::{MonitorMetrics, TextFormat}};
///
/// let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..500).map(f64::from)));
/// let window = RecordBatch::try_from_iter([("amount", values)])?;
/// let profile = ReferenceProfile::from_batch(&window, &ProfileSettings::default())?;
/// let report = Monitor::builder(profile).build()?.observe(&window, Timestamp::from_millis(0));
///
/// let metrics = MonitorMetrics::builder(SystemClock::new()).build()?;
/// metrics.record_drift(&ModelName::new("rides")?, Version(3), &report, Duration::from_millis(2));
/// let text = metrics.render(TextFormat::negotiate(None));
/// assert!(text.contains("mlops_drifted_features_ratio{model=\"rides\",version=\"3\"} 0.0"));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug)]
pub struct MonitorMetrics {
    clock: Box<dyn Clock>,
    started: Timestamp,
    settings: MetricsSettings,
    models: Mutex<Models>,
}

#[derive(Debug, Default)]
struct Models {
    writes: u64,
    states: BTreeMap<(String, Version), ModelState>,
}

/// Puts [`MonitorMetrics`] together.
#[derive(Debug)]
pub struct MonitorMetricsBuilder {
    clock: Box<dyn Clock>,
    settings: MetricsSettings,
}

impl MonitorMetricsBuilder {
    /// Replaces the default settings.
    #[must_use]
    pub fn with_settings(mut self, settings: MetricsSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting out of range.
    pub fn build(self) -> Result<MonitorMetrics> {
        let MetricsSettings { features_max, models_max, rules_max, estimates_max } = self.settings;
        let bounds = [
            ("features_max", features_max),
            ("models_max", models_max),
            ("rules_max", rules_max),
            ("estimates_max", estimates_max),
        ];
        let wrong = bounds.iter().filter(|(_, value)| !(1..=10_000).contains(value));
        let faults: Vec<String> =
            wrong.map(|(name, value)| format!("{name} must be from 1 to 10000, found {value}")).collect();
        if !faults.is_empty() {
            return Err(Error::invalid_argument(format!("metrics settings: {}", faults.join("; "))));
        }
        let started = self.clock.now();
        Ok(MonitorMetrics { clock: self.clock, started, settings: self.settings, models: Mutex::default() })
    }
}

impl MonitorMetrics {
    /// Starts without models. The clock dates successes and exports.
    #[must_use]
    pub fn builder(clock: impl Clock) -> MonitorMetricsBuilder {
        MonitorMetricsBuilder { clock: Box::new(clock), settings: MetricsSettings::default() }
    }

    /// Replaces what is known of drift by the latest report; counts the run, which took `duration`.
    pub fn record_drift(&self, model: &ModelName, version: Version, report: &DriftReport, duration: Duration) {
        let now = self.clock.now();
        self.update(model, version, |state| state.drift(report, duration, now, &self.settings));
    }

    /// Counts a run that ended with an error after `duration`.
    pub fn record_failure(&self, model: &ModelName, version: Version, duration: Duration) {
        self.update(model, version, |state| state.run("error", duration));
    }

    /// Adds violations of a data-quality rule. `severity` is a word of a small set, such as `warning` and `error`.
    pub fn record_quality(&self, model: &ModelName, version: Version, (rule, severity): (&str, &str), violations: u64) {
        self.update(model, version, |state| state.violations((rule, severity), violations, &self.settings));
    }

    /// Replaces the value of a performance metric.
    ///
    /// # Errors
    /// `ResourceExhausted` when the model version has too many metrics already.
    pub fn record_performance(
        &self,
        model: &ModelName,
        version: Version,
        estimate: &PerformanceEstimate<'_>,
    ) -> Result<()> {
        self.update(model, version, |state| state.estimate(estimate, &self.settings))
    }

    /// Ends the series of a model version that is no longer monitored.
    pub fn forget(&self, model: &ModelName, version: Version) {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.states.remove(&(model.as_str().to_owned(), version));
    }

    /// Everything in a text format, for the answer to a scrape.
    #[must_use]
    pub fn render(&self, format: TextFormat) -> String {
        text::render(&self.snapshot(), format)
    }

    fn update<T>(&self, model: &ModelName, version: Version, change: impl FnOnce(&mut ModelState) -> T) -> T {
        let mut models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.writes += 1;
        let (touched, key) = (models.writes, (model.as_str().to_owned(), version));
        if models.states.len() >= self.settings.models_max && !models.states.contains_key(&key) {
            let oldest = models.states.iter().min_by_key(|(_, state)| state.touched).map(|(key, _)| key.clone());
            oldest.and_then(|key| models.states.remove(&key));
        }
        let state = models.states.entry(key).or_default();
        state.touched = touched;
        change(state)
    }

    /// Every family that has points, with them.
    pub(super) fn snapshot(&self) -> Vec<(Family, Vec<Point>)> {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let points = |family: &Family| -> Vec<Point> {
            if family.kind == Kind::Info {
                let labels = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
                return vec![Point { labels, value: Value::Number(1.0) }];
            }
            let states = models.states.iter().flat_map(|((model, version), state)| {
                state.points(family, &[("model", label(model)), ("version", version.to_string())])
            });
            states.collect()
        };
        let families = families::ALL.iter().map(|family| (*family, points(family)));
        families.filter(|(_, points)| !points.is_empty()).collect()
    }

    /// When recording started and what time it is.
    pub(super) fn interval(&self) -> (Timestamp, Timestamp) {
        (self.started, self.clock.now())
    }
}

#[cfg(test)]
pub(super) mod tests;
