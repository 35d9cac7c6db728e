//! Predictions with their labels, in columns.
//!
//! Invariant: all columns have as many entries as there are labels; scores and labels are finite.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use mlops_core::{Result, Timestamp};
use mlops_metrics::{ClassRows, Estimate, EstimateOptions, Measure, ScoredRows};
use serde::{Deserialize, Serialize};

use super::{
    columns::{RowColumns, Task},
    intake,
};
use crate::{
    extract,
    sample::ColumnKind,
    stats::{bin_counts, quantile_edges},
};

/// A value of a kept column.
#[derive(Debug, Clone, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Null, not a number, or a column that was not there.
    Missing,
    /// A finite number.
    Number(f64),
    /// A level of a category.
    Level(Box<str>),
}

/// The values of a column, row by row; all missing for types that have no comparison.
pub(crate) fn cells(column: Option<&ArrayRef>, rows: usize) -> Vec<Cell> {
    let Some(column) = column.and_then(extract::plain) else { return vec![Cell::Missing; rows] };
    let level = |level: Option<extract::Level<'_>>| {
        level.map_or(Cell::Missing, |level| Cell::Level(level.to_string().into_boxed_str()))
    };
    let number = |value: Option<f64>| value.filter(|value| value.is_finite()).map_or(Cell::Missing, Cell::Number);
    let read = match extract::natural_kind(column.data_type()) {
        ColumnKind::Numeric => extract::numbers(&column).map(|values| values.into_iter().map(number).collect()),
        ColumnKind::Categorical => extract::row_levels(&column).map(|levels| levels.map(level).collect()),
        ColumnKind::Opaque => None,
    };
    read.unwrap_or_else(|| vec![Cell::Missing; rows])
}

/// The columns that a metric sees.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Outcomes {
    pub(crate) labels: Vec<f64>,
    /// Row by row, as many as the task's width.
    pub(crate) scores: Vec<f64>,
    /// The query of each row, counted up.
    pub(crate) queries: Vec<usize>,
    width: usize,
}

impl Outcomes {
    pub(crate) fn new(width: usize) -> Self {
        Self { width: width.max(1), ..Self::default() }
    }

    pub(crate) fn push(&mut self, label: f64, scores: &[f64], query: usize) {
        self.labels.push(label);
        self.scores.extend_from_slice(scores);
        self.queries.push(query);
    }

    pub(crate) fn score_rows(&self) -> impl Iterator<Item = &[f64]> {
        self.scores.chunks(self.width.max(1))
    }

    /// Some of the rows, in the order given.
    pub(crate) fn select(&self, rows: impl Iterator<Item = usize>) -> Self {
        let mut chosen = Self::new(self.width);
        for row in rows {
            let scores = self.scores.get(row * self.width..(row + 1) * self.width);
            if let (Some(&label), Some(scores), Some(&query)) = (self.labels.get(row), scores, self.queries.get(row)) {
                chosen.push(label, scores, query);
            }
        }
        chosen
    }

    /// A metric with its interval.
    pub(crate) fn estimate(&self, task: &Task, measure: Measure, options: &EstimateOptions) -> Result<Estimate> {
        let (labels, scores) = (&*self.labels, &*self.scores);
        match task {
            Task::Binary { threshold, .. } => {
                measure.estimate(&ScoredRows::Binary { labels, scores, threshold: *threshold }, options)
            }
            Task::Regression { .. } => measure.estimate(&ScoredRows::Numbers { labels, predictions: scores }, options),
            Task::Ranking { relevant_min, .. } => {
                let (queries, relevant_min) = (&*self.queries, *relevant_min);
                measure.estimate(&ScoredRows::Queries { queries, relevance: labels, scores, relevant_min }, options)
            }
            Task::Multiclass { classes, probabilities, .. } => {
                let labels: Vec<usize> = labels.iter().copied().map(index).collect();
                let rows = if probabilities.is_empty() {
                    ClassRows::from_classes(classes.len(), &labels, self.predicted(task))?
                } else {
                    ClassRows::from_probabilities(classes.len(), &labels, scores)?
                };
                measure.estimate(&ScoredRows::Classes(rows), options)
            }
        }
    }

    /// The class that each row is called; nothing for numbers and lists.
    pub(crate) fn predicted(&self, task: &Task) -> Vec<usize> {
        let best = |row: &[f64]| {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter().position(|p| *p >= largest).unwrap_or(0)
        };
        match task {
            Task::Binary { threshold, .. } => self.scores.iter().map(|score| usize::from(score >= threshold)).collect(),
            Task::Multiclass { probabilities, .. } if probabilities.is_empty() => {
                self.scores.iter().copied().map(index).collect()
            }
            Task::Multiclass { .. } => self.score_rows().map(best).collect(),
            Task::Regression { .. } | Task::Ranking { .. } => Vec::new(),
        }
    }
}

/// A class index that was kept as a number.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "indices were checked at the door")]
pub(crate) fn index(class: f64) -> usize {
    class as usize
}

/// Predictions whose labels are known.
///
/// ```
/// use std::sync::Arc;
///
/// use mlops_core::arrow_array::{ArrayRef, Float64Array, RecordBatch};
/// use mlops_monitor::performance::{LabeledRows, RowColumns, Task};
///
/// let scores: ArrayRef = Arc::new(Float64Array::from(vec![Some(0.2), Some(0.9), None]));
/// let labels: ArrayRef = Arc::new(Float64Array::from(vec![0.0, 1.0, 1.0]));
/// let batch = RecordBatch::try_from_iter([("p", scores), ("label", labels)])?;
/// let rows = LabeledRows::from_batch(&RowColumns::new(Task::binary("p")), &batch)?;
/// assert_eq!((rows.len(), rows.excluded()), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LabeledRows {
    pub(crate) outcomes: Outcomes,
    pub(crate) kept: Vec<Vec<Cell>>,
    pub(crate) names: Vec<String>,
    pub(crate) variants: Vec<Arc<str>>,
    /// When predicted and when labeled.
    pub(crate) times: Vec<(Timestamp, Timestamp)>,
    excluded: u64,
}

impl LabeledRows {
    pub(crate) fn new(columns: &RowColumns) -> Self {
        Self {
            outcomes: Outcomes::new(columns.task.width()),
            kept: vec![Vec::new(); columns.kept.len()],
            names: columns.kept.clone(),
            variants: Vec::new(),
            times: Vec::new(),
            excluded: 0,
        }
    }

    /// From one batch with predictions, labels and kept columns, such as a validation set. Rows of
    /// a ranking task are one query as long as the request id of the label columns stays the same.
    ///
    /// # Errors
    /// `InvalidArgument` when a column of the task or of the labels is missing or has a type that
    /// cannot be read.
    pub fn from_batch(columns: &RowColumns, batch: &RecordBatch) -> Result<Self> {
        columns.validate()?;
        let scores = intake::scores(&columns.task, &[batch])?;
        let labels = intake::labels(columns, batch)?;
        let ids = batch.column_by_name(&columns.labels.request_id);
        let ids = cells(ids, batch.num_rows());
        let kept: Vec<Vec<Cell>> =
            columns.kept.iter().map(|name| cells(batch.column_by_name(name), batch.num_rows())).collect();
        let mut rows = Self::new(columns);
        let (mut query, mut before) = (0, None);
        for (row, ((scores, label), id)) in scores.into_iter().zip(labels).zip(&ids).enumerate() {
            query += usize::from(before.is_some_and(|before| before != id));
            before = Some(id);
            let (Some(scores), Some(label)) = (scores, label) else {
                rows.excluded += 1;
                continue;
            };
            rows.outcomes.push(label, &scores, query);
            for (column, cells) in rows.kept.iter_mut().zip(&kept) {
                column.push(cells.get(row).cloned().unwrap_or(Cell::Missing));
            }
            rows.variants.push("".into());
            rows.times.push((Timestamp::default(), Timestamp::default()));
        }
        Ok(rows)
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.outcomes.labels.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows left out because their label or prediction was null, not finite or unknown.
    #[must_use]
    pub fn excluded(&self) -> u64 {
        self.excluded
    }

    /// The kept column of a name.
    pub(crate) fn column(&self, name: &str) -> Option<&[Cell]> {
        self.names.iter().position(|known| known == name).and_then(|i| self.kept.get(i)).map(Vec::as_slice)
    }
}

/// A column as a few named levels.
pub(crate) struct Levels {
    /// The level of each row.
    pub(crate) ids: Vec<usize>,
    pub(crate) names: Vec<String>,
}

/// Quantile edges of the numbers of a column; none for a column of levels.
pub(crate) fn number_edges(cells: &[Cell], bins: u32) -> Vec<f64> {
    let numbers = cells.iter().filter_map(|cell| if let Cell::Number(value) = cell { Some(*value) } else { None });
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let edges = quantile_edges(&numbers, bins);
    // The last edge may be the maximum, with nothing above it.
    match bin_counts(&numbers, &edges).last() {
        Some(0) => edges.get(..edges.len().saturating_sub(1)).unwrap_or_default().to_vec(),
        _ => edges,
    }
}

impl Levels {
    /// Numbers by `edges`, levels by their names: the `levels_max` most frequent, the others pooled.
    pub(crate) fn of(cells: &[Cell], edges: &[f64], levels_max: usize) -> Self {
        let mut counts = std::collections::BTreeMap::<&str, u64>::new();
        for cell in cells {
            if let Cell::Level(level) = cell {
                *counts.entry(level).or_default() += 1;
            }
        }
        let mut frequent: Vec<(&str, u64)> = counts.into_iter().collect();
        frequent.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        let pooled = frequent.len() > levels_max;
        frequent.truncate(levels_max);
        let bins = if cells.iter().any(|cell| matches!(cell, Cell::Number(_))) { edges.len() + 1 } else { 0 };
        let mut names: Vec<String> = (0..bins).map(|bin| bin_name(edges, bin)).collect();
        let position: std::collections::HashMap<&str, usize> =
            frequent.iter().enumerate().map(|(i, (level, _))| (*level, bins + i)).collect();
        names.extend(frequent.iter().map(|(level, _)| (*level).to_owned()));
        let (other, missing) = (names.len(), names.len() + usize::from(pooled));
        names.extend(pooled.then(|| "(other)".to_owned()));
        names.push("(missing)".to_owned());
        let id = |cell: &Cell| match cell {
            Cell::Missing => missing,
            Cell::Number(value) => edges.partition_point(|edge| edge < value),
            Cell::Level(level) => position.get(&**level).copied().unwrap_or(other),
        };
        Self { ids: cells.iter().map(id).collect(), names }
    }
}

/// `<= 3`, `3 to 5`, `> 5`; bins are (lo, hi].
fn bin_name(edges: &[f64], bin: usize) -> String {
    match (bin.checked_sub(1).and_then(|below| edges.get(below)), edges.get(bin)) {
        (None, Some(high)) => format!("<= {high}"),
        (Some(low), Some(high)) => format!("{low} to {high}"),
        (Some(low), None) => format!("> {low}"),
        (None, None) => "any number".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_levels_become_few_levels() {
        let numbers: Vec<Cell> = (0..100).map(|i| Cell::Number(f64::from(i))).chain([Cell::Missing]).collect();
        let edges = number_edges(&numbers, 4);
        let levels = Levels::of(&numbers, &edges, 10);
        assert_eq!(levels.names, ["<= 24.75", "24.75 to 49.5", "49.5 to 74.25", "> 74.25", "(missing)"]);
        assert_eq!((levels.ids[0], levels.ids[99], levels.ids[100]), (0, 3, 4));
        assert!(number_edges(&vec![Cell::Number(1.0); 9], 4).is_empty());

        let words: Vec<Cell> = ["a", "b", "a", "c"].map(|word| Cell::Level(word.into())).into();
        let levels = Levels::of(&words, &[], 1);
        assert_eq!(
            (levels.names, levels.ids),
            (vec!["a".into(), "(other)".into(), "(missing)".into()], vec![0, 1, 0, 1])
        );
    }
}
