//! Typical rows, which stand in for what is not known.

use arrow_array::{RecordBatch, UInt32Array};
use arrow_select::take::take_record_batch;
use mlops_core::{Error, Result};

use super::kmeans::{KMeans, kmeans};
use crate::{
    data::{Column, values},
    preprocess::Matrix,
    rng::SeededRng,
};

/// Rows of a background at most.
const ROWS_MAX: usize = 10_000;

/// Levels of a text column that clusters tell apart; rarer ones count as one.
const LEVELS_MAX: usize = 64;

/// Rows with the share that each has of the whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Background {
    rows: RecordBatch,
    shares: Vec<f64>,
}

impl Background {
    /// Rows of the same weight; some tens to hundreds are enough.
    ///
    /// # Errors
    /// `InvalidArgument` for no rows or more than 10,000.
    pub fn new(rows: RecordBatch) -> Result<Self> {
        let weights = vec![1.0; rows.num_rows()];
        Self::weighted(rows, &weights)
    }

    /// Rows of these weights.
    ///
    /// # Errors
    /// `InvalidArgument` for no rows, more than 10,000, or weights that do not fit them.
    pub fn weighted(rows: RecordBatch, weights: &[f64]) -> Result<Self> {
        if rows.num_rows() > ROWS_MAX {
            let found = rows.num_rows();
            let message = format!("a background may have {ROWS_MAX} rows, found {found}; summarize them by k-means");
            return Err(Error::invalid_argument(message));
        }
        let shares = Self::shares(rows.num_rows(), weights)?;
        Ok(Self { rows, shares })
    }

    /// At most `clusters` of the rows, each the nearest to the center of a cluster and as heavy as
    /// the cluster has rows. Distances are Euclidean over numbers in units of their standard
    /// deviation (missing ones lie at the mean); two different texts are as far from each other as
    /// numbers one deviation apart. Rows are chosen rather than centers, so that they are possible
    /// rows of any type.
    ///
    /// # Errors
    /// `InvalidArgument` for no rows, no clusters, more than 10,000 clusters, or a column that is
    /// no feature.
    pub fn kmeans(rows: &RecordBatch, clusters: usize, seed: u64) -> Result<Self> {
        if rows.num_rows() == 0 || !(1..=ROWS_MAX).contains(&clusters) {
            return Err(Error::invalid_argument(format!(
                "a background needs rows and from 1 to {ROWS_MAX} clusters, found {} rows and {clusters} clusters",
                rows.num_rows()
            )));
        }
        let matrix = encode(rows)?;
        let KMeans { nearest, sizes } = kmeans(&matrix, clusters, &mut SeededRng::new(seed, 11));
        let indices = UInt32Array::from_iter_values(nearest.iter().map(|&row| row as u32));
        Self::weighted(take_record_batch(rows, &indices)?, &sizes)
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The share of each row; they sum up to one.
    #[must_use]
    pub fn row_shares(&self) -> &[f64] {
        &self.shares
    }

    /// Weights divided by their sum.
    pub(super) fn shares(rows: usize, weights: &[f64]) -> Result<Vec<f64>> {
        let total: f64 = weights.iter().sum();
        let usable = weights.iter().all(|weight| *weight >= 0.0) && total > 0.0 && total.is_finite();
        if rows == 0 || weights.len() != rows || !usable {
            return Err(Error::invalid_argument(format!(
                "a background needs rows and as many weights from 0 with a positive sum, found {rows} rows and {} \
                 weights of sum {total}",
                weights.len()
            )));
        }
        Ok(weights.iter().map(|weight| weight / total).collect())
    }
}

/// Rows as points.
fn encode(rows: &RecordBatch) -> Result<Matrix> {
    let count = rows.num_rows();
    let mut columns: Vec<Vec<f64>> = Vec::new();
    for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        match values(field.name(), array)? {
            Column::Numbers(values) => columns.push(standardized(&values)),
            Column::Categories(values) => columns.extend(indicators(&values)),
        }
    }
    let mut matrix = Matrix::zeros(count, columns.len());
    for (column, values) in columns.iter().enumerate() {
        values.iter().enumerate().for_each(|(row, &value)| matrix.set(row, column, value));
    }
    Ok(matrix)
}

fn standardized(values: &[f64]) -> Vec<f64> {
    let known: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let n = known.len().max(1) as f64;
    let mean = known.iter().sum::<f64>() / n;
    let deviation = (known.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
    let scale = if deviation.is_normal() { deviation } else { 1.0 };
    values.iter().map(|value| if value.is_nan() { 0.0 } else { (value - mean) / scale }).collect()
}

/// A column per frequent level, in which rows of that level lie `1 / sqrt 2` from the others.
fn indicators(values: &[Option<&str>]) -> Vec<Vec<f64>> {
    let mut counts = std::collections::BTreeMap::<Option<&str>, usize>::new();
    values.iter().for_each(|value| *counts.entry(*value).or_default() += 1);
    let mut levels: Vec<(Option<&str>, usize)> = counts.into_iter().collect();
    levels.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let column = |(level, _): &(Option<&str>, usize)| {
        values.iter().map(|value| if value == level { std::f64::consts::FRAC_1_SQRT_2 } else { 0.0 }).collect()
    };
    levels.iter().take(LEVELS_MAX).map(column).collect()
}
