//! A random forest as the model of losses.

use std::fmt;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};
use smartcore::{
    ensemble::random_forest_regressor::{RandomForestRegressor, RandomForestRegressorParameters},
    linalg::basic::matrix::DenseMatrix,
};

use super::loss::LossModel;
use crate::stats::quantile;

/// Settings of [`LossForest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossForestSettings {
    /// Trees, 1 to 1000. Default 50.
    pub trees: usize,
    /// Deepest a tree grows, at least 1. Default 8.
    pub depth_max: u16,
    /// Fewest rows of a leaf, at least 1; losses are noisy, so leaves are large. Default 20.
    pub leaf_rows_min: usize,
    /// Seed of the samples that trees and splits are drawn from. Default 0.
    pub seed: u64,
}

impl Default for LossForestSettings {
    fn default() -> Self {
        Self { trees: 50, depth_max: 8, leaf_rows_min: 20, seed: 0 }
    }
}

type Forest = RandomForestRegressor<f64, f64, DenseMatrix<f64>, Vec<f64>>;

/// Foretells losses with a random forest (Breiman, Machine Learning 45, 2001). A missing value is taken as the median of
/// its column in the reference.
///
/// The state is the forest as smartcore writes it. It is not checked node by node when it is read back: keep it where
/// damage is noticed, as in a model's content-addressed package.
#[derive(Serialize, Deserialize)]
pub struct LossForest {
    medians: Vec<f64>,
    forest: Forest,
}

impl LossForest {
    /// Learns from columns, the prediction last, and the losses of the rows.
    ///
    /// # Errors
    /// `InvalidArgument` when settings are out of range, columns differ in length, or there are no rows.
    pub fn fit(columns: &[Vec<f64>], losses: &[f64], settings: &LossForestSettings) -> Result<Self> {
        let LossForestSettings { trees, depth_max, leaf_rows_min, seed } = *settings;
        if !(1..=1_000).contains(&trees) || depth_max == 0 || leaf_rows_min == 0 {
            let message =
                format!("loss forest: trees must be 1 to 1000, depth and leaf rows 1 or more, found {settings:?}");
            return Err(Error::invalid_argument(message));
        }
        let medians = columns.iter().map(|column| median(column)).collect::<Vec<_>>();
        let rows = matrix(columns, &medians)?;
        let parameters = RandomForestRegressorParameters::default()
            .with_n_trees(trees)
            .with_max_depth(depth_max)
            .with_min_samples_leaf(leaf_rows_min)
            // Every column at every split: where one matters and many do not, leaving it out blurs the answer.
            .with_m(columns.len().max(1))
            .with_seed(seed);
        let forest = Forest::fit(&rows, &losses.to_vec(), parameters)
            .map_err(|error| Error::invalid_argument("loss forest cannot be learnt").with_source(error))?;
        Ok(Self { medians, forest })
    }
}

impl fmt::Debug for LossForest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LossForest").field("columns", &self.medians.len()).finish_non_exhaustive()
    }
}

impl LossModel for LossForest {
    fn predict(&self, columns: &[Vec<f64>]) -> Result<Vec<f64>> {
        if columns.len() != self.medians.len() {
            let message = format!("loss forest: {} columns are needed, found {}", self.medians.len(), columns.len());
            return Err(Error::invalid_argument(message));
        }
        let rows = matrix(columns, &self.medians)?;
        self.forest.predict(&rows).map_err(|error| Error::internal("loss forest cannot answer").with_source(error))
    }
}

/// The median of what is there; zero for nothing.
fn median(column: &[f64]) -> f64 {
    let mut values: Vec<f64> = column.iter().copied().filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5).unwrap_or(0.0)
}

/// Columns side by side without gaps; infinities become the largest numbers, which trees order just as well.
fn matrix(columns: &[Vec<f64>], medians: &[f64]) -> Result<DenseMatrix<f64>> {
    let rows = columns.first().map_or(0, Vec::len);
    let filled = |(column, median): (&Vec<f64>, &f64)| {
        let fill = |value: &f64| if value.is_nan() { *median } else { value.clamp(f64::MIN / 4.0, f64::MAX / 4.0) };
        column.iter().map(fill).collect::<Vec<_>>()
    };
    let values = columns.iter().zip(medians).flat_map(filled).collect();
    DenseMatrix::new(rows, columns.len(), values, true).map_err(|error| {
        Error::invalid_argument("loss forest: columns differ in length or are empty").with_source(error)
    })
}
