//! Where in the data is the model worst?
//!
//! Invariant: every slice is compared with all other rows, so both sides are independent; p-values
//! are corrected for all slices that were looked at. A slice is found, not explained.

use mlops_core::Result;
use mlops_metrics::{Interval, Measure};
use serde::{Deserialize, Serialize};

use super::{
    columns::Task,
    compare,
    reference::PerformanceReference,
    rows::{LabeledRows, Levels, number_edges},
    settings::PerformanceSettings,
};
use crate::stats::{Tail, count_of};

/// Which slices are looked at.
///
/// ```
/// use mlops_monitor::performance::SliceSettings;
///
/// let slices = SliceSettings::new(["country", "age"]);
/// assert!(slices.pairs && slices.support_min == 50);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SliceSettings {
    /// Columns by whose values rows are sliced.
    pub columns: Vec<String>,
    /// Whether to slice by pairs of columns too. Default yes.
    #[serde(default = "yes")]
    pub pairs: bool,
    /// The metric; without one, the first of the report that needs no resampling.
    #[serde(default)]
    pub metric: Option<Measure>,
    /// Fewest rows of a slice and of the rest. Default 50.
    #[serde(default = "fifty")]
    pub support_min: u64,
    /// Most levels of a column, the others pooled. Default 20.
    #[serde(default = "twenty")]
    pub levels_max: usize,
    /// Bins of a numeric column, at quantiles of the reference. Default 4.
    #[serde(default = "four")]
    pub bins: u32,
    /// Most slices that are looked at, single columns first. Default 500.
    #[serde(default = "five_hundred")]
    pub slices_max: usize,
    /// Worst slices in a report. Default 10.
    #[serde(default = "ten")]
    pub top: usize,
}

fn yes() -> bool {
    true
}
fn fifty() -> u64 {
    50
}
fn twenty() -> usize {
    20
}
fn four() -> u32 {
    4
}
fn five_hundred() -> usize {
    500
}
fn ten() -> usize {
    10
}

impl SliceSettings {
    /// Defaults for some columns.
    #[must_use]
    pub fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            columns: columns.into_iter().map(Into::into).collect(),
            pairs: true,
            metric: None,
            support_min: fifty(),
            levels_max: twenty(),
            bins: four(),
            slices_max: five_hundred(),
            top: ten(),
        }
    }

    pub(crate) fn faults(&self, task: &Task) -> Vec<String> {
        let mut faults = Vec::new();
        if matches!(task, Task::Ranking { .. }) {
            faults.push("slices need rows that stand alone, not the lists of a ranking task".to_owned());
        }
        if let Some(measure) = self.metric
            && (measure.is_resampled() || !task.takes(measure))
        {
            faults.push(format!("slices need a metric of the task with a formula for its interval, found {measure}"));
        }
        let bounds = [
            ("levels_max", self.levels_max, 1_000),
            ("bins", self.bins as usize, 100),
            ("slices_max", self.slices_max, 100_000),
            ("columns", self.columns.len(), 100),
        ];
        let outside = bounds.iter().filter(|(_, value, most)| !(1..=*most).contains(value));
        faults.extend(outside.map(|(name, value, most)| format!("slices.{name} must be 1 to {most}, found {value}")));
        if self.support_min < 2 {
            faults.push(format!("slices.support_min must be at least 2, found {}", self.support_min));
        }
        faults
    }

    fn measure(&self, settings: &PerformanceSettings) -> Option<Measure> {
        self.metric.or_else(|| settings.measures().into_iter().find(|measure| !measure.is_resampled()))
    }
}

/// One condition of a slice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceCondition {
    /// The column.
    pub column: String,
    /// Its level, range, `(other)` or `(missing)`.
    pub level: String,
}

/// A slice on which the metric is worse than on the other rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceReport {
    /// Its conditions, one or two.
    pub conditions: Vec<SliceCondition>,
    /// Rows.
    pub n: u64,
    /// The metric on the slice.
    pub value: f64,
    /// The metric on all other rows.
    pub rest: f64,
    /// `value - rest`.
    pub gap: f64,
    /// Where the true gap lies, for this slice alone.
    pub interval: Option<Interval>,
    /// Two-sided p-value.
    pub p: f64,
    /// After correction for all slices, as decimal logarithm.
    pub log10_q: f64,
    /// Whether the corrected p-value is within [`PerformanceSettings::fdr`].
    pub significant: bool,
}

/// The worst slices of a window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlicesReport {
    /// The metric.
    pub metric: Measure,
    /// Worst first: significant ones, then by gap.
    pub worst: Vec<SliceReport>,
    /// Slices that were compared.
    pub tested: u64,
    /// Slices with too few rows on one side.
    pub small: u64,
    /// Slices on which the metric is not defined.
    pub undefined: u64,
    /// Columns and pairs of columns that were left out, or cut short, at `slices_max`.
    pub skipped: u64,
}

/// Slices of one window.
pub(crate) fn report(
    settings: &PerformanceSettings,
    slices: &SliceSettings,
    rows: &LabeledRows,
    reference: Option<&PerformanceReference>,
) -> Option<SlicesReport> {
    let metric = slices.measure(settings)?;
    let columns: Vec<Column<'_>> = slices
        .columns
        .iter()
        .map(|name| {
            let cells = rows.column(name).unwrap_or_default();
            let edges = reference.and_then(|reference| reference.edges(name));
            let edges = edges.map_or_else(|| number_edges(cells, slices.bins), <[f64]>::to_vec);
            (name, Levels::of(cells, &edges, slices.levels_max))
        })
        .collect();
    let mut report = SlicesReport { metric, worst: Vec::new(), tested: 0, small: 0, undefined: 0, skipped: 0 };
    let mut found: Vec<(SliceReport, Tail)> = Vec::new();
    let mut budget = slices.slices_max;
    for group in groups(columns.len(), slices.pairs) {
        // One group's rows at a time, and none beyond the bound.
        let candidates = if budget == 0 { Vec::new() } else { candidates(&columns, group) };
        report.skipped += u64::from(budget == 0 || candidates.len() > budget);
        for (conditions, members) in candidates.into_iter().take(budget) {
            budget -= 1;
            if count_of(members.len()).min(count_of(rows.len() - members.len())) < slices.support_min {
                report.small += 1;
                continue;
            }
            match compare(settings, metric, rows, &members, conditions) {
                Ok(Some(slice)) => found.push(slice),
                Ok(None) | Err(_) => report.undefined += 1,
            }
        }
    }
    report.tested = count_of(found.len());
    report.worst = worst(found, metric, settings, slices.top);
    Some(report)
}

/// Columns by which rows are sliced together: each alone, then pairs.
fn groups(columns: usize, pairs: bool) -> impl Iterator<Item = (usize, Option<usize>)> {
    let pairs = (0..columns).filter(move |_| pairs).flat_map(move |i| (i + 1..columns).map(move |j| (i, Some(j))));
    (0..columns).map(|column| (column, None)).chain(pairs)
}

type Column<'a> = (&'a String, Levels);

/// The slices of a group, with their rows in ascending order.
fn candidates(
    columns: &[Column<'_>],
    (first, second): (usize, Option<usize>),
) -> Vec<(Vec<SliceCondition>, Vec<usize>)> {
    let condition = |(name, levels): &Column<'_>, id: usize| SliceCondition {
        column: (*name).clone(),
        level: levels.names.get(id).cloned().unwrap_or_default(),
    };
    let Some(first) = columns.get(first) else { return Vec::new() };
    let Some(second) = second.and_then(|second| columns.get(second)) else {
        let buckets = buckets(first.1.ids.iter().copied(), first.1.names.len());
        return buckets.into_iter().map(|(id, rows)| (vec![condition(first, id)], rows)).collect();
    };
    let width = second.1.names.len();
    let ids = first.1.ids.iter().zip(&second.1.ids).map(|(a, b)| a * width + b);
    let buckets = buckets(ids, first.1.names.len() * width);
    let conditions = |id: usize| vec![condition(first, id / width), condition(second, id % width)];
    buckets.into_iter().map(|(id, rows)| (conditions(id), rows)).collect()
}

/// The rows of each id that occurs; at most `levels_max` squared ids.
fn buckets(ids: impl Iterator<Item = usize>, count: usize) -> Vec<(usize, Vec<usize>)> {
    let mut buckets = vec![Vec::new(); count];
    for (row, id) in ids.enumerate() {
        if let Some(bucket) = buckets.get_mut(id) {
            bucket.push(row);
        }
    }
    buckets.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()).collect()
}

fn compare(
    settings: &PerformanceSettings,
    metric: Measure,
    rows: &LabeledRows,
    members: &[usize],
    conditions: Vec<SliceCondition>,
) -> Result<Option<(SliceReport, Tail)>> {
    let mut inside = vec![false; rows.len()];
    members.iter().for_each(|&row| inside.iter_mut().skip(row).take(1).for_each(|flag| *flag = true));
    let outside = inside.iter().enumerate().filter(|(_, inside)| !**inside).map(|(row, _)| row);
    let estimate = |rows: super::rows::Outcomes| rows.estimate(&settings.task, metric, &settings.estimates);
    let slice = estimate(rows.outcomes.select(members.iter().copied()))?;
    let rest = estimate(rows.outcomes.select(outside))?;
    let Some(tail) = compare::tail(&slice, &rest) else { return Ok(None) };
    let report = SliceReport {
        conditions,
        n: slice.n,
        value: slice.value,
        rest: rest.value,
        gap: slice.value - rest.value,
        interval: slice.difference(&rest),
        p: tail.p(),
        log10_q: 0.0,
        significant: false,
    };
    Ok(Some((report, tail)))
}

fn worst(
    found: Vec<(SliceReport, Tail)>,
    metric: Measure,
    settings: &PerformanceSettings,
    top: usize,
) -> Vec<SliceReport> {
    let tails: Vec<Tail> = found.iter().map(|(_, tail)| *tail).collect();
    let corrected = settings.correction.adjust(&tails);
    let mut slices: Vec<SliceReport> = found.into_iter().map(|(slice, _)| slice).collect();
    for (slice, tail) in slices.iter_mut().zip(corrected) {
        // Of a difference that is certain.
        slice.log10_q = tail.log10().max(f64::MIN);
        slice.significant = tail.ln() <= settings.fdr.ln();
    }
    let harm = |slice: &SliceReport| metric.loss(slice.value) - metric.loss(slice.rest);
    slices.retain(|slice| harm(slice) > 0.0);
    slices.sort_by(|a, b| b.significant.cmp(&a.significant).then(harm(b).total_cmp(&harm(a))));
    slices.truncate(top);
    slices
}
