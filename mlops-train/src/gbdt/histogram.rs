//! Sums of derivatives by bin, and the best split they allow.
//!
//! Invariant: a histogram covers the bins of all features of its tree; parent = left + right, so the
//! larger child is had by subtraction.

#![allow(clippy::indexing_slicing, reason = "bins are below 256 by their type, rows below those of the table")]

use super::{
    bins::MISSING,
    loss::Derivatives,
    packed::{LANES, PackedBins},
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
    fn count(&mut self, derivatives: Derivatives) {
        self.gradient += derivatives.gradient;
        self.curvature += derivatives.curvature;
        self.rows += 1;
    }

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

/// Bins of one feature, as many as a byte can name: no look-up can miss.
type FeatureSums = [Sums; 256];

/// Sums per bin of the features of a tree, in their order; the last group of lanes is filled up.
#[derive(Debug, Clone)]
pub(crate) struct Histogram(Vec<[FeatureSums; LANES]>);

impl Histogram {
    /// Bytes of a histogram over so many features.
    pub(crate) fn bytes(features: usize) -> usize {
        features.div_ceil(LANES).saturating_mul(size_of::<[FeatureSums; LANES]>())
    }

    pub(crate) fn zeros(packed: &PackedBins) -> Self {
        Self(vec![[[Sums::default(); 256]; LANES]; packed.groups().len()])
    }

    /// Sums the given rows; `gathered` is their derivatives in the same order.
    pub(crate) fn fill(&mut self, packed: &PackedBins, rows: &[u32], gathered: &[Derivatives]) {
        let counts = packed.counts().chunks(LANES);
        for ((sums, bins), counts) in self.0.iter_mut().zip(packed.groups()).zip(counts) {
            for (lane, sums) in sums.iter_mut().enumerate() {
                sums[..counts.get(lane).copied().unwrap_or(1)].fill(Sums::default());
            }
            let [first, second, third, fourth] = sums;
            for (&row, &derivatives) in rows.iter().zip(gathered) {
                let [a, b, c, d] = bins[row as usize];
                first[usize::from(a)].count(derivatives);
                second[usize::from(b)].count(derivatives);
                third[usize::from(c)].count(derivatives);
                fourth[usize::from(d)].count(derivatives);
            }
        }
    }

    /// Sums of the features in their order, each of as many bins as it has.
    fn features<'a>(&'a self, packed: &'a PackedBins) -> impl Iterator<Item = (usize, &'a [Sums])> {
        let lanes = self.0.iter().flatten().zip(packed.counts()).map(|(sums, &count)| &sums[..count]);
        packed.features().iter().map(|&feature| feature as usize).zip(lanes)
    }

    /// Turns the histogram of a parent into that of one child by taking the other away.
    pub(crate) fn subtract(&mut self, packed: &PackedBins, other: &Self) {
        let lanes = self.0.iter_mut().flatten().zip(other.0.iter().flatten());
        for ((sums, taken), &count) in lanes.zip(packed.counts()) {
            sums[..count].iter_mut().zip(taken).for_each(|(sum, &taken)| *sum = sum.less(taken));
        }
    }

    /// The split with the largest gain over all features; of equal gains the first feature and
    /// lowest bin. None when no split is allowed.
    pub(crate) fn best_split(&self, packed: &PackedBins, total: Sums, limits: &Limits<'_>) -> Option<Split> {
        let mut best: Option<Split> = None;
        for (feature, sums) in self.features(packed) {
            let missing = sums[usize::from(MISSING)];
            scan(sums, feature, total, Side::of(missing, false), limits, &mut best);
            if missing.rows > 0 {
                scan(sums, feature, total, Side::of(missing, true), limits, &mut best);
            }
        }
        best
    }
}

/// What a split must keep to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'a> {
    pub(crate) settings: &'a GbdtSettings,
    /// The gain that is not enough: `min_gain`, or what rounding alone may give.
    gain: f64,
}

impl<'a> Limits<'a> {
    /// Of labels in `unit` with this variance there, in whose units gains are. That of large labels asks for no more
    /// than that of labels around one: a few that are far off must not hide what tells the others apart.
    pub(crate) fn new(settings: &'a GbdtSettings, variance: f64, unit: f64) -> Self {
        Self { settings, gain: (settings.min_gain / unit / unit).max(1e-12 * variance.min(1.0)) }
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

fn scan(sums: &[Sums], feature: usize, total: Sums, side: Side, limits: &Limits<'_>, best: &mut Option<Split>) {
    let settings = limits.settings;
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
        if gain > limits.gain && best.is_none_or(|best| gain > best.gain) {
            // Rows that lack a value where training rows had none follow the larger child.
            let missing_left = if side.missing_rows > 0 { side.missing_left } else { left.rows >= right.rows };
            *best = Some(Split { gain, feature, bin: bin as u8, missing_left, left });
        }
    }
}
