//! Whole groups, and about the same share of every class in each part.

use mlops_core::{Error, Result};

use super::{Fold, Groups, Splitter, kfold};
use crate::data::{TableDataset, Task};

/// K parts of whole groups: groups with the most uneven classes are dealt out first, each to the
/// part that then leaves class shares most even, the smaller one of equals. The same as
/// scikit-learn's `StratifiedGroupKFold`; shares can be kept only as far as groups allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StratifiedGroupKFold {
    folds: usize,
    groups: Groups,
}

/// Rows by class.
type Counts = Vec<f64>;

impl StratifiedGroupKFold {
    /// So many folds over rows of these groups.
    #[must_use]
    pub fn new(folds: usize, groups: Groups) -> Self {
        Self { folds, groups }
    }

    /// Folds over rows with these classes; equal numbers are one class.
    ///
    /// # Errors
    /// `InvalidArgument` when there are fewer than two folds or fewer groups than folds, labels and
    /// groups differ in number, or every class has fewer rows than folds; `FailedPrecondition` when
    /// a fold stays empty.
    pub fn split_labels(&self, labels: &[f64]) -> Result<Vec<Fold>> {
        self.groups.check_folds(self.folds)?;
        self.groups.check_rows(labels.len())?;
        let (of_group, of_class) = self.counts(labels)?;
        let mut order: Vec<usize> = (0..of_group.len()).collect();
        let unevenness: Vec<f64> = of_group.iter().map(|counts| deviation(counts)).collect();
        let uneven = |group: &usize| unevenness.get(*group).copied().unwrap_or(0.0);
        order.sort_by(|a, b| uneven(b).total_cmp(&uneven(a)));
        let mut of_part: Vec<Counts> = vec![vec![0.0; of_class.len()]; self.folds];
        let mut part_of_group = vec![0; of_group.len()];
        for group in order {
            let Some(counts) = of_group.get(group) else { continue };
            let best = best_part(&of_part, counts, &of_class);
            if let (Some(sums), Some(slot)) = (of_part.get_mut(best), part_of_group.get_mut(group)) {
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                *slot = best;
            }
        }
        let folds = kfold::folds_of(&self.groups.parts(&part_of_group), self.folds);
        folds.into_iter().enumerate().map(|(number, fold)| fold.checked(number)).collect()
    }

    /// Rows by group and class, and by class.
    fn counts(&self, labels: &[f64]) -> Result<(Vec<Counts>, Counts)> {
        let mut classes: Vec<f64> = labels.to_vec();
        classes.sort_by(f64::total_cmp);
        classes.dedup();
        if classes.len() > CLASSES_MAX {
            return Err(Error::invalid_argument(format!(
                "stratification allows {CLASSES_MAX} distinct labels; use GroupKFold for a regression"
            )));
        }
        let (mut of_group, mut of_class) =
            (vec![vec![0.0; classes.len()]; self.groups.count()], vec![0.0; classes.len()]);
        for (label, group) in labels.iter().zip(self.groups.of_row()) {
            let class = classes.partition_point(|class| class < label);
            let cell = of_group.get_mut(*group).and_then(|counts| counts.get_mut(class));
            if let (Some(cell), Some(sum)) = (cell, of_class.get_mut(class)) {
                *cell += 1.0;
                *sum += 1.0;
            }
        }
        if of_class.iter().all(|count| *count < self.folds as f64) {
            return Err(Error::invalid_argument(format!("every class has fewer rows than the {} folds", self.folds)));
        }
        Ok((of_group, of_class))
    }
}

/// Distinct labels that can be classes.
const CLASSES_MAX: usize = 1_000;

fn best_part(of_part: &[Counts], added: &Counts, of_class: &Counts) -> usize {
    let (mut best, mut least, mut rows_least) = (0, f64::INFINITY, f64::INFINITY);
    for (part, counts) in of_part.iter().enumerate() {
        let spread = |class: usize| {
            let share = |(other, sums): (usize, &Counts)| {
                let own = if other == part { added.get(class).copied().unwrap_or(0.0) } else { 0.0 };
                (sums.get(class).copied().unwrap_or(0.0) + own) / of_class.get(class).copied().unwrap_or(1.0)
            };
            deviation(&of_part.iter().enumerate().map(share).collect::<Vec<f64>>())
        };
        let unevenness = (0..of_class.len()).map(spread).sum::<f64>() / of_class.len() as f64;
        let rows: f64 = counts.iter().sum();
        // The tolerances of `numpy.isclose`, by which scikit-learn compares.
        let close = (unevenness - least).abs() <= 1e-8 + 1e-5 * least.abs();
        if unevenness < least || (least.is_finite() && close && rows < rows_least) {
            (best, least, rows_least) = (part, unevenness, rows);
        }
    }
    best
}

/// The standard deviation, n in its denominator.
fn deviation(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt()
}

impl Splitter for StratifiedGroupKFold {
    fn split(&self, data: &TableDataset) -> Result<Vec<Fold>> {
        if data.task() == Task::Regression {
            return Err(Error::invalid_argument(
                "labels of a regression have no classes to stratify by; use GroupKFold",
            ));
        }
        self.split_labels(data.labels())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_as_far_as_groups_allow() {
        let names: Vec<usize> = (0..400).map(|row| row / 4).collect();
        let labels: Vec<f64> = (0..400).map(|row| f64::from(u8::from(row / 4 % 5 == 0))).collect();
        let folds = StratifiedGroupKFold::new(5, Groups::of(&names)).split_labels(&labels).unwrap();
        for fold in &folds {
            let share = fold.test.iter().map(|row| labels[*row]).sum::<f64>() / fold.test.len() as f64;
            assert!((share - 0.2).abs() < 0.05, "{share}");
            assert!(fold.test.iter().all(|t| fold.train.iter().all(|r| names[*t] != names[*r])));
        }
    }

    #[test]
    fn impossible_folds_are_refused() {
        let groups = Groups::of(&[0, 1, 2]);
        assert!(StratifiedGroupKFold::new(4, groups.clone()).split_labels(&[0.0, 1.0, 1.0]).is_err());
        assert!(StratifiedGroupKFold::new(2, groups.clone()).split_labels(&[0.0, 1.0]).is_err());
        assert!(StratifiedGroupKFold::new(3, groups).split_labels(&[0.0, 1.0, 1.0]).is_err());
    }
}
