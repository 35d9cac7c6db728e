//! How the score moves along one feature.
//!
//! Accumulated local effects ask the model only near rows that exist, so they stay right where
//! features run together; partial dependence asks it about every row with every value, which for
//! correlated features means rows that cannot be. Prefer the former.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use mlops_core::{Error, Model, Result};
use serde::{Deserialize, Serialize};

use super::{
    columns::{array_of, is_whole, numbers, with_column},
    context::ExplainContext,
    grid::{correlation, cunnane_quantile, quantile, sorted},
    target::answers,
};
use crate::data::{Column, values};

/// Places along a feature at most.
const PLACES_MAX: usize = 1_000;

/// Correlations beyond this make partial dependence doubtful.
const CORRELATION_MAX: f64 = 0.5;

/// How finely a feature is followed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DependenceSettings {
    /// Intervals of accumulated effects, or values of partial dependence, 2 to 1,000; fewer where
    /// the feature has fewer values.
    pub places: usize,
    /// Share of the rows below the first and beyond the last value of partial dependence, from 0
    /// to below 0.5.
    pub tail: f64,
    /// Rows whose own curves are kept, from the first on.
    pub individual_rows_max: usize,
    /// Which output is followed; the first without.
    pub output: Option<String>,
}

impl Default for DependenceSettings {
    fn default() -> Self {
        Self { places: 20, tail: 0.05, individual_rows_max: 100, output: None }
    }
}

impl DependenceSettings {
    fn check(&self, rows: &RecordBatch) -> Result<()> {
        let fits = (2..=PLACES_MAX).contains(&self.places) && (0.0..0.5).contains(&self.tail);
        if fits && rows.num_rows() > 0 {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "following a feature needs rows, 2 to {PLACES_MAX} places and a tail from 0 to below 0.5, found {} rows, \
             {} places and {}",
            rows.num_rows(),
            self.places,
            self.tail
        )))
    }
}

/// Accumulated local effects of a feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccumulatedEffects {
    /// The feature.
    pub feature: String,
    /// Ends of the intervals.
    pub edges: Vec<f64>,
    /// The effect at each end, less the mean over the rows.
    pub values: Vec<f64>,
    /// Rows in each interval.
    pub counts: Vec<usize>,
}

/// Accumulated local effects (ALE) of a column of numbers: in intervals that hold about equally
/// many rows, the mean difference that moving a row's value from the lower end to the upper makes,
/// summed up along the feature and centered (Apley and Zhu 2020). Rows where it is missing do not
/// count. In a column of whole numbers the ends of intervals are whole.
///
/// # Errors
/// `InvalidArgument` for settings out of range, no rows, a column that is no number or has one
/// value only; `Cancelled`, `DeadlineExceeded`; what the model returns.
pub fn accumulated_effects(
    model: &dyn Model,
    rows: &RecordBatch,
    feature: &str,
    settings: &DependenceSettings,
    context: &ExplainContext,
) -> Result<AccumulatedEffects> {
    let rows = model.signature().project_inputs(rows)?;
    settings.check(&rows)?;
    let values = numbers(&rows, feature)?;
    let edges = edges(&sorted(&values), settings.places, is_whole(&rows, feature));
    if edges.len() < 2 {
        return Err(Error::invalid_argument(format!("column {feature:?} has fewer than two values to move between")));
    }
    let interval = |value: f64| edges.partition_point(|edge| *edge < value).clamp(1, edges.len() - 1) - 1;
    let at = |value: f64, end: usize| edges.get(interval(value) + end).copied().unwrap_or(value);
    let known = |value: &&f64| !value.is_nan();
    let moved = |end: usize| {
        context.check()?;
        let moved: Vec<f64> = values.iter().map(|&value| if value.is_nan() { 0.0 } else { at(value, end) }).collect();
        let rows = replaced(&rows, feature, &moved)?;
        answers(model, &rows, settings.output.as_deref())
    };
    let (low, high) = (moved(0)?, moved(1)?);
    let mut sums = vec![(0.0, 0_usize); edges.len() - 1];
    for ((&value, low), high) in values.iter().zip(low).zip(high).filter(|((value, _), _)| known(value)) {
        if let Some((sum, count)) = sums.get_mut(interval(value)) {
            *sum += high - low;
            *count += 1;
        }
    }
    let mut curve = vec![0.0];
    let mut total = 0.0;
    for (sum, count) in &sums {
        total += if *count > 0 { sum / *count as f64 } else { 0.0 };
        curve.push(total);
    }
    let counts: Vec<usize> = sums.iter().map(|(_, count)| *count).collect();
    let middles = curve.iter().zip(curve.iter().skip(1)).map(|(a, b)| f64::midpoint(*a, *b));
    let rows_known = counts.iter().sum::<usize>() as f64;
    let mean = middles.zip(&counts).map(|(middle, &count)| middle * count as f64).sum::<f64>() / rows_known;
    curve.iter_mut().for_each(|value| *value -= mean);
    Ok(AccumulatedEffects { feature: feature.to_owned(), edges, values: curve, counts })
}

/// Different quantiles of the values, ascending.
fn edges(sorted: &[f64], intervals: usize, whole: bool) -> Vec<f64> {
    if sorted.is_empty() {
        return Vec::new();
    }
    let at = |place: usize| {
        let edge = quantile(sorted, place as f64 / intervals as f64);
        if whole { edge.round() } else { edge }
    };
    let mut edges: Vec<f64> = (0..=intervals).map(at).collect();
    edges.dedup();
    edges
}

fn replaced(rows: &RecordBatch, feature: &str, values: &[f64]) -> Result<RecordBatch> {
    let data_type = rows.schema_ref().field_with_name(feature)?.data_type().clone();
    with_column(rows, feature, &array_of(feature, &data_type, values)?)
}

/// Values of a feature at which partial dependence is taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grid {
    /// Of a column of numbers, ascending.
    Numbers(Vec<f64>),
    /// Of a column of text, alphabetically.
    Levels(Vec<String>),
}

/// A column that runs along with the feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Correlated {
    /// Its name.
    pub feature: String,
    /// Pearson's correlation.
    pub correlation: f64,
}

/// Partial dependence of the score on a feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartialDependence {
    /// The feature.
    pub feature: String,
    /// Its values.
    pub grid: Grid,
    /// The mean score when every row has that value (PDP).
    pub average: Vec<f64>,
    /// By row, as many as the settings keep, the score at each value (ICE).
    pub individual: Vec<Vec<f64>>,
    /// Columns correlated with the feature beyond 0.5 either way: the average then counts rows that
    /// cannot be. Take accumulated effects instead.
    pub correlated: Vec<Correlated>,
}

/// Partial dependence (Friedman 2001) and individual conditional expectation (Goldstein et al.
/// 2015). Values are spread evenly between the tails of the feature, or all its own where they are
/// few; in a column of whole numbers they are whole; in one of text they are its levels.
///
/// # Errors
/// `InvalidArgument` for settings out of range, no rows, a column that is missing throughout or of
/// another type, or more levels than 1,000; `Cancelled`, `DeadlineExceeded`; what the model returns.
pub fn partial_dependence(
    model: &dyn Model,
    rows: &RecordBatch,
    feature: &str,
    settings: &DependenceSettings,
    context: &ExplainContext,
) -> Result<PartialDependence> {
    let rows = model.signature().project_inputs(rows)?;
    settings.check(&rows)?;
    let grid = grid(&rows, feature, settings)?;
    let count = match &grid {
        Grid::Numbers(numbers) => numbers.len(),
        Grid::Levels(levels) => levels.len(),
    };
    let kept = settings.individual_rows_max.min(rows.num_rows());
    let mut average = Vec::with_capacity(count);
    let mut individual = vec![Vec::with_capacity(count); kept];
    for place in 0..count {
        context.check()?;
        let scores = answers(model, &grid.applied(&rows, feature, place)?, settings.output.as_deref())?;
        average.push(scores.iter().sum::<f64>() / scores.len() as f64);
        individual.iter_mut().zip(&scores).for_each(|(curve, score)| curve.push(*score));
    }
    let correlated = correlated(&rows, feature);
    Ok(PartialDependence { feature: feature.to_owned(), grid, average, individual, correlated })
}

fn grid(rows: &RecordBatch, feature: &str, settings: &DependenceSettings) -> Result<Grid> {
    let missing = || Error::invalid_argument(format!("there is no column {feature:?}"));
    let array = rows.column_by_name(feature).ok_or_else(missing)?;
    let grid = match values(feature, array)? {
        Column::Numbers(values) => Grid::Numbers(spread(&sorted(&values), settings, is_whole(rows, feature))),
        Column::Categories(values) => {
            let levels: std::collections::BTreeSet<&str> = values.into_iter().flatten().collect();
            Grid::Levels(levels.into_iter().map(str::to_owned).collect())
        }
    };
    match &grid {
        Grid::Levels(levels) if levels.len() > PLACES_MAX => Err(Error::invalid_argument(format!(
            "column {feature:?} has {} levels, at most {PLACES_MAX} are followed",
            levels.len()
        ))),
        Grid::Numbers(values) if values.is_empty() => {
            Err(Error::invalid_argument(format!("column {feature:?} has no value in any row")))
        }
        _ => Ok(grid),
    }
}

/// Values from tail to tail, or all where they are few.
fn spread(sorted: &[f64], settings: &DependenceSettings, whole: bool) -> Vec<f64> {
    let mut distinct = sorted.to_vec();
    distinct.dedup();
    if distinct.len() < settings.places {
        return distinct;
    }
    let (low, high) = (cunnane_quantile(sorted, settings.tail), cunnane_quantile(sorted, 1.0 - settings.tail));
    let step = (high - low) / (settings.places - 1) as f64;
    let at = |place: usize| {
        let value = if place + 1 == settings.places { high } else { low + step * place as f64 };
        if whole { value.round() } else { value }
    };
    let mut values: Vec<f64> = (0..settings.places).map(at).collect();
    values.dedup();
    values
}

impl Grid {
    /// The rows with the feature at one place in all of them.
    fn applied(&self, rows: &RecordBatch, feature: &str, place: usize) -> Result<RecordBatch> {
        match self {
            Self::Numbers(values) => {
                let value = values.get(place).copied().unwrap_or(f64::NAN);
                replaced(rows, feature, &vec![value; rows.num_rows()])
            }
            Self::Levels(levels) => {
                let level = levels.get(place).map_or("", String::as_str);
                let column: ArrayRef = Arc::new(StringArray::from(vec![level; rows.num_rows()]));
                with_column(rows, feature, &column)
            }
        }
    }
}

/// Other columns of numbers that run along with the feature.
fn correlated(rows: &RecordBatch, feature: &str) -> Vec<Correlated> {
    let Ok(values) = numbers(rows, feature) else { return Vec::new() };
    let others = rows.schema_ref().fields().iter().filter(|field| field.name() != feature);
    let with = |name: &String| {
        let correlation = correlation(&values, &numbers(rows, name).ok()?);
        (correlation.abs() > CORRELATION_MAX).then(|| Correlated { feature: name.clone(), correlation })
    };
    others.filter_map(|field| with(field.name())).collect()
}
