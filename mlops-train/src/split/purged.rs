//! Folds of a time series whose labels look ahead.
//!
//! A row's label is known only at its end; a training row whose span meets that of the test rows
//! knows part of their answer. Purging leaves such rows out, the embargo some more after the test
//! rows for what lingers (Lopez de Prado, Advances in Financial Machine Learning, 2018, chapter 7).

use std::time::Duration;

use mlops_core::{Error, Result};

use super::{Fold, KFold, Splitter};
use crate::data::TableDataset;

/// How far labels look ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Horizon {
    Rows(usize),
    Time(Duration),
}

/// K neighboring parts in time order, each the test side once, without the training rows whose
/// labels overlap those of the test side.
///
/// ```
/// use mlops_train::PurgedKFold;
///
/// // Ten rows, each labelled one row later.
/// let ends: Vec<usize> = (0..10).map(|row| (row + 1).min(9)).collect();
/// let folds = PurgedKFold::over_rows(2, 1).with_embargo_rows(1).split_ends(&ends)?;
/// assert_eq!((&folds[0].train[..], &folds[1].train[..]), (&[7, 8, 9][..], &[0, 1, 2, 3][..]));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgedKFold {
    folds: usize,
    horizon: Horizon,
    embargo_rows: usize,
}

impl PurgedKFold {
    /// Labels that are known so many rows later.
    #[must_use]
    pub fn over_rows(folds: usize, horizon_rows: usize) -> Self {
        Self { folds, horizon: Horizon::Rows(horizon_rows), embargo_rows: 0 }
    }

    /// Labels that are known so much time later; the dataset needs a time column.
    #[must_use]
    pub fn over_time(folds: usize, horizon: Duration) -> Self {
        Self { folds, horizon: Horizon::Time(horizon), embargo_rows: 0 }
    }

    /// Leaves out so many more rows after the span of the test rows.
    #[must_use]
    pub fn with_embargo_rows(mut self, rows: usize) -> Self {
        self.embargo_rows = rows;
        self
    }

    /// Folds over positions in time, from the position at which each row's label is known.
    ///
    /// # Errors
    /// `InvalidArgument` as [`KFold::split_rows`], or when a label ends before its row or beyond the
    /// last; `FailedPrecondition` when a fold has no row left to train on.
    pub fn split_ends(&self, ends: &[usize]) -> Result<Vec<Fold>> {
        if let Some((row, end)) = ends.iter().enumerate().find(|(row, end)| *end < row || **end >= ends.len()) {
            return Err(Error::invalid_argument(format!(
                "labels must end at their row or later, below {}; that of row {row} ends at {end}",
                ends.len()
            )));
        }
        let parts = KFold::new(self.folds).split_rows(ends.len())?;
        let end_of = |row: usize| ends.get(row).copied().unwrap_or(row);
        let purge = |(number, part): (usize, Fold)| {
            let start = part.test.first().copied().unwrap_or(0);
            let end = part.test.iter().map(|row| end_of(*row)).max().unwrap_or(start);
            let after = end.saturating_add(self.embargo_rows);
            let apart = |row: &usize| end_of(*row) < start || *row > after;
            Fold { train: part.train.into_iter().filter(apart).collect(), test: part.test }.checked(number)
        };
        parts.into_iter().enumerate().map(purge).collect()
    }

    fn ends(&self, data: &TableDataset, order: &[usize]) -> Result<Vec<usize>> {
        let last = order.len().saturating_sub(1);
        match self.horizon {
            Horizon::Rows(rows) => Ok((0..order.len()).map(|row| row.saturating_add(rows).min(last)).collect()),
            Horizon::Time(horizon) => {
                let times = data.times_us().ok_or_else(|| {
                    Error::invalid_argument("a horizon in time needs a dataset with a time column; or give it in rows")
                })?;
                let horizon = i64::try_from(horizon.as_micros()).unwrap_or(i64::MAX);
                let ordered: Vec<i64> = order.iter().filter_map(|row| times.get(*row).copied()).collect();
                let end = |time: &i64| {
                    let known = time.saturating_add(horizon);
                    ordered.partition_point(|other| *other <= known).saturating_sub(1)
                };
                Ok(ordered.iter().map(end).collect())
            }
        }
    }
}

impl Splitter for PurgedKFold {
    fn split(&self, data: &TableDataset) -> Result<Vec<Fold>> {
        let order = data.time_order();
        let rows = |positions: Vec<usize>| positions.iter().filter_map(|&at| order.get(at).copied()).collect();
        let folds = self.split_ends(&self.ends(data, &order)?)?;
        Ok(folds.into_iter().map(|fold| Fold { train: rows(fold.train), test: rows(fold.test) }).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn spans_never_meet() {
        let ends: Vec<usize> = (0..60).map(|row| (row + row % 7).min(59)).collect();
        for fold in PurgedKFold::over_rows(5, 0).split_ends(&ends).unwrap() {
            for test in &fold.test {
                assert!(fold.train.iter().all(|train| ends[*train] < *test || *train > ends[*test]));
            }
        }
    }

    #[test]
    fn time_and_rows_agree_on_even_steps() {
        let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..30).map(f64::from)));
        let t: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values((0..30).map(|row| (30 - row) * 10)));
        let batch = RecordBatch::try_from_iter([("x", Arc::clone(&x)), ("y", x), ("t", t)]).unwrap();
        let timed = TableDataset::regression(batch.clone(), "y").with_features(["x"]).with_time("t").build().unwrap();
        let by_time = PurgedKFold::over_time(3, Duration::from_micros(20)).split(&timed).unwrap();
        assert_eq!(by_time, PurgedKFold::over_rows(3, 2).split(&timed).unwrap());
        let untimed = TableDataset::regression(batch, "y").with_features(["x"]).build().unwrap();
        assert!(PurgedKFold::over_time(3, Duration::from_micros(20)).split(&untimed).is_err());
    }

    #[test]
    fn folds_without_training_rows_are_refused() {
        let error = PurgedKFold::over_rows(2, 50).split_ends(&[9; 10]).unwrap_err();
        assert!(error.message().contains("fold 0"), "{error}");
        assert!(PurgedKFold::over_rows(2, 0).split_ends(&[0, 0]).is_err());
        assert!(PurgedKFold::over_rows(2, 0).split_ends(&[0, 2]).is_err());
    }
}
