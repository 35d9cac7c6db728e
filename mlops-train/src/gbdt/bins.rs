//! Features cut into bins.
//!
//! Invariant: bin 0 holds what is missing; bin `b >= 1` holds values above `cuts[b - 2]` and up to
//! `cuts[b - 1]`, so that "bin at most b" and "value at most `cuts[b - 1]`" mean the same.

#![allow(clippy::indexing_slicing, reason = "rows and features are below the dimensions the table was built with")]

use crate::preprocess::Matrix;

/// Bin of what is missing.
pub(crate) const MISSING: u8 = 0;

/// Every value's bin, feature after feature.
#[derive(Debug)]
pub(crate) struct BinnedTable {
    rows: usize,
    bins: Vec<u8>,
    cuts: Vec<Vec<f64>>,
}

impl BinnedTable {
    /// Cuts every column at quantiles of its own values into at most `max_bins` bins.
    pub(crate) fn new(matrix: &Matrix, max_bins: usize) -> Self {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let mut bins = vec![MISSING; rows * columns];
        let mut cuts = Vec::with_capacity(columns);
        for column in 0..columns {
            let values: Vec<f64> = matrix.column(column).collect();
            let column_cuts = quantile_cuts(&values, max_bins);
            for (bin, &value) in bins[column * rows..].iter_mut().zip(&values) {
                *bin = bin_of(value, &column_cuts);
            }
            cuts.push(column_cuts);
        }
        Self { rows, bins, cuts }
    }

    pub(crate) fn features(&self) -> usize {
        self.cuts.len()
    }

    /// The bins of one feature by row.
    pub(crate) fn feature(&self, feature: usize) -> &[u8] {
        &self.bins[feature * self.rows..(feature + 1) * self.rows]
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Bins of one feature, the one for missing values included; at most 256.
    pub(crate) fn bins(&self, feature: usize) -> usize {
        self.cuts[feature].len() + 2
    }

    /// The value up to which "bin at most `bin`" holds; the largest double for the last bin.
    pub(crate) fn threshold(&self, feature: usize, bin: u8) -> f64 {
        self.cuts[feature].get(usize::from(bin) - 1).copied().unwrap_or(f64::MAX)
    }
}

/// One more than the number of cuts below the value; 0 for NaN.
fn bin_of(value: f64, cuts: &[f64]) -> u8 {
    if value.is_nan() {
        return MISSING;
    }
    // At most 254 cuts, so that the sum is at most 255.
    cuts.partition_point(|&cut| cut < value) as u8 + 1
}

/// Cuts between distinct values: between all of them if they are few, else so that bins hold about
/// equally many rows. Each cut lies halfway between its neighbors.
fn quantile_cuts(values: &[f64], max_bins: usize) -> Vec<f64> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let runs: Vec<&[f64]> = sorted.chunk_by(|a, b| a == b).collect();
    let mut cuts = Vec::new();
    let (mut rows_left, mut bins_left, mut in_bin) = (sorted.len(), max_bins, 0);
    for pair in runs.windows(2) {
        in_bin += pair[0].len();
        let few = runs.len() <= max_bins;
        if few || (bins_left > 1 && in_bin * bins_left >= rows_left) {
            cuts.push(between(pair[0][0], pair[1][0]));
            rows_left -= in_bin;
            bins_left -= 1;
            in_bin = 0;
        }
    }
    cuts
}

/// A value from `low` up to but not including `high`.
fn between(low: f64, high: f64) -> f64 {
    let middle = low / 2.0 + high / 2.0;
    if low <= middle && middle < high { middle } else { low }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(values: &[f64], max_bins: usize) -> BinnedTable {
        let mut matrix = Matrix::zeros(values.len(), 1);
        values.iter().enumerate().for_each(|(row, &value)| matrix.set(row, 0, value));
        BinnedTable::new(&matrix, max_bins)
    }

    #[test]
    fn few_values_get_a_bin_each() {
        let table = table(&[3.0, f64::NAN, 1.0, 3.0, -0.0, 0.0], 255);
        assert_eq!(table.feature(0), [3, 0, 2, 3, 1, 1]);
        assert_eq!((table.threshold(0, 1), table.threshold(0, 2)), (0.5, 2.0));
        assert_eq!(table.bins(0), 4);
    }

    #[test]
    fn many_values_share_bins_evenly() {
        let values: Vec<f64> = (0..10_000).map(f64::from).collect();
        let table = table(&values, 255);
        let mut counts = [0_u32; 256];
        table.feature(0).iter().for_each(|&bin| counts[usize::from(bin)] += 1);
        assert_eq!(counts[0], 0);
        assert!(counts[1..].iter().all(|&count| (35..=45).contains(&count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn bins_and_thresholds_agree(values in prop::collection::vec(-1e3..1e3_f64, 1..300), max_bins in 2..20_usize) {
            let table = table(&values, max_bins);
            for bin in 1..=table.cuts[0].len() as u8 {
                for (row, value) in values.iter().enumerate() {
                    prop_assert_eq!(table.feature(0)[row] <= bin, *value <= table.threshold(0, bin));
                }
            }
            prop_assert!(table.cuts[0].len() < max_bins);
        }
    }
}
