//! Numbers with their counts: the exact state of a column with few distinct values.
//!
//! Invariant: values are finite, ascending and distinct, counts positive. Adding is commutative and associative.

use mlops_core::Result;

use super::codec::{Reader, Writer, damaged};
use crate::stats::float;

/// Distinct values and how often each occurs.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Runs(Vec<(f64, u64)>);

impl Runs {
    /// Equal neighbors of ascending values as one.
    pub(crate) fn of_sorted(sorted: &[f64]) -> Self {
        let mut runs: Vec<(f64, u64)> = Vec::new();
        for &value in sorted {
            match runs.last_mut() {
                Some((last, count)) if *last == value => *count += 1,
                _ => runs.push((value, 1)),
            }
        }
        Self(runs)
    }

    /// From values in any order with weights.
    pub(crate) fn of_weighted(mut weighted: Vec<(f64, u64)>) -> Self {
        weighted.sort_by(|a, b| a.0.total_cmp(&b.0));
        weighted.dedup_by(|next, kept| {
            let equal = next.0 == kept.0;
            if equal {
                kept.1 = kept.1.saturating_add(next.1);
            }
            equal
        });
        Self(weighted)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (f64, u64)> {
        self.0.iter().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Adds the counts of another.
    pub(super) fn merge(&mut self, other: &Self) {
        let mut merged = Vec::with_capacity(self.0.len().max(other.0.len()));
        let (mut left, mut right) = (self.0.as_slice(), other.0.as_slice());
        while let (Some((a, left_rest)), Some((b, right_rest))) = (left.split_first(), right.split_first()) {
            let first = a.0.min(b.0);
            let mut count = 0_u64;
            if a.0 == first {
                (count, left) = (a.1, left_rest);
            }
            if b.0 == first {
                (count, right) = (count.saturating_add(b.1), right_rest);
            }
            merged.push((first, count));
        }
        merged.extend_from_slice(left);
        merged.extend_from_slice(right);
        self.0 = merged;
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.length(self.0.len());
        for (value, count) in self.iter() {
            to.f64(value);
            to.u64(count);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>, most: usize) -> Result<Self> {
        let count = from.count(16, most)?;
        let runs: Vec<(f64, u64)> = (0..count).map(|_| Ok((from.f64()?, from.u64()?))).collect::<Result<_>>()?;
        let ascending = runs.is_sorted_by(|a, b| a.0 < b.0);
        if !ascending || runs.iter().any(|(value, count)| !value.is_finite() || *count == 0) {
            return Err(damaged("exact values must be finite, distinct and ascending, with counts"));
        }
        Ok(Self(runs))
    }

    /// Whether every value is a whole number that a double holds exactly.
    pub(super) fn whole(&self) -> bool {
        let most = float(1 << 53);
        self.iter().all(|(value, _)| value.fract() == 0.0 && value.abs() <= most)
    }
}
