//! How alike two labellings of the same rows are, whatever their labels are called.
//!
//! Invariant: everything follows from the contingency table, so renaming labels changes nothing.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};

use crate::special::ln_gamma;

/// Counts of rows by label of the first and of the second labelling.
///
/// ```
/// use mlops_metrics::Agreement;
///
/// let agreement = Agreement::of(&[0, 0, 1, 1], &[7, 7, 3, 3])?;
/// assert_eq!((agreement.adjusted_rand(), agreement.v_measure()), (1.0, 1.0));
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    rows: f64,
    cells: Vec<(f64, f64, f64)>,
    first: Vec<f64>,
    second: Vec<f64>,
}

fn pairs(count: f64) -> f64 {
    count * (count - 1.0) / 2.0
}

/// In nats.
fn entropy(counts: &[f64], rows: f64) -> f64 {
    -counts.iter().map(|count| count / rows * (count / rows).ln()).sum::<f64>()
}

impl Agreement {
    /// Counts the rows of two labellings.
    ///
    /// # Errors
    /// `InvalidArgument` when lengths differ or are zero.
    pub fn of(first: &[usize], second: &[usize]) -> Result<Self> {
        if first.is_empty() || first.len() != second.len() {
            return Err(Error::invalid_argument("labellings need as many labels each, and at least one"));
        }
        let mut cells: BTreeMap<(usize, usize), f64> = BTreeMap::new();
        let (mut of_first, mut of_second) = (BTreeMap::new(), BTreeMap::new());
        for (a, b) in first.iter().zip(second) {
            *cells.entry((*a, *b)).or_default() += 1.0;
            *of_first.entry(*a).or_insert(0.0) += 1.0;
            *of_second.entry(*b).or_insert(0.0) += 1.0;
        }
        let count = |counts: &BTreeMap<usize, f64>, label| counts.get(&label).copied().unwrap_or(0.0);
        Ok(Self {
            rows: first.len() as f64,
            cells: cells.iter().map(|((a, b), n)| (*n, count(&of_first, *a), count(&of_second, *b))).collect(),
            first: of_first.into_values().collect(),
            second: of_second.into_values().collect(),
        })
    }

    /// Pairs of rows together in both, in the first and in the second labelling, and all pairs.
    fn pair_counts(&self) -> (f64, f64, f64, f64) {
        let of = |counts: &[f64]| counts.iter().map(|count| pairs(*count)).sum::<f64>();
        (self.cells.iter().map(|cell| pairs(cell.0)).sum(), of(&self.first), of(&self.second), pairs(self.rows))
    }

    /// Hubert and Arabie's adjusted Rand index (Journal of Classification 2, 1985): zero by chance,
    /// one for equal labellings.
    #[must_use]
    pub fn adjusted_rand(&self) -> f64 {
        let (both, first, second, all) = self.pair_counts();
        let chance = if all > 0.0 { first * second / all } else { 0.0 };
        let best = f64::midpoint(first, second);
        if best - chance == 0.0 { 1.0 } else { (both - chance) / (best - chance) }
    }

    /// Fowlkes and Mallows' index (JASA 78, 1983): geometric mean of pairwise precision and recall.
    #[must_use]
    pub fn fowlkes_mallows(&self) -> f64 {
        let (both, first, second, _) = self.pair_counts();
        if both > 0.0 { (both / first).sqrt() * (both / second).sqrt() } else { 0.0 }
    }

    /// Mutual information in nats.
    #[must_use]
    pub fn mutual_information(&self) -> f64 {
        let term = |&(n, a, b): &(f64, f64, f64)| n / self.rows * (self.rows * n / (a * b)).ln();
        self.cells.iter().map(term).sum::<f64>().max(0.0)
    }

    /// Share of the first labelling's entropy that the second explains; one when it has none.
    #[must_use]
    pub fn homogeneity(&self) -> f64 {
        self.share_of(&self.first)
    }

    /// Share of the second labelling's entropy that the first explains; one when it has none.
    #[must_use]
    pub fn completeness(&self) -> f64 {
        self.share_of(&self.second)
    }

    fn share_of(&self, counts: &[f64]) -> f64 {
        let entropy = entropy(counts, self.rows);
        if entropy > 0.0 { self.mutual_information() / entropy } else { 1.0 }
    }

    /// Harmonic mean of homogeneity and completeness, which is the mutual information over the mean
    /// entropy (normalized mutual information).
    #[must_use]
    pub fn v_measure(&self) -> f64 {
        let (h, c) = (self.homogeneity(), self.completeness());
        if h + c > 0.0 { 2.0 * h * c / (h + c) } else { 0.0 }
    }

    /// Mutual information beyond that of random labellings with the same sizes, over the mean
    /// entropy beyond it (Vinh, Epps and Bailey, JMLR 11, 2010). Takes time in proportion to rows
    /// times labels.
    #[must_use]
    pub fn adjusted_mutual_information(&self) -> f64 {
        if self.first.len() == self.second.len() && (self.first.len() == 1 || self.first.len() as f64 == self.rows) {
            return 1.0;
        }
        let expected = self.expected_information();
        let mean = f64::midpoint(entropy(&self.first, self.rows), entropy(&self.second, self.rows));
        let room = mean - expected;
        let room = if room < 0.0 { room.min(-f64::EPSILON) } else { room.max(f64::EPSILON) };
        (self.mutual_information() - expected) / room
    }

    /// The mean of n/N ln(N n / (a b)) over hypergeometric counts n of each cell.
    fn expected_information(&self) -> f64 {
        let n = self.rows;
        let ln_factorial: Vec<f64> = (0..=n as usize).map(|i| ln_gamma(i as f64 + 1.0)).collect();
        let ln = |count: f64| ln_factorial.get(count as usize).copied().unwrap_or(0.0);
        let mut sum = 0.0;
        for &a in &self.first {
            for &b in &self.second {
                let fixed = ln(a) + ln(b) + ln(n - a) + ln(n - b) - ln(n);
                let mut count = (a + b - n).max(1.0);
                while count <= a.min(b) {
                    let chance = fixed - ln(count) - ln(a - count) - ln(b - count) - ln(n - a - b + count);
                    sum += count / n * (n * count / (a * b)).ln() * chance.exp();
                    count += 1.0;
                }
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_may_be_swapped() {
        let (a, b) = ([0, 0, 1, 1, 2, 2, 2], [1, 1, 1, 0, 0, 2, 2]);
        let (forth, back) = (Agreement::of(&a, &b).unwrap(), Agreement::of(&b, &a).unwrap());
        assert!((forth.adjusted_rand() - back.adjusted_rand()).abs() < 1e-12);
        assert!((forth.adjusted_mutual_information() - back.adjusted_mutual_information()).abs() < 1e-12);
        assert!((forth.homogeneity() - back.completeness()).abs() < 1e-12);
    }

    #[test]
    fn trivial_labellings_are_those_of_scikit_learn() {
        // sklearn.metrics 1.9.1: one cluster against one, and against singletons.
        let one = Agreement::of(&[0, 0, 0], &[5, 5, 5]).unwrap();
        assert_eq!((one.adjusted_rand(), one.adjusted_mutual_information(), one.homogeneity()), (1.0, 1.0, 1.0));
        let split = Agreement::of(&[0, 0, 0], &[1, 2, 3]).unwrap();
        assert_eq!((split.adjusted_rand(), split.homogeneity(), split.completeness()), (0.0, 1.0, 0.0));
        assert_eq!((split.fowlkes_mallows(), split.v_measure()), (0.0, 0.0));
        assert!(Agreement::of(&[], &[]).is_err() && Agreement::of(&[1], &[1, 2]).is_err());
    }
}
