//! Are groups treated alike, window after window?
//!
//! Invariant: an alert needs the whole interval beyond the limit, so a small group cannot raise one
//! by chance alone; groups with too few rows take no part and are named. It measures; what is
//! acceptable is a setting.

use mlops_core::{Result, Timestamp};
use mlops_metrics::{FairnessGap, FairnessMetric, GroupOutcomes, Rate};
use serde::{Deserialize, Serialize};

use super::{
    columns::Task,
    reference::PerformanceReference,
    rows::{LabeledRows, Levels, number_edges},
};

/// Which attributes are protected and how far groups may differ.
///
/// ```
/// use mlops_monitor::performance::FairnessSettings;
///
/// let settings = FairnessSettings::new(["sex"]);
/// assert_eq!((settings.difference_max, settings.ratio_min), (0.1, 0.8));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FairnessSettings {
    /// Columns of protected attributes; numbers (such as an age) are cut at quantiles of the
    /// reference.
    pub protected: Vec<String>,
    /// Metrics; without any, all.
    #[serde(default)]
    pub metrics: Vec<FairnessMetric>,
    /// Largest difference that is fair. Default 0.1.
    #[serde(default = "tenth")]
    pub difference_max: f64,
    /// Smallest ratio that is fair: 0.8, the four-fifths rule of the US Uniform Guidelines on
    /// Employee Selection Procedures (29 CFR 1607.4 D), by default.
    #[serde(default = "four_fifths")]
    pub ratio_min: f64,
    /// Fewest rows of a group. Default 30.
    #[serde(default = "thirty")]
    pub rows_min: u64,
    /// Most groups of an attribute, the others pooled. Default 20.
    #[serde(default = "twenty")]
    pub groups_max: usize,
    /// Groups of a numeric attribute. Default 4.
    #[serde(default = "four")]
    pub bins: u32,
    /// Windows whose values are remembered. Default 400.
    #[serde(default = "four_hundred")]
    pub history_max: usize,
}

fn tenth() -> f64 {
    0.1
}
fn four_fifths() -> f64 {
    0.8
}
fn thirty() -> u64 {
    30
}
fn twenty() -> usize {
    20
}
fn four() -> u32 {
    4
}
fn four_hundred() -> usize {
    400
}

impl FairnessSettings {
    /// Defaults for some attributes.
    #[must_use]
    pub fn new(protected: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            protected: protected.into_iter().map(Into::into).collect(),
            metrics: Vec::new(),
            difference_max: tenth(),
            ratio_min: four_fifths(),
            rows_min: thirty(),
            groups_max: twenty(),
            bins: four(),
            history_max: four_hundred(),
        }
    }

    fn measures(&self) -> Vec<FairnessMetric> {
        if self.metrics.is_empty() { FairnessMetric::all().collect() } else { self.metrics.clone() }
    }

    fn limit(&self, metric: FairnessMetric) -> f64 {
        if metric.is_ratio() { self.ratio_min } else { self.difference_max }
    }

    pub(crate) fn faults(&self, task: &Task) -> Vec<String> {
        let mut faults = Vec::new();
        if !matches!(task, Task::Binary { .. }) {
            faults.push("fairness needs a task with two classes".to_owned());
        }
        for (name, value) in [("difference_max", self.difference_max), ("ratio_min", self.ratio_min)] {
            if !(0.0..=1.0).contains(&value) {
                faults.push(format!("fairness.{name} must be 0 to 1, found {value}"));
            }
        }
        let bounds = [
            ("groups_max", self.groups_max, 500),
            ("bins", self.bins as usize, 100),
            ("history_max", self.history_max, 100_000),
            ("protected", self.protected.len(), 100),
        ];
        let outside = bounds.iter().filter(|(_, value, most)| !(1..=*most).contains(value));
        faults.extend(outside.map(|(name, value, most)| format!("fairness.{name} must be 1 to {most}, found {value}")));
        faults
    }
}

/// The verdict on one fairness metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FairnessVerdict {
    /// Within the limit.
    Ok,
    /// Beyond the limit, but so could a fair model be by chance.
    Watch,
    /// Beyond the limit with the whole interval.
    Unfair,
    /// Fewer than two groups have enough rows and the rate.
    Insufficient,
}

/// One fairness metric of one window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FairnessValue {
    /// The metric.
    pub metric: FairnessMetric,
    /// Its value with the groups that set it and the interval; none when insufficient.
    #[serde(flatten)]
    pub gap: Option<FairnessGap>,
    /// The limit.
    pub limit: f64,
    /// The verdict.
    pub verdict: FairnessVerdict,
}

/// One group of one window. Rates without a denominator are null.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// The group.
    pub group: String,
    /// Its rows.
    pub n: u64,
    /// Share called positive.
    pub selection_rate: Option<f64>,
    /// Share of positives called so.
    pub true_positive_rate: Option<f64>,
    /// Share of negatives called positive.
    pub false_positive_rate: Option<f64>,
    /// Share of those called positive that are.
    pub precision: Option<f64>,
    /// Share rightly called.
    pub accuracy: Option<f64>,
    /// Share of positives.
    pub base_rate: Option<f64>,
    /// Whether it has enough rows to be compared.
    pub compared: bool,
}

/// Fairness of one window with respect to one attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FairnessReport {
    /// The protected attribute.
    pub attribute: String,
    /// Its groups by name.
    pub groups: Vec<GroupReport>,
    /// The metrics.
    pub metrics: Vec<FairnessValue>,
}

/// One value of a series over time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FairnessPoint {
    /// When the window ended.
    pub window_end: Timestamp,
    /// The value; none when insufficient.
    pub value: Option<f64>,
    /// Ends of its interval.
    pub interval: Option<(f64, f64)>,
    /// The verdict.
    pub verdict: FairnessVerdict,
}

impl FairnessValue {
    pub(crate) fn point(&self, window_end: Timestamp) -> FairnessPoint {
        let interval = self.gap.as_ref().and_then(|gap| gap.interval).map(|interval| (interval.low, interval.high));
        FairnessPoint { window_end, value: self.gap.as_ref().map(|gap| gap.value), interval, verdict: self.verdict }
    }
}

/// Fairness of one window, attribute by attribute.
pub(crate) fn report(
    task: &Task,
    settings: &FairnessSettings,
    rows: &LabeledRows,
    (reference, level): (Option<&PerformanceReference>, f64),
) -> Result<Vec<FairnessReport>> {
    let called = rows.outcomes.predicted(task);
    let mut reports = Vec::new();
    for attribute in &settings.protected {
        let cells = rows.column(attribute).unwrap_or_default();
        let edges = reference.and_then(|reference| reference.edges(attribute));
        let edges = edges.map_or_else(|| number_edges(cells, settings.bins), <[f64]>::to_vec);
        let levels = Levels::of(cells, &edges, settings.groups_max);
        let mut outcomes = GroupOutcomes::default();
        for ((id, label), called) in levels.ids.iter().zip(&rows.outcomes.labels).zip(&called) {
            let group = levels.names.get(*id).map_or("(missing)", String::as_str);
            outcomes.add(group, *label > 0.5, *called == 1)?;
        }
        let groups = outcomes.groups().map(|(group, _)| group_report(&outcomes, group, settings.rows_min)).collect();
        let large = outcomes.with_rows_min(settings.rows_min);
        let metrics = settings.measures().into_iter().map(|metric| value(settings, metric, &large, level)).collect();
        reports.push(FairnessReport { attribute: attribute.clone(), groups, metrics });
    }
    Ok(reports)
}

fn value(settings: &FairnessSettings, metric: FairnessMetric, outcomes: &GroupOutcomes, level: f64) -> FairnessValue {
    let limit = settings.limit(metric);
    let Ok(gap) = outcomes.gap(metric, level) else {
        return FairnessValue { metric, gap: None, limit, verdict: FairnessVerdict::Insufficient };
    };
    let beyond = |value: f64| if metric.is_ratio() { value < limit } else { value > limit };
    let certain =
        gap.interval.is_some_and(|interval| beyond(if metric.is_ratio() { interval.high } else { interval.low }));
    let verdict = match (beyond(gap.value), certain) {
        (false, _) => FairnessVerdict::Ok,
        (true, false) => FairnessVerdict::Watch,
        (true, true) => FairnessVerdict::Unfair,
    };
    FairnessValue { metric, gap: Some(gap), limit, verdict }
}

fn group_report(outcomes: &GroupOutcomes, group: &str, rows_min: u64) -> GroupReport {
    use crate::stats::float;
    let counts = |rate| outcomes.rate(group, rate).unwrap_or_default();
    let share = |rate| match counts(rate) {
        (_, 0) => None,
        (successes, trials) => Some(float(successes) / float(trials)),
    };
    let n = counts(Rate::Selection).1;
    GroupReport {
        group: group.to_owned(),
        n,
        selection_rate: share(Rate::Selection),
        true_positive_rate: share(Rate::TruePositive),
        false_positive_rate: share(Rate::FalsePositive),
        precision: share(Rate::Precision),
        accuracy: share(Rate::Accuracy),
        base_rate: share(Rate::Base),
        compared: n >= rows_min,
    }
}
