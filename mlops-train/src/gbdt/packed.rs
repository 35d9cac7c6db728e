//! The bins of the features that one tree sees, four features of a row side by side.
//!
//! Summing a node reads the bins of scattered rows. Four at a time cost one read, one look-up of the
//! row's derivatives serves four features, and their sums stay in the first-level cache.

use super::bins::{BinnedTable, MISSING};

/// Features that lie side by side.
pub(super) const LANES: usize = 4;

/// Bins by group of features and row; the last group is filled up with missing values.
#[derive(Debug)]
pub(crate) struct PackedBins {
    features: Vec<u32>,
    /// Bins that each feature has.
    counts: Vec<usize>,
    groups: Vec<Vec<[u8; LANES]>>,
}

impl PackedBins {
    /// Packs these features, which ascend.
    pub(crate) fn new(table: &BinnedTable, features: Vec<u32>) -> Self {
        let group = |features: &[u32]| {
            let mut packed = vec![[MISSING; LANES]; table.rows()];
            for (lane, &feature) in features.iter().enumerate() {
                for (row, &bin) in packed.iter_mut().zip(table.feature(feature as usize)) {
                    if let Some(place) = row.get_mut(lane) {
                        *place = bin;
                    }
                }
            }
            packed
        };
        let groups = features.chunks(LANES).map(group).collect();
        let counts = features.iter().map(|&feature| table.bins(feature as usize)).collect();
        Self { features, counts, groups }
    }

    /// The features, ascending.
    pub(crate) fn features(&self) -> &[u32] {
        &self.features
    }

    /// Bins of each feature, the one for missing values included.
    pub(super) fn counts(&self) -> &[usize] {
        &self.counts
    }

    pub(super) fn groups(&self) -> &[Vec<[u8; LANES]>] {
        &self.groups
    }
}
