//! Folds that never part a group: what is tested on was never seen in any of its rows.

use mlops_core::{Error, Result};

use super::{Fold, Groups, Splitter, kfold};
use crate::data::TableDataset;

/// K parts of about as many rows, whole groups each: the largest group goes to the smallest part
/// first. The same as scikit-learn's `GroupKFold`.
///
/// ```
/// use mlops_train::{GroupKFold, Groups};
///
/// let folds = GroupKFold::new(2, Groups::of(&["a", "a", "b", "c"])).folds()?;
/// assert_eq!((&folds[0].test[..], &folds[1].test[..]), (&[0, 1][..], &[2, 3][..]));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupKFold {
    folds: usize,
    groups: Groups,
}

impl GroupKFold {
    /// So many folds over rows of these groups.
    #[must_use]
    pub fn new(folds: usize, groups: Groups) -> Self {
        Self { folds, groups }
    }

    /// The folds.
    ///
    /// # Errors
    /// `InvalidArgument` when there are fewer than two folds or fewer groups than folds.
    pub fn folds(&self) -> Result<Vec<Fold>> {
        self.groups.check_folds(self.folds)?;
        let mut largest: Vec<(usize, usize)> =
            self.groups.members().iter().enumerate().map(|(group, rows)| (rows.len(), group)).collect();
        largest.sort_unstable_by(|a, b| b.cmp(a));
        let mut sizes = vec![0; self.folds];
        let mut part_of_group = vec![0; self.groups.count()];
        for (rows, group) in largest {
            let lightest =
                sizes.iter().enumerate().min_by_key(|(part, size)| (**size, *part)).map_or(0, |found| found.0);
            if let (Some(size), Some(part)) = (sizes.get_mut(lightest), part_of_group.get_mut(group)) {
                *size += rows;
                *part = lightest;
            }
        }
        Ok(kfold::folds_of(&self.groups.parts(&part_of_group), self.folds))
    }
}

impl Splitter for GroupKFold {
    fn split(&self, data: &TableDataset) -> Result<Vec<Fold>> {
        self.groups.check_rows(data.rows())?;
        self.folds()
    }
}

/// One fold per group, which it tests on, in the order of their names. The same as scikit-learn's
/// `LeaveOneGroupOut`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaveOneGroupOut {
    groups: Groups,
}

/// Most folds, since each is a training.
const FOLDS_MAX: usize = 10_000;

impl LeaveOneGroupOut {
    /// Over rows of these groups.
    #[must_use]
    pub fn new(groups: Groups) -> Self {
        Self { groups }
    }

    /// The folds.
    ///
    /// # Errors
    /// `InvalidArgument` when there are fewer than two groups or more than 10,000.
    pub fn folds(&self) -> Result<Vec<Fold>> {
        let count = self.groups.count();
        if !(2..=FOLDS_MAX).contains(&count) {
            return Err(Error::invalid_argument(format!(
                "leaving each group out in turn needs from 2 to {FOLDS_MAX} groups, found {count}; use GroupKFold for \
                 more"
            )));
        }
        Ok(kfold::folds_of(self.groups.of_row(), count))
    }
}

impl Splitter for LeaveOneGroupOut {
    fn split(&self, data: &TableDataset) -> Result<Vec<Fold>> {
        self.groups.check_rows(data.rows())?;
        self.folds()
    }
}

/// Folds that somebody else has decided on: each row names the fold whose test side it is on, or
/// none to be trained on always. The same as scikit-learn's `PredefinedSplit`.
///
/// ```
/// use mlops_train::PredefinedSplit;
///
/// let folds = PredefinedSplit::new(vec![None, Some(0), Some(1)]).folds()?;
/// assert_eq!((&folds[1].train[..], &folds[1].test[..]), (&[0, 1][..], &[2][..]));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PredefinedSplit {
    test_fold: Vec<Option<usize>>,
}

impl PredefinedSplit {
    /// The fold of each row.
    #[must_use]
    pub fn new(test_fold: Vec<Option<usize>>) -> Self {
        Self { test_fold }
    }

    /// The folds by rising number.
    ///
    /// # Errors
    /// `InvalidArgument` when no row is in a fold or a fold has all rows, so that none is left to
    /// train on.
    pub fn folds(&self) -> Result<Vec<Fold>> {
        let mut numbers: Vec<usize> = self.test_fold.iter().copied().flatten().collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.is_empty() || numbers.len() > FOLDS_MAX {
            return Err(Error::invalid_argument(format!(
                "predefined folds must be from 1 to {FOLDS_MAX}, found {}",
                numbers.len()
            )));
        }
        let fold = |number: usize| {
            let fold = Fold::of_test(|row| self.test_fold.get(row) == Some(&Some(number)), self.test_fold.len());
            fold.checked(number)
        };
        numbers.into_iter().map(fold).collect()
    }
}

impl Splitter for PredefinedSplit {
    fn split(&self, data: &TableDataset) -> Result<Vec<Fold>> {
        if data.rows() != self.test_fold.len() {
            return Err(Error::invalid_argument(format!(
                "folds were given for {} rows, the dataset has {}",
                self.test_fold.len(),
                data.rows()
            )));
        }
        self.folds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_whole() {
        let names: Vec<usize> = (0..97).map(|row| row * row % 13).collect();
        let groups = Groups::of(&names);
        for folds in
            [GroupKFold::new(4, groups.clone()).folds().unwrap(), LeaveOneGroupOut::new(groups).folds().unwrap()]
        {
            for fold in &folds {
                assert!(!fold.test.is_empty() && fold.train.len() + fold.test.len() == 97);
                assert!(fold.test.iter().all(|t| fold.train.iter().all(|r| names[*t] != names[*r])));
            }
            assert_eq!(folds.iter().map(|fold| fold.test.len()).sum::<usize>(), 97);
        }
    }

    #[test]
    fn more_folds_than_groups_are_refused() {
        let groups = Groups::of(&[1, 1, 2]);
        let error = GroupKFold::new(3, groups).folds().unwrap_err();
        assert!(error.message().contains("number of groups (2)"), "{error}");
        assert!(LeaveOneGroupOut::new(Groups::of(&[1, 1])).folds().is_err());
        assert!(PredefinedSplit::new(vec![None, None]).folds().is_err());
        assert!(PredefinedSplit::new(vec![Some(3), Some(3)]).folds().unwrap_err().message().contains("fold 3"));
    }
}
