//! Metrics by group and by intersection of groups.
//!
//! Invariant: a group of fewer rows than the minimum has a count and nothing else; a number that
//! chance made is worse than none.

use std::{collections::BTreeMap, fmt, fmt::Write as _};

use mlops_core::{Error, Result};
use mlops_metrics::{Estimate, EstimateOptions, GroupOutcomes, Interval, Measure, Metric, Rate, ScoredRows, wilson};
use serde::{Deserialize, Serialize};

/// What a frame shows of each group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameMetric {
    /// A rate of calls.
    Rate(Rate),
    /// Any metric of labels and scores.
    Measure(Measure),
}

impl From<Rate> for FrameMetric {
    fn from(rate: Rate) -> Self {
        Self::Rate(rate)
    }
}

impl From<Metric> for FrameMetric {
    fn from(metric: Metric) -> Self {
        Self::Measure(metric.into())
    }
}

impl From<Measure> for FrameMetric {
    fn from(measure: Measure) -> Self {
        Self::Measure(measure)
    }
}

impl fmt::Display for FrameMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Measure(measure) => return measure.fmt(f),
            Self::Rate(Rate::Selection) => "selection rate",
            Self::Rate(Rate::TruePositive) => "true positive rate",
            Self::Rate(Rate::FalsePositive) => "false positive rate",
            Self::Rate(Rate::FalseNegative) => "false negative rate",
            Self::Rate(Rate::Precision) => "precision",
            Self::Rate(Rate::Accuracy) => "accuracy",
            Self::Rate(Rate::Base) => "base rate",
        };
        f.write_str(name)
    }
}

/// How a frame is made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrameSettings {
    /// Rows from which a group's numbers are shown, at least 1. Default 30.
    pub rows_min: u64,
    /// How intervals are computed.
    pub estimate: EstimateOptions,
}

impl Default for FrameSettings {
    fn default() -> Self {
        Self { rows_min: 30, estimate: EstimateOptions::default() }
    }
}

/// A value with the interval in which the truth lies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FrameValue {
    /// The value.
    pub value: f64,
    /// Its interval; `None` where no method holds.
    pub interval: Option<Interval>,
}

impl From<Estimate> for FrameValue {
    fn from(estimate: Estimate) -> Self {
        Self { value: estimate.value, interval: estimate.interval }
    }
}

/// A cell of a frame.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// A number.
    Known(FrameValue),
    /// The group has fewer rows than the minimum.
    Insufficient,
    /// The metric is not defined for these rows, and why.
    Undefined(String),
}

impl Cell {
    /// Its value, where there is one.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Known(known) => Some(known.value),
            _ => None,
        }
    }
}

/// Rows and cells of one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameGroup {
    /// Its rows.
    pub rows: u64,
    /// Cells in the order of the frame's metrics.
    pub cells: Vec<Cell>,
}

/// Metrics by group, beside those of all rows.
///
/// ```
/// use mlops_train::fairness::{FrameSettings, MetricFrame, intersections};
/// use mlops_train::metrics::{Metric, Rate};
///
/// let sex: Vec<&str> = (0..200).map(|row| ["f", "m"][row % 2]).collect();
/// let age: Vec<&str> = (0..200).map(|row| if row < 190 { "old" } else { "young" }).collect();
/// let labels: Vec<f64> = (0..200).map(|row| f64::from(u8::from(row % 3 == 0))).collect();
/// let scores: Vec<f64> = (0..200).map(|row| f64::from(row % 7) / 7.0).collect();
/// let metrics = [Rate::Selection.into(), Metric::Accuracy.into()];
///
/// let groups = intersections(&[&sex, &age])?;
/// let frame = MetricFrame::of(&labels, &scores, 0.5, &groups, &metrics, &FrameSettings::default())?;
/// assert_eq!(frame.groups.len(), 4);
/// assert_eq!(frame.insufficient().collect::<Vec<_>>(), ["f|young", "m|young"]);
/// assert!(frame.difference(0)? < 0.2);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricFrame {
    /// The metrics.
    pub metrics: Vec<FrameMetric>,
    /// All rows, whatever their group.
    pub overall: FrameGroup,
    /// Groups by name.
    pub groups: BTreeMap<String, FrameGroup>,
}

/// The groups of rows by several attributes together, their values joined by `|`.
///
/// # Errors
/// `InvalidArgument` when there is no attribute or attributes differ in rows.
pub fn intersections<G: AsRef<str>>(attributes: &[&[G]]) -> Result<Vec<String>> {
    let rows = attributes.first().map_or(0, |values| values.len());
    if rows == 0 || attributes.iter().any(|values| values.len() != rows) {
        return Err(Error::invalid_argument("intersections need attributes of as many rows each, at least one"));
    }
    let name = |row: usize| {
        let values: Vec<&str> = attributes.iter().filter_map(|values| values.get(row)).map(AsRef::as_ref).collect();
        values.join("|")
    };
    Ok((0..rows).map(name).collect())
}

impl MetricFrame {
    /// Computes every metric of every group; rows count as called positive from `threshold` on.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ or are zero, a label is not 0 or 1, a score not finite, a
    /// setting out of range or there is no metric.
    pub fn of<G: AsRef<str>>(
        labels: &[f64],
        scores: &[f64],
        threshold: f64,
        groups: &[G],
        metrics: &[FrameMetric],
        settings: &FrameSettings,
    ) -> Result<Self> {
        settings.estimate.validate()?;
        let finite = scores.iter().all(|score| score.is_finite()) && threshold.is_finite();
        let binary = labels.iter().all(|label| *label == 0.0 || *label == 1.0);
        if labels.is_empty() || labels.len() != scores.len() || labels.len() != groups.len() || !finite || !binary {
            return Err(Error::invalid_argument(
                "a metric frame needs labels 0 and 1 and as many finite scores and groups, at least one",
            ));
        }
        if metrics.is_empty() || settings.rows_min == 0 {
            return Err(Error::invalid_argument("a metric frame needs a metric and a minimum of rows of at least 1"));
        }
        let mut rows_of: BTreeMap<&str, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
        for ((group, label), score) in groups.iter().zip(labels).zip(scores) {
            let rows = rows_of.entry(group.as_ref()).or_default();
            rows.0.push(*label);
            rows.1.push(*score);
        }
        let of_groups = rows_of.into_iter().map(|(group, (labels, scores))| {
            Ok::<_, Error>((group.to_owned(), of_rows(&labels, &scores, threshold, metrics, settings)?))
        });
        Ok(Self {
            metrics: metrics.to_vec(),
            overall: of_rows(labels, scores, threshold, metrics, &FrameSettings { rows_min: 1, ..*settings })?,
            groups: of_groups.collect::<Result<_>>()?,
        })
    }

    /// Groups of fewer rows than the minimum.
    pub fn insufficient(&self) -> impl Iterator<Item = &str> {
        let few = |group: &FrameGroup| group.cells.contains(&Cell::Insufficient);
        self.groups.iter().filter(move |(_, group)| few(group)).map(|(name, _)| name.as_str())
    }

    fn values(&self, metric: usize) -> Result<Vec<f64>> {
        let values: Vec<f64> =
            self.groups.values().filter_map(|group| group.cells.get(metric).and_then(Cell::value)).collect();
        if values.len() < 2 {
            return Err(Error::failed_precondition(format!(
                "a comparison needs two groups with a value of metric {metric}, found {}",
                values.len()
            )));
        }
        Ok(values)
    }

    /// The highest less the lowest value of a metric, by its place in the frame.
    ///
    /// # Errors
    /// `FailedPrecondition` unless two groups have a value.
    pub fn difference(&self, metric: usize) -> Result<f64> {
        let (low, high) = ends(&self.values(metric)?);
        Ok(high - low)
    }

    /// The lowest over the highest value; one when both are zero.
    ///
    /// # Errors
    /// As [`MetricFrame::difference`].
    pub fn ratio(&self, metric: usize) -> Result<f64> {
        let (low, high) = ends(&self.values(metric)?);
        Ok(if high == 0.0 { 1.0 } else { low / high })
    }

    /// The largest distance of a group from all rows.
    ///
    /// # Errors
    /// As [`MetricFrame::difference`]; `FailedPrecondition` when all rows have no value.
    pub fn difference_to_overall(&self, metric: usize) -> Result<f64> {
        let overall = self.overall.cells.get(metric).and_then(Cell::value);
        let overall = overall.ok_or_else(|| Error::failed_precondition("the metric has no value over all rows"))?;
        Ok(self.values(metric)?.iter().map(|value| (value - overall).abs()).fold(0.0, f64::max))
    }

    /// A table with a line per group.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let names: Vec<String> = self.metrics.iter().map(FrameMetric::to_string).collect();
        let mut text = format!("| group | rows | {} |\n|---|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
        let all = self.groups.iter().map(|(name, group)| (name.as_str(), group)).chain([("all rows", &self.overall)]);
        for (name, group) in all {
            let cells: Vec<String> = group.cells.iter().map(shown).collect();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {} | {} | {} |", name.replace('|', " and "), group.rows, cells.join(" | "));
        }
        text
    }
}

fn ends(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)))
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Known(FrameValue { value, interval: Some(interval) }) => {
            format!("{value:.3} ({:.3} to {:.3})", interval.low, interval.high)
        }
        Cell::Known(known) => format!("{:.3}", known.value),
        Cell::Insufficient => "insufficient".to_owned(),
        Cell::Undefined(_) => "undefined".to_owned(),
    }
}

fn of_rows(
    labels: &[f64],
    scores: &[f64],
    threshold: f64,
    metrics: &[FrameMetric],
    settings: &FrameSettings,
) -> Result<FrameGroup> {
    let rows = labels.len() as u64;
    if rows < settings.rows_min {
        return Ok(FrameGroup { rows, cells: vec![Cell::Insufficient; metrics.len()] });
    }
    let mut outcomes = GroupOutcomes::default();
    for (label, score) in labels.iter().zip(scores) {
        outcomes.add("", *label == 1.0, *score >= threshold)?;
    }
    let cell = |metric: &FrameMetric| {
        let found = match metric {
            FrameMetric::Measure(measure) => {
                let scored = ScoredRows::Binary { labels, scores, threshold };
                measure.estimate(&scored, &settings.estimate).map(FrameValue::from)
            }
            FrameMetric::Rate(rate) => {
                let (successes, trials) = outcomes.rate("", *rate).unwrap_or((0, 0));
                wilson(successes, trials, settings.estimate.level)
                    .map(|interval| FrameValue { value: successes as f64 / trials as f64, interval: Some(interval) })
            }
        };
        found.map_or_else(|error| Cell::Undefined(error.message().to_owned()), Cell::Known)
    };
    Ok(FrameGroup { rows, cells: metrics.iter().map(cell).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(rows_min: u64) -> MetricFrame {
        let groups: Vec<&str> = (0..100)
            .map(|row| {
                if row < 60 {
                    "a"
                } else if row < 95 {
                    "b"
                } else {
                    "c"
                }
            })
            .collect();
        let labels: Vec<f64> = (0..100).map(|row| f64::from(u8::from(row % 4 == 0))).collect();
        let scores: Vec<f64> = (0..100).map(|row| if row % 4 == 0 || row % 10 == 1 { 0.9 } else { 0.1 }).collect();
        let metrics = [Rate::Selection.into(), Metric::RocAuc.into(), Rate::Precision.into()];
        let settings = FrameSettings { rows_min, ..FrameSettings::default() };
        MetricFrame::of(&labels, &scores, 0.5, &groups, &metrics, &settings).unwrap()
    }

    #[test]
    fn small_groups_are_counted_and_not_judged() {
        let strict = frame(30);
        assert_eq!(strict.insufficient().collect::<Vec<_>>(), ["c"]);
        assert_eq!(strict.groups["c"].rows, 5);
        let lenient = frame(1);
        assert!(lenient.difference(0).unwrap() >= strict.difference(0).unwrap());
        assert!(strict.to_markdown().contains("| c | 5 | insufficient |"), "{}", strict.to_markdown());
        assert!(frame(90).difference(0).is_err());
    }

    #[test]
    fn every_number_has_an_interval_around_it() {
        for group in frame(30).groups.values().filter(|group| group.rows >= 30) {
            for cell in &group.cells {
                let Cell::Known(known) = cell else { panic!("{cell:?}") };
                assert!(known.interval.unwrap().contains(known.value));
            }
        }
        let json = serde_json::to_string(&frame(30)).unwrap();
        assert_eq!(serde_json::from_str::<MetricFrame>(&json).unwrap(), frame(30));
    }

    #[test]
    fn what_a_group_lacks_is_undefined_there_only() {
        let (labels, scores) = ([0.0, 0.0, 0.0, 1.0], [0.1, 0.9, 0.8, 0.9]);
        let settings = FrameSettings { rows_min: 1, ..FrameSettings::default() };
        let metrics = [Rate::TruePositive.into(), Metric::RocAuc.into()];
        let frame = MetricFrame::of(&labels, &scores, 0.5, &["a", "a", "b", "b"], &metrics, &settings).unwrap();
        assert!(matches!(frame.groups["a"].cells[0], Cell::Undefined(_)));
        assert!(matches!(frame.groups["b"].cells[0], Cell::Known(_)));
        assert!(MetricFrame::of(&labels, &scores, 0.5, &["a"], &metrics, &settings).is_err());
        assert!(MetricFrame::of(&labels, &scores, 0.5, &["a"; 4], &[], &settings).is_err());
    }
}
