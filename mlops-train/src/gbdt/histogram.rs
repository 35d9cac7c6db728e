//! Sums of derivatives by bin, and the best split they allow.
//!
//! Invariant: a histogram covers the bins of all features side by side; parent = left + right, so
//! the larger child is had by subtraction.

#![allow(clippy::indexing_slicing, reason = "bins lie within the ranges of the table that made the histogram")]

use super::{
    bins::{BinnedTable, MISSING},
    loss::Derivatives,
    settings::GbdtSettings,
};

/// Sums over the rows of a bin, or of a node.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    pub(crate) gradient: f64,
    pub(crate) curvature: f64,
    pub(crate) rows: u32,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.gradient += other.gradient;
        self.curvature += other.curvature;
        self.rows += other.rows;
    }

    pub(crate) fn less(self, other: Self) -> Self {
        Self {
            gradient: self.gradient - other.gradient,
            curvature: self.curvature - other.curvature,
            rows: self.rows - other.rows,
        }
    }

    /// The value of a leaf with these sums: the Newton step `-G / (H + lambda)`.
    pub(crate) fn leaf_value(self, lambda: f64) -> f64 {
        let denominator = self.curvature + lambda;
        if denominator > 0.0 { -self.gradient / denominator } else { 0.0 }
    }

    /// Twice the loss that a leaf takes away: `G^2 / (H + lambda)`.
    fn strength(self, lambda: f64) -> f64 {
        let denominator = self.curvature + lambda;
        if denominator > 0.0 { self.gradient * self.gradient / denominator } else { 0.0 }
    }
}

/// Where to part the rows of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Split {
    pub(crate) gain: f64,
    pub(crate) feature: usize,
    pub(crate) bin: u8,
    pub(crate) missing_left: bool,
    pub(crate) left: Sums,
}

/// Sums per bin of all features.
#[derive(Debug, Clone)]
pub(crate) struct Histogram(Vec<Sums>);

impl Histogram {
    pub(crate) fn zeros(table: &BinnedTable) -> Self {
        Self(vec![Sums::default(); table.total_bins()])
    }

    /// Sums the given rows; `gathered` is their derivatives in the same order.
    pub(crate) fn fill(&mut self, table: &BinnedTable, features: &[u32], rows: &[u32], gathered: &[Derivatives]) {
        for &feature in features {
            let feature = feature as usize;
            let sums = &mut self.0[table.range(feature)];
            sums.fill(Sums::default());
            let bins = table.feature(feature);
            for (&row, derivatives) in rows.iter().zip(gathered) {
                let sum = &mut sums[usize::from(bins[row as usize])];
                sum.gradient += derivatives.gradient;
                sum.curvature += derivatives.curvature;
                sum.rows += 1;
            }
        }
    }

    /// Turns the histogram of a parent into that of one child by taking the other away.
    pub(crate) fn subtract(&mut self, table: &BinnedTable, features: &[u32], other: &Self) {
        for &feature in features {
            let range = table.range(feature as usize);
            for (sum, &taken) in self.0[range.clone()].iter_mut().zip(&other.0[range]) {
                *sum = sum.less(taken);
            }
        }
    }

    /// The split with the largest gain over all features; of equal gains the first feature and
    /// lowest bin. None when no split is allowed.
    pub(crate) fn best_split(
        &self,
        table: &BinnedTable,
        features: &[u32],
        total: Sums,
        settings: &GbdtSettings,
    ) -> Option<Split> {
        let mut best: Option<Split> = None;
        for &feature in features {
            let sums = &self.0[table.range(feature as usize)];
            let missing = sums[usize::from(MISSING)];
            scan(sums, feature as usize, total, Side::of(missing, false), settings, &mut best);
            if missing.rows > 0 {
                scan(sums, feature as usize, total, Side::of(missing, true), settings, &mut best);
            }
        }
        best
    }
}

/// What starts on the left of every cut.
#[derive(Clone, Copy)]
struct Side {
    start: Sums,
    missing_rows: u32,
    missing_left: bool,
}

impl Side {
    fn of(missing: Sums, missing_left: bool) -> Self {
        let start = if missing_left { missing } else { Sums::default() };
        Self { start, missing_rows: missing.rows, missing_left }
    }
}

fn scan(sums: &[Sums], feature: usize, total: Sums, side: Side, settings: &GbdtSettings, best: &mut Option<Split>) {
    let parent = total.strength(settings.lambda);
    let rows_min = u32::try_from(settings.min_child_rows).unwrap_or(u32::MAX);
    let mut left = side.start;
    // All values left and what is missing right is a split too.
    let parts_missing = side.missing_rows > 0 && !side.missing_left;
    let end = sums.len() - usize::from(!parts_missing);
    for (bin, &sum) in sums.iter().enumerate().take(end).skip(1) {
        if sum.rows == 0 {
            continue;
        }
        left.add(sum);
        let right = total.less(left);
        if left.rows < rows_min || left.curvature < settings.min_child_weight {
            continue;
        }
        if right.rows < rows_min || right.curvature < settings.min_child_weight {
            break;
        }
        let gain = 0.5 * (left.strength(settings.lambda) + right.strength(settings.lambda) - parent);
        if gain > settings.min_gain.max(1e-12) && best.is_none_or(|best| gain > best.gain) {
            // Rows that lack a value where training rows had none follow the larger child.
            let missing_left = if side.missing_rows > 0 { side.missing_left } else { left.rows >= right.rows };
            *best = Some(Split { gain, feature, bin: bin as u8, missing_left, left });
        }
    }
}
