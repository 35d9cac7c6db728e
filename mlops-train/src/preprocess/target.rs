//! Categories as the mean label of their rows.
//!
//! A category's mean is drawn towards the mean of all rows as if `smoothing` rows of that mean belonged
//! to it (Micci-Barreca 2001). A row's own label must not speak through its category: training rows
//! get the means of folds that they are not in, later rows those of all training rows.

use std::collections::HashMap;

use crate::rng::SeededRng;

/// Folds that training rows are spread over.
const FOLDS: usize = 5;

/// The stream of the seed that folds are drawn from.
const FOLD_STREAM: u64 = 4;

/// What is known of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labeled<'a> {
    pub(super) category: Option<&'a str>,
    pub(super) label: f64,
    pub(super) weight: f64,
}

/// Smoothed means by category.
#[derive(Debug, Default)]
pub(super) struct Means<'a> {
    sums: HashMap<Option<&'a str>, (f64, f64)>,
    total: (f64, f64),
    smoothing: f64,
}

impl<'a> Means<'a> {
    pub(super) fn of(rows: impl Iterator<Item = Labeled<'a>>, smoothing: f64) -> Self {
        let mut means = Self { smoothing, ..Self::default() };
        for Labeled { category, label, weight } in rows {
            for sum in [means.sums.entry(category).or_default(), &mut means.total] {
                sum.0 += weight * label;
                sum.1 += weight;
            }
        }
        means
    }

    /// The mean of all rows, which unseen categories get.
    pub(super) fn prior(&self) -> f64 {
        if self.total.1 > 0.0 { self.total.0 / self.total.1 } else { 0.0 }
    }

    /// The smoothed mean of one category; none is the category of rows that lack a value.
    pub(super) fn mean(&self, category: Option<&str>) -> f64 {
        let (sum, weight) = self.sums.get(&category).copied().unwrap_or_default();
        let total = weight + self.smoothing;
        if total > 0.0 { (sum + self.smoothing * self.prior()) / total } else { self.prior() }
    }
}

/// The mean of each training row's category over the folds that the row is not in.
pub(super) fn cross_fitted(rows: &[Labeled<'_>], smoothing: f64, seed: u64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    SeededRng::new(seed, FOLD_STREAM).shuffle(&mut order);
    let mut fold_of = vec![0; rows.len()];
    for (position, row) in order.into_iter().enumerate() {
        if let Some(fold) = fold_of.get_mut(row) {
            *fold = position % FOLDS;
        }
    }
    let others = |fold: usize| rows.iter().zip(&fold_of).filter(move |(_, of)| **of != fold).map(|(row, _)| *row);
    let means: Vec<Means<'_>> = (0..FOLDS).map(|fold| Means::of(others(fold), smoothing)).collect();
    let mean = |(row, fold): (&Labeled<'_>, &usize)| means.get(*fold).map_or(0.0, |means| means.mean(row.category));
    rows.iter().zip(&fold_of).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(category: &str, label: f64) -> Labeled<'_> {
        Labeled { category: Some(category), label, weight: 1.0 }
    }

    #[test]
    fn means_by_hand() {
        let rows = [row("a", 1.0), row("a", 0.0), row("a", 1.0), row("b", 0.0)];
        let means = Means::of(rows.into_iter(), 2.0);
        assert_eq!(means.prior(), 0.5);
        assert_eq!(means.mean(Some("a")), (2.0 + 1.0) / 5.0);
        assert_eq!(means.mean(Some("b")), 1.0 / 3.0);
        assert_eq!((means.mean(Some("c")), means.mean(None)), (0.5, 0.5));
    }

    #[test]
    fn a_row_does_not_see_its_own_label() {
        // Every row is a category of its own: nothing is to be learnt from it.
        let names: Vec<String> = (0..200).map(|row| format!("id {row}")).collect();
        let label = |row: usize| (row % 2) as f64;
        let rows: Vec<Labeled<'_>> = names.iter().enumerate().map(|(at, name)| row(name, label(at))).collect();
        let encoded = cross_fitted(&rows, 1.0, 7);
        let mean = |wanted: usize| {
            let of: Vec<f64> = encoded.iter().enumerate().filter(|(at, _)| at % 2 == wanted).map(|(_, v)| *v).collect();
            of.iter().sum::<f64>() / of.len() as f64
        };
        assert!((mean(0) - mean(1)).abs() < 0.02, "{} {}", mean(0), mean(1));
        let leaking = Means::of(rows.iter().copied(), 1.0);
        assert!(leaking.mean(Some("id 1")) - leaking.mean(Some("id 0")) > 0.4);
        assert_eq!(cross_fitted(&rows, 1.0, 7), encoded);
        assert_ne!(cross_fitted(&rows, 1.0, 8), encoded);
    }
}
