//! What is known of one model version, bounded.
//!
//! Invariant: at most the settings' numbers of features, rules and estimates, each plus `other` where there is
//! pooling; the features kept are the worst of the latest report, so the same report gives the same series.

use std::{collections::BTreeMap, time::Duration};

use mlops_core::{Error, Result, Timestamp};

use super::{
    families::{self, Durations, Family, Point, Value},
    metrics::{EstimateKind, MetricsSettings, PerformanceEstimate},
};
use crate::{
    report::{ColumnReport, DriftReport, Headline},
    stats::{count_of, float},
};

/// The label of what is beyond a bound.
pub(super) const OTHER: &str = "other";
/// Longest label value, in characters.
const LABEL_CHARS_MAX: usize = 120;

/// A label value of bounded length without control characters.
pub(super) fn label(text: &str) -> String {
    text.chars().take(LABEL_CHARS_MAX).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[derive(Debug, Clone, Default)]
pub(super) struct ModelState {
    /// When it was last written to, in the order of writes.
    pub(super) touched: u64,
    features: BTreeMap<String, Feature>,
    drifted_ratio: Option<f64>,
    rows: Option<u64>,
    durations: Durations,
    runs: BTreeMap<&'static str, u64>,
    violations: BTreeMap<(String, String), u64>,
    estimates: BTreeMap<(String, &'static str), PerformanceValues>,
    last_success: Option<Timestamp>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Feature {
    scores: BTreeMap<&'static str, Score>,
    detected: bool,
    missing: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Score {
    effect: f64,
    p: f64,
    log10_p: f64,
}

type PerformanceValues = (f64, Option<(f64, f64)>);

impl Feature {
    fn of(column: &ColumnReport) -> Self {
        let score = |test: &crate::DriftTest| Score { effect: test.effect, p: test.p(), log10_p: test.log10_p() };
        Self {
            scores: column.tests.iter().map(|test| (test.name, score(test))).collect(),
            detected: column.verdict.is_drift(),
            missing: column.missing_cur,
        }
    }

    /// The worse of both in everything, for features that share a label.
    fn merge(&mut self, other: Self) {
        self.detected |= other.detected;
        self.missing = self.missing.max(other.missing);
        for (method, score) in other.scores {
            let known = self.scores.entry(method).or_insert(score);
            known.effect = known.effect.max(score.effect);
            known.p = known.p.min(score.p);
            known.log10_p = known.log10_p.min(score.log10_p);
        }
    }
}

impl ModelState {
    pub(super) fn drift(
        &mut self,
        report: &DriftReport,
        duration: Duration,
        now: Timestamp,
        settings: &MetricsSettings,
    ) {
        let columns = report.columns();
        self.features.clear();
        let pooled = columns.len() > settings.features_max;
        for (index, column) in columns.iter().enumerate() {
            let name = label(&column.name);
            // A feature that is called like the pool joins it, where there is one.
            let alone = index < settings.features_max && !(pooled && name == OTHER);
            let name = if alone { name } else { OTHER.to_owned() };
            let feature = Feature::of(column);
            match self.features.get_mut(&name) {
                Some(known) => known.merge(feature),
                None => drop(self.features.insert(name, feature)),
            }
        }
        let drifted = float(count_of(report.drifted().count()));
        self.drifted_ratio = (!columns.is_empty()).then(|| drifted / float(count_of(columns.len())));
        self.rows = Some(report.rows().1);
        self.last_success = Some(now);
        self.run(outcome(report.verdict()), duration);
    }

    pub(super) fn run(&mut self, outcome: &'static str, duration: Duration) {
        self.durations.add(duration.as_secs_f64());
        let runs = self.runs.entry(outcome).or_default();
        *runs = runs.saturating_add(1);
    }

    pub(super) fn violations(&mut self, (rule, severity): (&str, &str), by: u64, settings: &MetricsSettings) {
        let key = (label(rule), label(severity));
        let full = self.violations.len() >= settings.rules_max && !self.violations.contains_key(&key);
        let key = if full { (OTHER.to_owned(), OTHER.to_owned()) } else { key };
        let count = self.violations.entry(key).or_default();
        *count = count.saturating_add(by);
    }

    pub(super) fn estimate(&mut self, estimate: &PerformanceEstimate<'_>, settings: &MetricsSettings) -> Result<()> {
        let key = (label(estimate.metric), EstimateKind::as_str(estimate.kind));
        if self.estimates.len() >= settings.estimates_max && !self.estimates.contains_key(&key) {
            let most = settings.estimates_max;
            return Err(Error::resource_exhausted(format!(
                "performance metric {:?}: at most {most} are kept for a model version; raise estimates_max",
                estimate.metric
            )));
        }
        self.estimates.insert(key, (estimate.value, estimate.interval));
        Ok(())
    }

    /// The points of one family, with `own` labels first.
    pub(super) fn points(&self, family: &Family, own: &[(&'static str, String)]) -> Vec<Point> {
        let point = |labels: &[(&'static str, &str)], value: Value| {
            let more = labels.iter().map(|(name, value)| (*name, (*value).to_owned()));
            Point { labels: own.iter().cloned().chain(more).collect(), value }
        };
        let number = |labels: &[(&'static str, &str)], value: f64| {
            (!value.is_nan()).then(|| point(labels, Value::Number(value)))
        };
        let scores = |of: fn(&Score) -> f64| {
            let all = self.features.iter().flat_map(|(name, feature)| feature.scores.iter().map(move |s| (name, s)));
            all.filter_map(|(name, (method, score))| number(&[("feature", name), ("method", method)], of(score)))
                .collect()
        };
        let features = |of: fn(&Feature) -> f64| {
            self.features.iter().filter_map(|(name, feature)| number(&[("feature", name)], of(feature))).collect()
        };
        let estimates = |of: fn(&PerformanceValues) -> Option<f64>| {
            let known = self.estimates.iter().filter_map(|(key, values)| Some((key, of(values)?)));
            known.filter_map(|((metric, kind), value)| number(&[("metric", metric), ("kind", kind)], value)).collect()
        };
        let one = |value: Option<f64>| value.and_then(|value| number(&[], value)).into_iter().collect();
        match family.name {
            name if name == families::SCORE.name => scores(|score| score.effect),
            name if name == families::PVALUE.name => scores(|score| score.p),
            // Adding zero turns the negative zero of a p-value of one into zero.
            name if name == families::NEG_LOG10_PVALUE.name => scores(|score| 0.0 - score.log10_p),
            name if name == families::DETECTED.name => features(|feature| if feature.detected { 1.0 } else { 0.0 }),
            name if name == families::MISSING_RATIO.name => features(|feature| feature.missing),
            name if name == families::DRIFTED_RATIO.name => one(self.drifted_ratio),
            name if name == families::ROWS.name => one(self.rows.map(float)),
            name if name == families::DURATION.name => {
                let known = self.durations.count() > 0;
                known.then(|| point(&[], Value::Histogram(self.durations))).into_iter().collect()
            }
            name if name == families::RUNS.name => {
                let runs = self.runs.iter();
                runs.map(|(outcome, count)| point(&[("outcome", outcome)], Value::Count(*count))).collect()
            }
            name if name == families::VIOLATIONS.name => {
                let labels = |(rule, severity): &(String, String), count: &u64| {
                    point(&[("rule", rule), ("severity", severity)], Value::Count(*count))
                };
                self.violations.iter().map(|(key, count)| labels(key, count)).collect()
            }
            name if name == families::ESTIMATE.name => estimates(|values| Some(values.0)),
            name if name == families::ESTIMATE_LOWER.name => estimates(|values| Some(values.1?.0)),
            name if name == families::ESTIMATE_UPPER.name => estimates(|values| Some(values.1?.1)),
            #[allow(clippy::cast_precision_loss, reason = "microseconds since 1970 are below 2^53 until 2255")]
            name if name == families::LAST_SUCCESS.name => {
                one(self.last_success.map(|time| time.as_micros() as f64 / 1e6))
            }
            _ => Vec::new(),
        }
    }
}

fn outcome(verdict: Headline) -> &'static str {
    match verdict {
        Headline::Ok => "ok",
        Headline::Drift => "drift",
        Headline::Insufficient => "insufficient",
    }
}
