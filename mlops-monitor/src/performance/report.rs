//! The outcome of one window.
//!
//! Invariant: every metric that is watched has a line in every report, also when it could not be
//! computed; all numbers behind a verdict are in it. Its JSON keys are the names of its fields and
//! stay; a number that does not exist is null.

use std::fmt;

use mlops_core::{Error, Event, Fact, ModelName, Result, Timestamp, Version};
use mlops_metrics::{FairnessMetric, Interval, Measure};
use serde::{Deserialize, Serialize};

use super::{
    business_report::BusinessReport,
    compare::PerformanceVerdict,
    fairness::{FairnessReport, FairnessVerdict},
    join::{JoinCounts, JoinWindow},
    slices::SlicesReport,
};

/// One metric of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// The metric.
    pub metric: Measure,
    /// The verdict, with `n` and `min_n` when insufficient.
    #[serde(flatten)]
    pub verdict: PerformanceVerdict,
    /// Its value.
    pub value: Option<f64>,
    /// Rows or queries behind it.
    pub rows: u64,
    /// Where the true value lies.
    pub interval: Option<Interval>,
    /// The reference value.
    pub reference: Option<f64>,
    /// Value less reference.
    pub difference: Option<f64>,
    /// Where the true difference lies.
    pub difference_interval: Option<Interval>,
    /// Two-sided p-value of the difference; zero below about 1e-323, see `log10_p`.
    pub p: Option<f64>,
    /// Its decimal logarithm.
    pub log10_p: Option<f64>,
    /// After correction for all metrics of the report.
    pub log10_q: Option<f64>,
    /// Smallest change that would have been found with a power of 80 %.
    pub mde: Option<f64>,
    /// Why there is no value, when there is none.
    pub note: Option<String>,
}

/// How long labels of a window took, from prediction to label, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LabelDelay {
    /// The median.
    pub p50_s: f64,
    /// Nine out of ten took at most this long.
    pub p90_s: f64,
    /// 99 out of 100 took at most this long.
    pub p99_s: f64,
    /// The longest.
    pub max_s: f64,
}

/// The verdict on a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PerformanceHeadline {
    /// At least one metric was compared, none is worse.
    Ok,
    /// A metric is worse than its reference.
    Degraded,
    /// No metric could be compared.
    Insufficient,
}

/// How good predictions of one window were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PerformanceReport {
    /// The verdict.
    pub verdict: PerformanceHeadline,
    /// When the window began.
    pub window_start: Timestamp,
    /// When it ended; predictions at this instant are not in it.
    pub window_end: Timestamp,
    /// Whether the window is closed: later labels will not change this report.
    pub closed: bool,
    /// Whether it is closed and enough of its predictions have labels; otherwise it is provisional.
    pub settled: bool,
    /// Share of predictions whose labels have come; zero without predictions.
    pub maturity: f64,
    /// Predictions with a label, without one, and given up.
    #[serde(flatten)]
    pub window: JoinWindow,
    /// How long labels took; none without labels.
    pub label_delay: Option<LabelDelay>,
    /// The metrics, in the order of the settings.
    pub metrics: Vec<MetricReport>,
    /// The worst slices, when they are looked for.
    pub slices: Option<SlicesReport>,
    /// Fairness by protected attribute.
    pub fairness: Vec<FairnessReport>,
    /// What it was worth, when that is known.
    pub business: Option<BusinessReport>,
    /// What happened to all rows since the start.
    pub counts: JoinCounts,
}

impl PerformanceReport {
    /// The verdict that follows from the metrics.
    pub(crate) fn headline_of(metrics: &[MetricReport]) -> PerformanceHeadline {
        let any = |verdicts: &[PerformanceVerdict]| metrics.iter().any(|metric| verdicts.contains(&metric.verdict));
        if any(&[PerformanceVerdict::Degraded]) {
            PerformanceHeadline::Degraded
        } else if any(&[PerformanceVerdict::Ok, PerformanceVerdict::Improved]) {
            PerformanceHeadline::Ok
        } else {
            PerformanceHeadline::Insufficient
        }
    }

    /// A metric by name.
    #[must_use]
    pub fn metric(&self, measure: Measure) -> Option<&MetricReport> {
        self.metrics.iter().find(|metric| metric.metric == measure)
    }

    /// Protected attributes and metrics whose whole interval is beyond the limit.
    pub fn unfair(&self) -> impl Iterator<Item = (&str, FairnessMetric)> {
        self.fairness.iter().flat_map(|report| {
            let unfair = report.metrics.iter().filter(|value| value.verdict == FairnessVerdict::Unfair);
            unfair.map(|value| (report.attribute.as_str(), value.metric))
        })
    }

    /// What to publish about a closed window on which a metric is worse or groups are treated unlike
    /// beyond the limit; none otherwise.
    #[must_use]
    pub fn event(&self, model: &ModelName, version: Version) -> Option<Event> {
        let alarming = self.verdict == PerformanceHeadline::Degraded || self.unfair().next().is_some();
        let alert = format!("performance of {model} version {}", version.0);
        (self.closed && alarming)
            .then(|| Event::new(self.window_end, Fact::AlertRaised { alert, message: self.to_string() }))
    }

    /// As JSON text.
    ///
    /// # Errors
    /// `Internal` when it cannot be written.
    pub fn to_json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|error| Error::internal("a performance report cannot be written").with_source(error))
    }
}

/// The headline: `degraded: recall 0.61 (was 0.74); 812 of 1000 labeled, provisional`.
impl fmt::Display for PerformanceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            PerformanceHeadline::Ok => "ok",
            PerformanceHeadline::Degraded => "degraded",
            PerformanceHeadline::Insufficient => "insufficient",
        };
        write!(f, "{word}: ")?;
        let degraded = self.metrics.iter().filter(|metric| metric.verdict == PerformanceVerdict::Degraded);
        for metric in degraded {
            let (value, reference) = (metric.value.unwrap_or(f64::NAN), metric.reference.unwrap_or(f64::NAN));
            write!(f, "{} {value:.4} (was {reference:.4}), ", metric.metric)?;
        }
        for (attribute, metric) in self.unfair() {
            write!(f, "{metric} by {attribute} beyond its limit, ")?;
        }
        let state = if self.settled { "settled" } else { "provisional" };
        write!(f, "{} of {} labeled, {state}", self.window.joined, self.window.predictions())
    }
}
