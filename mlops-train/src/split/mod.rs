//! Which rows to fit on and which to judge by.
//!
//! Invariant: the two sides of a fold never share a row.

mod group;
mod groups;
mod holdout;
mod kfold;
mod purged;
mod stratified;
mod stratified_group;
mod time_series;

use std::fmt;

use mlops_core::{Error, Result};

pub use group::{GroupKFold, LeaveOneGroupOut, PredefinedSplit};
pub use groups::Groups;
pub(crate) use holdout::holdout;
pub use kfold::KFold;
pub use purged::PurgedKFold;
pub use stratified::StratifiedKFold;
pub use stratified_group::StratifiedGroupKFold;
pub use time_series::TimeSeriesSplit;

use crate::data::TableDataset;

/// Row indices of one fold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fold {
    /// Rows to fit on.
    pub train: Vec<usize>,
    /// Rows to judge by.
    pub test: Vec<usize>,
}

impl Fold {
    /// The fold whose test rows are marked.
    fn of_test(is_test: impl Fn(usize) -> bool, rows: usize) -> Self {
        let (test, train) = (0..rows).partition(|&row| is_test(row));
        Self { train, test }
    }

    /// This fold, or the error that one of its sides has no row.
    fn checked(self, number: usize) -> Result<Self> {
        let side = match (self.train.is_empty(), self.test.is_empty()) {
            (true, _) => "train on",
            (_, true) => "test on",
            _ => return Ok(self),
        };
        let why = format!("fold {number} has no row to {side}; take fewer folds or more rows");
        Err(Error::failed_precondition(why).with("fold", number))
    }
}

/// A way to part a dataset into folds.
pub trait Splitter: fmt::Debug + Send + Sync + 'static {
    /// The folds, in the order in which they are run.
    ///
    /// # Errors
    /// `InvalidArgument` when the dataset has too few rows.
    fn split(&self, data: &TableDataset) -> Result<Vec<Fold>>;
}
