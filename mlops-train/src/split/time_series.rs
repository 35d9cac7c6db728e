//! Test on what came after, never on what came before.

use mlops_core::{Error, Result};

use super::{Fold, Splitter};
use crate::data::TableDataset;

/// Expanding windows: each fold tests on the rows after those it trains on, with a gap of rows
/// between them for labels that come late. Datasets with a time column are ordered by it, others
/// are taken to be in order.
///
/// With defaults, `rows / (folds + 1)` rows are tested per fold. The same as scikit-learn's
/// `TimeSeriesSplit`.
///
/// ```
/// use mlops_train::TimeSeriesSplit;
///
/// let folds = TimeSeriesSplit::new(3).with_gap_rows(1).split_rows(8)?;
/// assert_eq!((&folds[0].train[..], &folds[0].test[..]), (&[0][..], &[2, 3][..]));
/// assert_eq!(folds[2].test, [6, 7]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeSeriesSplit {
    folds: usize,
    gap_rows: usize,
    test_rows: Option<usize>,
    train_rows_max: Option<usize>,
}

impl TimeSeriesSplit {
    /// So many folds without gap.
    #[must_use]
    pub fn new(folds: usize) -> Self {
        Self { folds, gap_rows: 0, test_rows: None, train_rows_max: None }
    }

    /// Leaves out rows between training and test.
    #[must_use]
    pub fn with_gap_rows(mut self, rows: usize) -> Self {
        self.gap_rows = rows;
        self
    }

    /// Tests on so many rows per fold.
    #[must_use]
    pub fn with_test_rows(mut self, rows: usize) -> Self {
        self.test_rows = Some(rows);
        self
    }

    /// Trains on the latest rows only: a sliding rather than an expanding window.
    #[must_use]
    pub fn with_train_rows_max(mut self, rows: usize) -> Self {
        self.train_rows_max = Some(rows);
        self
    }

    /// Folds over positions in time `0..rows`.
    ///
    /// # Errors
    /// `InvalidArgument` when no row would be left to train or test on.
    pub fn split_rows(&self, rows: usize) -> Result<Vec<Fold>> {
        let test = self.test_rows.unwrap_or(rows / self.folds.saturating_add(1));
        let tested = self.folds.checked_mul(test).and_then(|tested| tested.checked_add(self.gap_rows));
        let first = tested.and_then(|tested| rows.checked_sub(tested)).unwrap_or(0);
        if self.folds == 0 || test == 0 || first == 0 || self.train_rows_max == Some(0) {
            return Err(Error::invalid_argument(format!(
                "{rows} rows are too few for {} folds of {test} test rows after a gap of {}",
                self.folds, self.gap_rows
            )));
        }
        let fold = |index: usize| {
            let train_end = first + index * test;
            let train_start = self.train_rows_max.map_or(0, |max| train_end.saturating_sub(max));
            let test_start = train_end + self.gap_rows;
            Fold { train: (train_start..train_end).collect(), test: (test_start..test_start + test).collect() }
        };
        Ok((0..self.folds).map(fold).collect())
    }
}

impl Splitter for TimeSeriesSplit {
    fn split(&self, data: &TableDataset) -> Result<Vec<Fold>> {
        let order = data.time_order();
        let rows = |positions: Vec<usize>| positions.iter().filter_map(|&at| order.get(at).copied()).collect();
        let folds = self.split_rows(data.rows())?;
        Ok(folds.into_iter().map(|fold| Fold { train: rows(fold.train), test: rows(fold.test) }).collect())
    }
}
