//! How far effects on counts may be off when the counts come from sketches.
//!
//! Invariant: bounds are rigorous for counts that are off by no more than is said, whatever the other bins do: each
//! bin's contribution is taken at the shares that are nearest, and at those that are farthest, on its own.

use crate::{
    sample::CategoricalSample,
    stats::{ZeroRule, count_of, float, total_of},
};

/// Largest share of rows that may lie on the wrong side of the pool of levels, both sides together.
const POOL_ERROR_MAX: f64 = 0.01;

/// A number for each side: reference, current.
type Pair = (u64, u64);

/// Counts of both sides in the same bins.
#[derive(Debug, Clone, Default)]
pub(super) struct Counted {
    pub(super) left: Vec<u64>,
    pub(super) right: Vec<u64>,
    /// By how much each count may be off; empty when all are exact.
    pub(super) errors: Vec<(u64, u64)>,
}

impl Counted {
    pub(super) fn exact((left, right): (Vec<u64>, Vec<u64>)) -> Self {
        Self { left, right, errors: Vec::new() }
    }

    pub(super) fn push(&mut self, (left, right): (u64, u64), error: (u64, u64)) {
        self.left.push(left);
        self.right.push(right);
        if !self.errors.is_empty() || error != (0, 0) {
            self.errors.resize(self.left.len() - 1, (0, 0));
            self.errors.push(error);
        }
    }

    pub(super) fn bins(&self) -> impl Iterator<Item = ((u64, u64), (u64, u64))> {
        let errors = self.errors.iter().copied().chain(std::iter::repeat((0, 0)));
        self.left.iter().copied().zip(self.right.iter().copied()).zip(errors)
    }

    /// The bins for which a predicate on both counts holds, and the sum of the others.
    pub(super) fn split(&self, keep: impl Fn(u64, u64) -> bool) -> (Self, (Pair, Pair)) {
        let (mut kept, mut rest) = (Self::default(), ((0, 0), (0, 0)));
        for (counts, error) in self.bins() {
            if keep(counts.0, counts.1) {
                kept.push(counts, error);
            } else {
                let sum = |a: (u64, u64), b: (u64, u64)| (a.0.saturating_add(b.0), a.1.saturating_add(b.1));
                rest = (sum(rest.0, counts), sum(rest.1, error));
            }
        }
        (kept, rest)
    }
}

/// Counts level by level of samples of which at least one is a sketch: the most frequent levels of both, as many as
/// keep the pool of the others well defined, then that pool.
pub(super) fn frequent_counts(left: &CategoricalSample, right: &CategoricalSample) -> Counted {
    let (n, m) = (float(left.total()).max(1.0), float(right.total()).max(1.0));
    let (left_error, right_error) = (left.level_error(), right.level_error());
    let each = float(left_error) / n + float(right_error) / m;
    // A side that pools levels for brevity does not know how often one of them occurs.
    let hides =
        |sample: &CategoricalSample, level| sample.other() > 0 && sample.level_error() == 0 && sample.count(level) == 0;
    let mut levels: Vec<(&str, f64)> = left.levels().chain(right.levels()).map(|(level, _)| (level, 0.0)).collect();
    levels.sort_unstable_by(|a, b| a.0.cmp(b.0));
    levels.dedup_by(|a, b| a.0 == b.0);
    levels.retain(|(level, _)| !hides(left, level) && !hides(right, level));
    for (level, share) in &mut levels {
        *share = float(left.count(level)) / n + float(right.count(level)) / m;
    }
    levels.sort_by(|a, b| b.1.total_cmp(&a.1));
    let mut counted = Counted::default();
    for (named, (level, _)) in levels.into_iter().enumerate() {
        if float(count_of(named + 1)) * each > POOL_ERROR_MAX {
            break;
        }
        counted.push((left.count(level), right.count(level)), (left_error, right_error));
    }
    let rest = (left.total() - total_of(&counted.left), right.total() - total_of(&counted.right));
    let named = count_of(counted.left.len());
    let error = |rest: u64, each: u64| rest.min(named.saturating_mul(each));
    counted.push(rest, (error(rest.0, left_error), error(rest.1, right_error)));
    counted
}

/// The least and the greatest sum over bins that shares within their errors allow. `term` grows as shares part.
fn sums(shares: &[(f64, f64, f64, f64)], floors: (f64, f64), term: impl Fn(f64, f64) -> f64) -> (f64, f64) {
    let ends = shares.iter().map(|&(p, q, p_error, q_error)| {
        let (p_low, p_high) = ((p - p_error).max(floors.0).min(p), (p + p_error).min(1.0).max(p));
        let (q_low, q_high) = ((q - q_error).max(floors.1).min(q), (q + q_error).min(1.0).max(q));
        let least = if p_low > q_high {
            term(p_low, q_high)
        } else if q_low > p_high {
            term(p_high, q_low)
        } else {
            0.0
        };
        (least, term(p_high, q_low).max(term(p_low, q_high)))
    });
    ends.fold((0.0, 0.0), |sums, ends| (sums.0 + ends.0, sums.1 + ends.1))
}

/// Bounds of PSI under a rule for zeros.
pub(super) fn psi_bounds(counted: &Counted, rule: ZeroRule) -> Option<(f64, f64)> {
    let (p, q) = (rule.shares_of(&counted.left)?, rule.shares_of(&counted.right)?);
    let (n, m) = (float(total_of(&counted.left)), float(total_of(&counted.right)));
    let shares: Vec<_> =
        p.iter().zip(&q).zip(counted.bins()).map(|((p, q), (_, e))| (*p, *q, float(e.0) / n, float(e.1) / m)).collect();
    let floor =
        |total: f64, least: Option<f64>| (0.5 / (total + 0.5 * float(count_of(p.len())))).min(least.unwrap_or(1.0));
    let least = |shares: &[f64]| shares.iter().copied().reduce(f64::min);
    let floors = (floor(n, least(&p)), floor(m, least(&q)));
    Some(sums(&shares, floors, |p, q| (p - q) * (p / q).ln()))
}

/// Bounds of the chi-squared statistic of homogeneity, without continuity correction.
pub(super) fn chi_squared_bounds(counted: &Counted) -> (f64, f64) {
    let (n, m) = (float(total_of(&counted.left)), float(total_of(&counted.right)));
    let (mut low, mut high) = (0.0, 0.0);
    for ((a, b), (a_error, b_error)) in counted.bins() {
        let (p, q) = (float(a) / n, float(b) / m);
        let (p_error, q_error) = (float(a_error) / n, float(b_error) / m);
        let expected = float(a) + float(b);
        let (apart, error) = ((p - q).abs(), p_error + q_error);
        let off = float(a_error) + float(b_error);
        low += (apart - error).max(0.0).powi(2) / (expected + off).max(1.0);
        high += (apart + error).powi(2) / (expected - off).max(1.0);
    }
    (n * m * low, (n * m * high).min(n + m))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Continuity, chi_squared, psi};
    use proptest::prelude::*;

    proptest! {
        /// Whatever counts within the errors turn out to be the true ones, the bounds hold.
        #[test]
        fn bounds_hold(
            bins in proptest::collection::vec((20_u64..500, 20_u64..500, 0_u64..20, 0_u64..20), 2..8),
            moves in proptest::collection::vec((-1.0_f64..1.0, -1.0_f64..1.0), 8),
        ) {
            let mut counted = Counted::default();
            bins.iter().for_each(|bin| counted.push((bin.0, bin.1), (bin.2, bin.3)));
            let moved = |count: u64, error: u64, by: f64| ((float(count) + float(error) * by).round()).max(0.0) as u64;
            let mut truth: (Vec<u64>, Vec<u64>) =
                bins.iter().zip(&moves).map(|(b, by)| (moved(b.0, b.2, by.0), moved(b.1, b.3, by.1))).unzip();
            // Totals are known exactly: the last bin takes what the others lost, and its error says so.
            for (side, counts) in [(&mut truth.0, &counted.left), (&mut truth.1, &counted.right)] {
                let (total, sum) = (total_of(counts), total_of(&side[..side.len() - 1]));
                prop_assume!(sum < total);
                *side.last_mut().unwrap() = total - sum;
            }
            let last = (truth.0.last().unwrap().abs_diff(*counted.left.last().unwrap()),
                truth.1.last().unwrap().abs_diff(*counted.right.last().unwrap()));
            let end = counted.left.len();
            counted.errors.resize(end, (0, 0));
            *counted.errors.last_mut().unwrap() = last;
            let (low, high) = psi_bounds(&counted, ZeroRule::Laplace).unwrap();
            let value = psi(&truth.0, &truth.1, ZeroRule::Laplace).unwrap();
            prop_assert!(low - 1e-9 <= value && value <= high + 1e-9, "{} {} {}", low, value, high);
            let (low, high) = chi_squared_bounds(&counted);
            let value = chi_squared(&truth.0, &truth.1, Continuity::None).unwrap().statistic;
            prop_assert!(low - 1e-9 <= value && value <= high + 1e-9, "{} {} {}", low, value, high);
        }
    }
}
