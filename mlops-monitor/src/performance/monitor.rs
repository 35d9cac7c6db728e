//! Windows of labeled predictions become reports.
//!
//! Invariant: a window is closed once, in order of time, when all its labels have come or their
//! time is up; from then on its report does not change. Time comes in with every call; it holds no
//! thread and does no I/O.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use arrow_array::RecordBatch;
use mlops_core::{Error, PredictionBatch, Result, Timestamp};
use mlops_metrics::{Estimate, FairnessMetric, Measure};
use serde::{Deserialize, Serialize};

use super::{
    business_report::{self, BusinessReport, Volume},
    compare::{Change, PerformanceVerdict},
    fairness::{self, FairnessPoint},
    intake::{LabelIntake, PredictionIntake},
    join::{JoinCounts, JoinWindow, LabelJoin},
    reference::PerformanceReference,
    report::{LabelDelay, MetricReport, PerformanceReport},
    rows::LabeledRows,
    settings::{PerformanceSettings, WindowSettings},
    slices,
};
use crate::stats::{Tail, float, quantile, total_of};

const SECONDS_OF_DAY: f64 = 86_400.0;

/// Follows how good the predictions of one model version are.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::{
///     ModelName, PredictionBatch, Timestamp, Version,
///     arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array},
/// };
/// use mlops_monitor::performance::{PerformanceMonitor, PerformanceSettings, Task, WindowSettings};
///
/// let settings = PerformanceSettings::new(Task::binary("p"))
///     .with_metrics(["accuracy", "roc_auc"])?
///     .with_window(WindowSettings::Seconds(60));
/// let mut monitor = PerformanceMonitor::builder(settings).build()?;
///
/// let scores: ArrayRef = Arc::new(Float64Array::from(vec![0.1, 0.9, 0.8]));
/// let outputs = RecordBatch::try_from_iter([("p", scores)])?;
/// monitor.observe(&PredictionBatch {
///     request_id: "r1".into(),
///     model: ModelName::new("fraud")?,
///     version: Version(1),
///     variant: "champion".into(),
///     propensity: None,
///     at: Timestamp::from_millis(1_000),
///     inputs: outputs.clone(),
///     outputs,
/// })?;
///
/// let ids: ArrayRef = Arc::new(StringArray::from(vec!["r1"; 3]));
/// let rows: ArrayRef = Arc::new(UInt32Array::from(vec![0, 1, 2]));
/// let labels: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 1.0, 0.0]));
/// let labels = RecordBatch::try_from_iter([("request_id", ids), ("row", rows), ("label", labels)])?;
/// monitor.label(&labels, Timestamp::from_millis(30_000))?;
///
/// let reports = monitor.poll(Timestamp::from_millis(60_000))?;
/// assert_eq!(reports[0].to_string(), "insufficient: 3 of 3 labeled, settled");
/// assert_eq!(reports[0].metrics[0].value, Some(2.0 / 3.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PerformanceMonitor {
    settings: PerformanceSettings,
    reference: Option<PerformanceReference>,
    join: LabelJoin,
    series: Series,
}

/// Values by protected attribute and metric, oldest first.
type Series = BTreeMap<String, BTreeMap<String, VecDeque<FairnessPoint>>>;

/// What a monitor remembers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    join: LabelJoin,
    fairness: Series,
}

/// Puts a [`PerformanceMonitor`] together.
#[derive(Debug)]
pub struct PerformanceMonitorBuilder {
    settings: PerformanceSettings,
    reference: Option<PerformanceReference>,
    state: Option<String>,
}

impl PerformanceMonitorBuilder {
    /// Compares with a stored reference; without one, reports have values but no verdicts.
    #[must_use]
    pub fn with_reference(mut self, reference: PerformanceReference) -> Self {
        self.reference = Some(reference);
        self
    }

    /// Goes on from what [`PerformanceMonitor::state`] wrote.
    #[must_use]
    pub fn with_state(mut self, state: impl Into<String>) -> Self {
        self.state = Some(state.into());
        self
    }

    /// Checks settings and state.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting out of range, or when the state is damaged or was
    /// written with other columns.
    pub fn build(self) -> Result<PerformanceMonitor> {
        let Self { settings, reference, state } = self;
        settings.validate()?;
        let columns = settings.columns();
        let (join, series) = match state {
            None => (LabelJoin::new(columns, settings.join)?, Series::new()),
            Some(state) => {
                let unreadable = |error| {
                    Error::invalid_argument("this is not the state of a performance monitor").with_source(error)
                };
                let State { mut join, fairness } = serde_json::from_str(&state).map_err(unreadable)?;
                if *join.columns() != columns {
                    return Err(Error::invalid_argument(
                        "the state of this performance monitor was written with another task or other columns",
                    ));
                }
                join.settings = settings.join;
                (join, fairness)
            }
        };
        Ok(PerformanceMonitor { settings, reference, join, series })
    }
}

impl PerformanceMonitor {
    /// Starts from settings.
    #[must_use]
    pub fn builder(settings: PerformanceSettings) -> PerformanceMonitorBuilder {
        PerformanceMonitorBuilder { settings, reference: None, state: None }
    }

    /// Takes answered predictions.
    ///
    /// # Errors
    /// As [`LabelJoin::observe`].
    pub fn observe(&mut self, batch: &PredictionBatch) -> Result<PredictionIntake> {
        self.join.observe(batch)
    }

    /// Takes labels that arrive at `now`.
    ///
    /// # Errors
    /// As [`LabelJoin::label`].
    pub fn label(&mut self, labels: &RecordBatch, now: Timestamp) -> Result<LabelIntake> {
        self.join.label(labels, now)
    }

    /// Reports on every window that can be closed at `now`, oldest first, and closes it.
    ///
    /// # Errors
    /// `ResourceExhausted` when a protected attribute has more groups than can be told apart.
    pub fn poll(&mut self, now: Timestamp) -> Result<Vec<PerformanceReport>> {
        self.join.expire(now);
        let mut reports = Vec::new();
        while let Some((start, end)) = self.next_window() {
            let window = self.join.window(end);
            let complete = window.pending == 0 && end <= now;
            if !complete && end + self.settings.label_wait() > now {
                break;
            }
            let report = self.report((start, end), true)?;
            self.join.close(end);
            self.remember(&report);
            reports.push(report);
        }
        Ok(reports)
    }

    /// Reports on the oldest open window as it stands, without closing it; none without one.
    ///
    /// # Errors
    /// As [`PerformanceMonitor::poll`].
    pub fn provisional(&self) -> Result<Option<PerformanceReport>> {
        self.next_window().map(|window| self.report(window, false)).transpose()
    }

    /// The oldest window that has rows and is not closed.
    fn next_window(&self) -> Option<(Timestamp, Timestamp)> {
        let oldest = self.join.oldest()?;
        match self.settings.window {
            WindowSettings::Seconds(seconds) => {
                let width = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
                let start = oldest.as_micros().div_euclid(width).saturating_mul(width);
                Some((Timestamp::from_micros(start), Timestamp::from_micros(start.saturating_add(width))))
            }
            WindowSettings::Rows(rows) => {
                let last = self.join.nth_joined(rows)?;
                Some((oldest, last + Duration::from_micros(1)))
            }
        }
    }

    fn report(&self, (start, end): (Timestamp, Timestamp), closed: bool) -> Result<PerformanceReport> {
        let window = self.join.window(end);
        let rows = self.join.rows(end);
        let metrics = self.metrics(&rows);
        let predictions = window.predictions();
        let maturity = if predictions == 0 { 0.0 } else { float(window.joined) / float(predictions) };
        let level = self.settings.estimates.level;
        let reference = self.reference.as_ref();
        let slices = self.settings.slices.as_ref();
        let fairness = match &self.settings.fairness {
            Some(settings) => fairness::report(&self.settings.task, settings, &rows, (reference, level))?,
            None => Vec::new(),
        };
        // What becomes of rows that wait is settled by the caller, right after.
        let counts = match closed {
            true => JoinCounts { evicted: self.join.counts().evicted + window.pending, ..self.join.counts() },
            false => self.join.counts(),
        };
        Ok(PerformanceReport {
            verdict: PerformanceReport::headline_of(&metrics),
            window_start: start,
            window_end: end,
            closed,
            settled: closed && maturity >= self.settings.maturity_min,
            maturity,
            window,
            label_delay: label_delay(&rows),
            metrics,
            slices: slices.and_then(|slices| slices::report(&self.settings, slices, &rows, reference)),
            fairness,
            business: self.business(&rows, &window, (start, end)),
            counts,
        })
    }

    fn metrics(&self, rows: &LabeledRows) -> Vec<MetricReport> {
        let measured: Vec<Measured<'_>> =
            self.settings.measures().into_iter().map(|measure| self.measure(measure, rows)).collect();
        let tails: Vec<Tail> = measured.iter().filter_map(|measured| measured.testable(self.settings.n_min)).collect();
        let mut corrected = self.settings.correction.adjust(&tails).into_iter();
        let reports = measured.into_iter().map(|measured| {
            let tail = measured.testable(self.settings.n_min).and_then(|_| corrected.next());
            measured.report(tail, &self.settings)
        });
        reports.collect()
    }

    fn measure(&self, measure: Measure, rows: &LabeledRows) -> Measured<'_> {
        let reference = self.reference.as_ref().and_then(|reference| reference.estimate(measure));
        let current = rows.outcomes.estimate(&self.settings.task, measure, &self.settings.estimates);
        let change =
            current.as_ref().ok().zip(reference).map(|(current, reference)| Change::between(current, reference));
        Measured { measure, current, reference, change }
    }

    fn business(
        &self,
        rows: &LabeledRows,
        window: &JoinWindow,
        (start, end): (Timestamp, Timestamp),
    ) -> Option<BusinessReport> {
        let settings = self.settings.business.as_ref()?;
        let valued = settings.values(&self.settings.task, rows);
        let variants = self.join.variants(end);
        let held_out = settings.holdout.as_ref().and_then(|holdout| variants.get(&holdout.variant)).copied();
        let all = total_of(&variants.into_values().collect::<Vec<_>>());
        let held_out = held_out.unwrap_or(0);
        let volume = Volume {
            predictions: window.predictions(),
            labels: window.joined,
            days: end.duration_since(start).as_secs_f64() / SECONDS_OF_DAY,
            assigned: (all - held_out, held_out),
        };
        let reference = self.reference.as_ref().and_then(PerformanceReference::value_per_row);
        Some(business_report::report(settings, &valued, &volume, reference, &self.settings.estimates))
    }

    fn remember(&mut self, report: &PerformanceReport) {
        let limit = self.settings.fairness.as_ref().map_or(0, |fairness| fairness.history_max);
        for attribute in &report.fairness {
            let series = self.series.entry(attribute.attribute.clone()).or_default();
            for value in &attribute.metrics {
                let points = series.entry(value.metric.name().to_owned()).or_default();
                points.push_back(value.point(report.window_end));
                while points.len() > limit {
                    points.pop_front();
                }
            }
        }
    }

    /// A fairness metric over closed windows, oldest first.
    pub fn fairness_series(&self, attribute: &str, metric: FairnessMetric) -> impl Iterator<Item = &FairnessPoint> {
        self.series.get(attribute).and_then(|series| series.get(metric.name())).into_iter().flatten()
    }

    /// The join, with its counts.
    #[must_use]
    pub fn join(&self) -> &LabelJoin {
        &self.join
    }

    /// All that it remembers, as JSON text, for a restart.
    ///
    /// # Errors
    /// `Internal` when it cannot be written.
    pub fn state(&self) -> Result<String> {
        let state = State { join: self.join.clone(), fairness: self.series.clone() };
        serde_json::to_string(&state)
            .map_err(|error| Error::internal("the state of a performance monitor cannot be written").with_source(error))
    }
}

/// One metric before correction.
struct Measured<'a> {
    measure: Measure,
    current: Result<Estimate>,
    reference: Option<&'a Estimate>,
    change: Option<Change>,
}

impl Measured<'_> {
    /// The tail that takes part in the correction: that of a test with enough rows.
    fn testable(&self, n_min: u64) -> Option<Tail> {
        let n = self.current.as_ref().ok()?.n.min(self.reference?.n);
        self.change?.tail.filter(|_| n >= n_min)
    }

    fn report(self, corrected: Option<Tail>, settings: &PerformanceSettings) -> MetricReport {
        let Self { measure, current, reference, change } = self;
        let verdict = match (&current, reference, &change) {
            (Err(_), _, _) => PerformanceVerdict::Undefined,
            (Ok(current), Some(reference), Some(change)) => {
                change.judge(measure, (current, reference), corrected, settings)
            }
            _ => PerformanceVerdict::NoReference,
        };
        // JSON has no infinity; a certain difference has a logarithm of minus infinity.
        let log10 = |tail: Tail| tail.log10().max(f64::MIN);
        let tail = change.and_then(|change| change.tail);
        let estimate = current.as_ref().ok();
        MetricReport {
            metric: measure,
            verdict,
            value: estimate.map(|estimate| estimate.value),
            rows: estimate.map_or(0, |estimate| estimate.n),
            interval: estimate.and_then(|estimate| estimate.interval),
            reference: reference.map(|reference| reference.value),
            difference: change.map(|change| change.difference),
            difference_interval: change.and_then(|change| change.interval),
            p: tail.map(Tail::p),
            log10_p: tail.map(log10),
            log10_q: corrected.map(log10),
            mde: change.and_then(|change| change.mde),
            note: current.err().map(|error| error.message().to_owned()),
        }
    }
}

fn label_delay(rows: &LabeledRows) -> Option<LabelDelay> {
    let mut delays: Vec<f64> =
        rows.times.iter().map(|(at, labeled)| labeled.duration_since(*at).as_secs_f64()).collect();
    delays.sort_by(f64::total_cmp);
    let at = |share| quantile(&delays, share);
    Some(LabelDelay { p50_s: at(0.5)?, p90_s: at(0.9)?, p99_s: at(0.99)?, max_s: at(1.0)? })
}

#[cfg(test)]
mod tests;
