//! K equal parts, each the test side once.

use mlops_core::{Error, Result};

use super::{Fold, Splitter};
use crate::{data::TableDataset, rng::SeededRng};

/// Neighboring rows form a part, or rows drawn by a seed. The first `rows % folds` parts have one
/// row more.
///
/// ```
/// use mlops_train::KFold;
///
/// let folds = KFold::new(3).split_rows(7)?;
/// assert_eq!(folds[0].test, [0, 1, 2]);
/// assert_eq!(folds[2].train, [0, 1, 2, 3, 4]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KFold {
    folds: usize,
    seed: Option<u64>,
}

impl KFold {
    /// Parts in row order.
    #[must_use]
    pub fn new(folds: usize) -> Self {
        Self { folds, seed: None }
    }

    /// Shuffles rows by this seed first.
    #[must_use]
    pub fn with_shuffle(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Folds over `0..rows`.
    ///
    /// # Errors
    /// `InvalidArgument` when there are fewer than two folds or fewer rows than folds.
    pub fn split_rows(&self, rows: usize) -> Result<Vec<Fold>> {
        check_folds(self.folds, rows)?;
        let mut order: Vec<usize> = (0..rows).collect();
        if let Some(seed) = self.seed {
            SeededRng::new(seed, 4).shuffle(&mut order);
        }
        let mut part_of = vec![0; rows];
        let (size, longer) = (rows / self.folds, rows % self.folds);
        let mut at = order.into_iter();
        for part in 0..self.folds {
            for row in at.by_ref().take(size + usize::from(part < longer)) {
                if let Some(slot) = part_of.get_mut(row) {
                    *slot = part;
                }
            }
        }
        Ok(folds_of(&part_of, self.folds))
    }
}

/// One fold per part, its test side the rows of that part.
pub(super) fn folds_of(part_of: &[usize], folds: usize) -> Vec<Fold> {
    (0..folds).map(|part| Fold::of_test(|row| part_of.get(row) == Some(&part), part_of.len())).collect()
}

pub(super) fn check_folds(folds: usize, rows: usize) -> Result<()> {
    if (2..=rows).contains(&folds) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("folds must be from 2 to the number of rows ({rows}), found {folds}")))
}

impl Splitter for KFold {
    fn split(&self, data: &TableDataset) -> Result<Vec<Fold>> {
        self.split_rows(data.rows())
    }
}
