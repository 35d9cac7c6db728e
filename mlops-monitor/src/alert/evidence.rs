//! Drift reports and check outcomes as observations.
//!
//! Invariant: the labels of a column's alert do not depend on what was found, and columns that are
//! well are reported too, so that an alert ends when its reason does. A model with very many
//! columns has a bounded number of alerts: those behind the first in order of names share one.

use std::fmt;

use mlops_core::{CheckOutcome, ModelName, Result, RunId, Timestamp, Version};
use serde::{Deserialize, Serialize};

use super::{
    labels::{ALERT_NAME, Annotations, Fnv1a, LABEL_VALUE_BYTES_MAX, Labels, cut},
    observation::Observation,
};
use crate::{
    detector::{DriftTest, Verdict},
    report::{ColumnReport, ColumnVerdict, DriftReport, Headline},
    stats::{Tail, count_of, float},
};

/// The label that names the column.
const FEATURE: &str = "feature";
/// Columns that an alert names.
const COLUMNS_NAMED: usize = 5;
/// The value of `feature` for all columns beyond the limit.
const OTHER_FEATURES: &str = "other";
/// The value of `feature` for tests of whole rows.
const ROWS_FEATURE: &str = "(rows)";

/// How many alerts drift makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Granularity {
    /// One for each column, told together by the router.
    #[default]
    Column,
    /// One for the model version.
    Model,
}

/// Turns drift reports of one model version into observations.
///
/// Values are severities: the effect as a multiple of the smallest that matters, so the threshold
/// is 1. A column that drifted significantly is a breach; one below the threshold and below the
/// rule's `resolve_share` is clear; one with too few rows has no value.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::{ModelName, Timestamp, Version, arrow_array::{ArrayRef, Float64Array, RecordBatch}};
/// use mlops_monitor::{Monitor, ProfileSettings, ReferenceProfile, alert::DriftAlerts};
///
/// let window = |shift: f64| {
///     let values: ArrayRef = Arc::new(Float64Array::from_iter_values((0..500).map(|i| f64::from(i) + shift)));
///     RecordBatch::try_from_iter([("amount", values)])
/// };
/// let profile = ReferenceProfile::from_batch(&window(0.0)?, &ProfileSettings::default())?;
/// let report = Monitor::builder(profile).build()?.observe(&window(250.0)?, Timestamp::from_millis(0));
///
/// let alerts = DriftAlerts::new(ModelName::new("fraud")?, Version(3)).with_runbook("https://wiki/drift");
/// let observations = alerts.observations(&report)?;
/// assert_eq!(observations[0].labels.get("feature"), Some("amount"));
/// assert_eq!(observations[0].annotations.get("reference"), Some("fraud/3"));
/// assert!(observations[0].value >= observations[0].threshold);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct DriftAlerts {
    model: ModelName,
    version: Version,
    granularity: Granularity,
    features_max: usize,
    reference: String,
    run: Option<RunId>,
    runbook: String,
    action: String,
    report_url: String,
}

impl DriftAlerts {
    /// One alert for each of up to 200 columns, the rest sharing one; the reference is the version
    /// itself.
    #[must_use]
    pub fn new(model: ModelName, version: Version) -> Self {
        let reference = format!("{model}/{version}");
        Self {
            model,
            version,
            granularity: Granularity::default(),
            features_max: 200,
            reference,
            run: None,
            runbook: String::new(),
            action: "look at the report; if the change is real and the realized quality falls, retrain".to_owned(),
            report_url: String::new(),
        }
    }

    /// One alert for each column, or one for all.
    #[must_use]
    pub fn with_granularity(mut self, granularity: Granularity) -> Self {
        self.granularity = granularity;
        self
    }

    /// Most columns with an alert of their own.
    #[must_use]
    pub fn with_features_max(mut self, features_max: usize) -> Self {
        self.features_max = features_max;
        self
    }

    /// What the windows are compared with, when it is not the version itself.
    #[must_use]
    pub fn with_reference(mut self, reference: impl Into<String>) -> Self {
        self.reference = reference.into();
        self
    }

    /// The run that trained the version.
    #[must_use]
    pub fn with_run(mut self, run: RunId) -> Self {
        self.run = Some(run);
        self
    }

    /// Where it is written what to do.
    #[must_use]
    pub fn with_runbook(mut self, url: impl Into<String>) -> Self {
        self.runbook = url.into();
        self
    }

    /// What to do, in a sentence.
    #[must_use]
    pub fn with_action(mut self, action: impl Into<String>) -> Self {
        self.action = action.into();
        self
    }

    /// Where the report can be looked at.
    #[must_use]
    pub fn with_report_url(mut self, url: impl Into<String>) -> Self {
        self.report_url = url.into();
        self
    }

    /// The observations of one report, in order of column names; tests of whole rows share one, the last, whose
    /// `feature` is `(rows)`.
    ///
    /// # Errors
    /// `InvalidArgument` when the model's name is longer than a label may be.
    pub fn observations(&self, report: &DriftReport) -> Result<Vec<Observation>> {
        if self.granularity == Granularity::Model {
            return Ok(vec![self.whole(report)?]);
        }
        let mut columns: Vec<&ColumnReport> = report.columns().iter().collect();
        columns.sort_by(|a, b| a.name.cmp(&b.name));
        let (own, shared) = columns.split_at_checked(self.features_max).unwrap_or((&columns, &[]));
        let own = own.iter().map(|column| self.column(column, report));
        let shared = shared.iter().max_by(|a, b| drift_order(a).total_cmp(&drift_order(b)));
        let shared = shared.map(|worst| {
            let observation = self.column(worst, report)?;
            let labels = observation.labels.with(FEATURE, OTHER_FEATURES)?;
            Ok(Observation { labels, ..observation })
        });
        let rows = (!report.row_reports().is_empty()).then(|| self.rows(report));
        own.chain(shared).chain(rows).collect()
    }

    /// All tests of whole rows share one alert.
    fn rows(&self, report: &DriftReport) -> Result<Observation> {
        let (value, significant) = rows_judged(report);
        let (found, verdict) = if report.rows_drifted() { ("drift", "drift") } else { ("no drift", "ok") };
        let mut observation = Observation::new(self.labels(ROWS_FEATURE)?, report.window_end(), value, 1.0)
            .with_significance(significant)
            .with_annotation("summary", format!("{found} of whole rows of {}", self.model))
            .with_annotation("verdict", verdict);
        observation.annotations = self.annotate(observation.annotations, None, report);
        Ok(observation.with_generator_url(self.report_url.clone()))
    }

    fn labels(&self, feature: &str) -> Result<Labels> {
        Labels::new([
            (ALERT_NAME, "Drift"),
            ("monitor", "drift"),
            ("model", self.model.as_str()),
            ("version", &self.version.to_string()),
            (FEATURE, &label_value(feature)),
        ])
    }

    fn column(&self, column: &ColumnReport, report: &DriftReport) -> Result<Observation> {
        let labels = self.labels(&column.name)?;
        let (value, significant) = judged(column);
        let name = &column.name;
        let summary = match column.verdict {
            ColumnVerdict::Missing => format!("column {name} of {} is missing", self.model),
            ColumnVerdict::Retyped => format!("column {name} of {} has a type that cannot be compared", self.model),
            ColumnVerdict::Drift => format!("drift in column {name} of {}", self.model),
            _ => format!("no drift in column {name} of {}", self.model),
        };
        let mut observation = Observation::new(labels, report.window_end(), value, 1.0)
            .with_significance(significant)
            .with_annotation("summary", summary)
            .with_annotation("verdict", column.verdict.as_str());
        observation.annotations = self.annotate(observation.annotations, Some(column), report);
        Ok(observation.with_generator_url(self.report_url.clone()))
    }

    fn whole(&self, report: &DriftReport) -> Result<Observation> {
        let labels = self.labels("")?;
        let worst = report.columns().iter().max_by(|a, b| drift_order(a).total_cmp(&drift_order(b)));
        let (value, significant) = match report.verdict() {
            Headline::Insufficient => (f64::NAN, false),
            Headline::Drift if report.drifted().next().is_none() => rows_judged(report),
            Headline::Ok | Headline::Drift => worst.map_or((0.0, false), judged),
        };
        let mut observation = Observation::new(labels, report.window_end(), value, 1.0)
            .with_significance(significant)
            .with_annotation("summary", format!("{}: {}", self.model, report.headline()))
            .with_annotation("verdict", report.verdict().as_str());
        observation.annotations = self.annotate(observation.annotations, worst, report);
        Ok(observation.with_generator_url(self.report_url.clone()))
    }

    /// What every alert tells: the numbers of the worst test, the worst columns, and what to do.
    fn annotate(
        &self,
        mut annotations: Annotations,
        column: Option<&ColumnReport>,
        report: &DriftReport,
    ) -> Annotations {
        if let Some(test) = column.and_then(worst_test) {
            annotations = numbers(annotations, test);
        }
        let named = report.drifted().take(COLUMNS_NAMED);
        let named: Vec<String> = named.map(|column| format!("{} ({:.3})", column.name, column.severity())).collect();
        let (drifted, all) = (report.drifted().count(), report.columns().len());
        let texts = [
            ("columns", named.join(", ")),
            ("columns_drifted", format!("{drifted} of {all}")),
            ("window_end", report.window_end().to_string()),
            ("reference", self.reference.clone()),
            ("run_id", self.run.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("runbook_url", self.runbook.clone()),
            ("action", self.action.clone()),
        ];
        let told = texts.iter().filter(|(_, text)| !text.is_empty());
        told.fold(annotations, |annotations, (name, text)| annotations.with(*name, text))
    }
}

/// A column's value against a threshold of 1, and whether it counts beyond it.
fn judged(column: &ColumnReport) -> (f64, bool) {
    match column.verdict {
        ColumnVerdict::Missing | ColumnVerdict::Retyped => (f64::INFINITY, true),
        ColumnVerdict::Insufficient { .. } => (f64::NAN, false),
        ColumnVerdict::Degenerate => (0.0, false),
        // A test may find drift with an effect that is just there; the verdict says it counts.
        ColumnVerdict::Drift => (column.severity().max(1.0), true),
        ColumnVerdict::Ok => (column.severity(), false),
    }
}

/// The same of whole rows: their worst test that found drift, or else the worst; no value when none could run.
fn rows_judged(report: &DriftReport) -> (f64, bool) {
    let ran = report.row_reports().iter().filter_map(|report| report.outcome.as_ref().ok()).map(|found| &found.test);
    let significant = report.rows_drifted();
    let counted = ran.filter(|test| test.verdict == if significant { Verdict::Drift } else { Verdict::Ok });
    let value = counted.map(DriftTest::severity).fold(f64::NAN, f64::max);
    (if significant { value.max(1.0) } else { value }, significant)
}

/// By severity, with what drifted before what did not, and what has no value last.
fn drift_order(column: &ColumnReport) -> f64 {
    let (value, significant) = judged(column);
    match (value.is_nan(), significant) {
        (true, _) => f64::NEG_INFINITY,
        (false, true) => 1.0 + value,
        (false, false) => value.min(1.0),
    }
}

fn worst_test(column: &ColumnReport) -> Option<&DriftTest> {
    let order = |test: &DriftTest| (test.verdict == Verdict::Drift, test.severity());
    column.tests.iter().max_by(|a, b| {
        let ((a_drift, a_severity), (b_drift, b_severity)) = (order(a), order(b));
        a_drift.cmp(&b_drift).then_with(|| a_severity.total_cmp(&b_severity))
    })
}

fn numbers(annotations: Annotations, test: &DriftTest) -> Annotations {
    let tail = |tail: Option<Tail>| tail.map_or(f64::NAN, Tail::log10);
    annotations
        .with("test", test.name)
        .with("effect", Short(test.effect))
        .with("effect_min", Short(test.effect_min))
        .with("log10_p", Short(tail(test.tail)))
        .with("log10_q", Short(tail(test.corrected)))
        .with("n_ref", test.n_ref)
        .with("n_cur", test.n_cur)
        .with("mde", Short(test.mde))
}

/// A number in a sentence: four digits after the first are plenty.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        if self.0.is_finite() && size > 0.0 && !(1e-3..1e5).contains(&size) {
            write!(f, "{:.4e}", self.0)
        } else {
            write!(f, "{}", (self.0 * 1e4).round() / 1e4)
        }
    }
}

/// A name of any length as a label's value; two long ones that differ stay different.
fn label_value(name: &str) -> String {
    if name.len() <= LABEL_VALUE_BYTES_MAX {
        return name.to_owned();
    }
    let mut hash = Fnv1a::default();
    hash.field(name);
    format!("{}~{:016x}", cut(name, LABEL_VALUE_BYTES_MAX - 17), hash.finish())
}

/// What the checks of a batch say, as an observation of the monitor `quality`: the number of rules
/// that failed against a threshold of 1. While it fires, it inhibits alerts of drift for the same
/// `model`.
///
/// `labels` may name the model, version and suite; `alertname` is `QualityFailed` unless given.
///
/// # Errors
/// `InvalidArgument` when there would be more labels than an alert may have.
pub fn quality_observation(labels: &Labels, outcome: &CheckOutcome, window_end: Timestamp) -> Result<Observation> {
    let mut labels = labels.with("monitor", "quality")?;
    if labels.get(ALERT_NAME).is_none() {
        labels = labels.with(ALERT_NAME, "QualityFailed")?;
    }
    let failed = count_of(outcome.failures.len());
    let named = outcome.failures.iter().take(COLUMNS_NAMED).map(|failure| match &failure.column {
        Some(column) => format!("{}({column}): {}", failure.rule, failure.message),
        None => format!("{}: {}", failure.rule, failure.message),
    });
    let named: Vec<String> = named.collect();
    Ok(Observation::new(labels, window_end, float(failed), 1.0)
        .with_annotation("summary", format!("{failed} data-quality rules failed"))
        .with_annotation("rules", named.join("; "))
        .with_annotation("window_end", window_end)
        .with_annotation("action", "stop, mend the data; do not retrain on it"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mlops_core::{
        CheckFailure,
        arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray},
    };

    use super::*;
    use crate::{
        Monitor, ProfileSettings, ReferenceProfile,
        alert::{AlertRule, Reading},
    };

    fn numbers_from(start: i32, rows: i32) -> ArrayRef {
        Arc::new(Float64Array::from_iter_values((0..rows).map(|i| f64::from(i % 100 + start))))
    }

    fn report(window: &RecordBatch) -> DriftReport {
        let names = ["constant", "gone", "moved", "retyped", "same"];
        let constant: ArrayRef = Arc::new(Int64Array::from(vec![7; 500]));
        let columns =
            names.map(|name| (name, if name == "constant" { Arc::clone(&constant) } else { numbers_from(0, 500) }));
        let reference = RecordBatch::try_from_iter(columns).unwrap();
        let profile = ReferenceProfile::from_batch(&reference, &ProfileSettings::default()).unwrap();
        Monitor::builder(profile).build().unwrap().observe(window, Timestamp::from_millis(0))
    }

    fn window() -> RecordBatch {
        let words: ArrayRef = Arc::new(StringArray::from(vec!["a"; 500]));
        let constant: ArrayRef = Arc::new(Int64Array::from(vec![7; 500]));
        RecordBatch::try_from_iter([
            ("constant", constant),
            ("moved", numbers_from(60, 500)),
            ("retyped", words),
            ("same", numbers_from(0, 500)),
        ])
        .unwrap()
    }

    fn alerts() -> DriftAlerts {
        DriftAlerts::new(ModelName::new("fraud").unwrap(), Version(3))
    }

    fn readings(alerts: &DriftAlerts, window: &RecordBatch) -> Vec<(String, Reading)> {
        let rule = AlertRule::default();
        let observations = alerts.observations(&report(window)).unwrap();
        let read = |o: &Observation| {
            let feature = o.labels.get(FEATURE).unwrap_or_default().to_owned();
            (feature, rule.read(o.value, o.threshold, o.direction, o.significant))
        };
        observations.iter().map(read).collect()
    }

    #[test]
    fn every_column_is_reported_and_means_what_its_verdict_says() {
        let found = readings(&alerts(), &window());
        let expected = [
            ("constant", Reading::Clear),
            ("gone", Reading::Breach),
            ("moved", Reading::Breach),
            ("retyped", Reading::Breach),
            ("same", Reading::Clear),
        ];
        assert_eq!(found, expected.map(|(name, reading)| (name.to_owned(), reading)));
        let few = RecordBatch::try_from_iter([("same", numbers_from(0, 5))]).unwrap();
        assert_eq!(readings(&alerts(), &few)[4], ("same".to_owned(), Reading::Missing));
    }

    #[test]
    fn numbers_are_annotations_and_never_labels() {
        let with =
            alerts().with_run(RunId::new("ab12").unwrap()).with_runbook("https://wiki").with_report_url("https://r");
        let observations = with.observations(&report(&window())).unwrap();
        let moved = &observations[2];
        assert_eq!(
            moved.labels.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            ["alertname", "feature", "model", "monitor", "version"]
        );
        for name in
            ["effect", "effect_min", "log10_p", "log10_q", "n_ref", "n_cur", "mde", "columns", "run_id", "action"]
        {
            assert!(moved.annotations.get(name).is_some_and(|text| !text.is_empty()), "{name}");
        }
        assert!(moved.annotations.get("log10_q").unwrap().parse::<f64>().unwrap() < -10.0);
        assert_eq!(moved.annotations.get("reference"), Some("fraud/3"));
        assert_eq!(moved.annotations.get("columns_drifted"), Some("3 of 5"));
        assert_eq!(moved.generator_url, "https://r");
    }

    #[test]
    fn columns_beyond_the_limit_share_the_alert_of_the_worst() {
        let found = readings(&alerts().with_features_max(2), &window());
        assert_eq!(found.len(), 3);
        assert_eq!(found[2], ("other".to_owned(), Reading::Breach));
        assert_eq!(readings(&alerts().with_features_max(0), &window()), [("other".to_owned(), Reading::Breach)]);
    }

    #[test]
    fn one_alert_for_a_model_names_the_worst_columns() {
        let whole = alerts().with_granularity(Granularity::Model);
        assert_eq!(readings(&whole, &window()), [(String::new(), Reading::Breach)]);
        let observation = whole.observations(&report(&window())).unwrap().remove(0);
        assert!(observation.annotations.get("columns").unwrap().contains("moved"));
        let few = RecordBatch::try_from_iter(["constant", "gone", "moved", "retyped", "same"].map(|name| {
            (
                name,
                if name == "constant" {
                    Arc::new(Int64Array::from(vec![7; 5])) as ArrayRef
                } else {
                    numbers_from(0, 5)
                },
            )
        }));
        assert_eq!(readings(&whole, &few.unwrap()), [(String::new(), Reading::Missing)]);
    }

    #[test]
    fn long_names_stay_apart() {
        let (a, b) = (label_value(&"x".repeat(300)), label_value(&"x".repeat(301)));
        assert!(a != b && a.len() <= LABEL_VALUE_BYTES_MAX && b.len() <= LABEL_VALUE_BYTES_MAX);
        assert!(label_value(&"ü".repeat(200)).len() <= LABEL_VALUE_BYTES_MAX);
        assert_eq!(
            ["0.1235", "1.0000e-7", "NaN", "-123.4568"],
            [0.123_45_f64, 1e-7, f64::NAN, -123.456_78].map(|v| Short(v).to_string())
        );
    }

    #[test]
    fn failed_rules_are_counted_and_named() {
        let failure =
            CheckFailure { rule: "not_null".into(), column: Some("a".into()), message: "3 nulls".into(), rows: vec![] };
        let labels = Labels::new([("model", "fraud")]).unwrap();
        let at = Timestamp::from_millis(0);
        let bad =
            quality_observation(&labels, &CheckOutcome { failures: vec![failure], ..CheckOutcome::default() }, at)
                .unwrap();
        assert_eq!(
            (bad.value, bad.labels.get("monitor"), bad.labels.get(ALERT_NAME)),
            (1.0, Some("quality"), Some("QualityFailed"))
        );
        assert_eq!(bad.annotations.get("rules"), Some("not_null(a): 3 nulls"));
        let rule = AlertRule::default();
        let good = quality_observation(&labels, &CheckOutcome::default(), at).unwrap();
        assert_eq!(rule.read(good.value, good.threshold, good.direction, true), Reading::Clear);
    }
}
