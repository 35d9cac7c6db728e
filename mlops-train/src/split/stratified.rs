//! K parts in which every class has about the same share.
//!
//! Classes are dealt out to parts as if rows were sorted by class, classes in order of their first
//! row: part sizes then differ by at most one, as do the counts of each class. This is the
//! allocation of scikit-learn's `StratifiedKFold`.

use mlops_core::{Error, Result};

use super::{Fold, Splitter, kfold};
use crate::{
    data::{TableDataset, Task},
    rng::SeededRng,
};

/// K-fold that keeps class shares.
///
/// ```
/// use mlops_train::StratifiedKFold;
///
/// let folds = StratifiedKFold::new(2).split_labels(&[0.0, 0.0, 0.0, 0.0, 1.0, 1.0])?;
/// assert_eq!(folds[0].test, [0, 1, 4]);
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StratifiedKFold {
    folds: usize,
    seed: Option<u64>,
}

impl StratifiedKFold {
    /// Parts in row order within each class.
    #[must_use]
    pub fn new(folds: usize) -> Self {
        Self { folds, seed: None }
    }

    /// Deals the rows of each class out in an order drawn by this seed.
    #[must_use]
    pub fn with_shuffle(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Folds over rows with these classes; equal numbers are one class.
    ///
    /// # Errors
    /// `InvalidArgument` when there are fewer than two folds, or a class has fewer rows than folds.
    pub fn split_labels(&self, labels: &[f64]) -> Result<Vec<Fold>> {
        kfold::check_folds(self.folds, labels.len())?;
        let mut classes: Vec<(u64, Vec<usize>)> = Vec::new();
        for (row, label) in labels.iter().enumerate() {
            if let Some(class) = classes.iter_mut().find(|class| class.0 == label.to_bits()) {
                class.1.push(row);
                continue;
            }
            if classes.len() == CLASSES_MAX {
                return Err(Error::invalid_argument(format!(
                    "stratification allows {CLASSES_MAX} distinct labels; use KFold for a regression"
                )));
            }
            classes.push((label.to_bits(), vec![row]));
        }
        let mut part_of = vec![0; labels.len()];
        let mut dealt = 0;
        for (class, (_, rows)) in classes.into_iter().enumerate() {
            if rows.len() < self.folds {
                return Err(Error::invalid_argument(format!(
                    "every class needs a row in each of the {} folds, one class has {}",
                    self.folds,
                    rows.len()
                )));
            }
            let count = rows.len();
            for (row, part) in rows.into_iter().zip(self.parts(class, dealt, count)) {
                if let Some(slot) = part_of.get_mut(row) {
                    *slot = part;
                }
            }
            dealt += count;
        }
        Ok(kfold::folds_of(&part_of, self.folds))
    }

    /// The parts of the `count` rows of a class when `dealt` rows were dealt out before: dealing
    /// goes round the parts without restarting, and the rows then fill part after part.
    fn parts(&self, class: usize, dealt: usize, count: usize) -> Vec<usize> {
        let mut parts: Vec<usize> = (dealt..dealt + count).map(|position| position % self.folds).collect();
        parts.sort_unstable();
        if let Some(seed) = self.seed {
            SeededRng::new(seed, 1_000 + class as u64).shuffle(&mut parts);
        }
        parts
    }
}

/// Distinct labels that can be classes.
const CLASSES_MAX: usize = 1_000;

impl Splitter for StratifiedKFold {
    fn split(&self, data: &TableDataset) -> Result<Vec<Fold>> {
        if data.task() == Task::Regression {
            return Err(Error::invalid_argument("labels of a regression have no classes to stratify by; use KFold"));
        }
        self.split_labels(data.labels())
    }
}
