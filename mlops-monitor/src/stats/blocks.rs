//! Where two empirical distribution functions differ most, without looking at every value.
//!
//! Invariant: exact. Both functions only rise, so a block of values between two marks is passed over only if its ends
//! show that no value within can beat what the marks have shown; of two samples of a million, three blocks in a hundred
//! are looked into.

use super::merge::skip;

/// max (F - G) n m and max (G - F) n m, neither below 0, of the distribution functions F of n ascending reference values
/// and G of m current ones.
pub(super) fn largest_differences(reference: &[f64], current: &[f64]) -> (u64, u64) {
    let marks = marks(reference, current);
    let mut extremes = Extremes { n: reference.len() as i128, m: current.len() as i128, above: 0, below: 0 };
    for mark in &marks {
        extremes.see(*mark);
    }
    for (from, to) in marks.iter().zip(marks.iter().skip(1)) {
        if extremes.may_grow_between(*from, *to) {
            let left = reference.get(from.0..to.0).unwrap_or_default();
            extremes.merge(*from, left, current.get(from.1..to.1).unwrap_or_default());
        }
    }
    let whole = |count: i128| u64::try_from(count).unwrap_or(u64::MAX);
    (whole(extremes.above), whole(-extremes.below))
}

/// How many values of the reference and of the current side lie at or below some value.
type Mark = (usize, usize);

/// Values of the longer side between two marks.
const BLOCK: usize = 128;

/// Marks at every [`BLOCK`]th value of the longer side. Beyond the last one the distance only shrinks.
fn marks(reference: &[f64], current: &[f64]) -> Vec<Mark> {
    let by_reference = reference.len() >= current.len();
    let mut marks = Vec::with_capacity(reference.len().max(current.len()) / BLOCK + 2);
    let (mut mark, mut left, mut right) = ((0, 0), reference, current);
    marks.push(mark);
    while let longer = if by_reference { left } else { right }
        && let Some(&value) = longer.get(BLOCK - 1).or(longer.last())
    {
        let (f, g) = (count_up_to(left, value), count_up_to(right, value));
        (left, right) = (left.get(f..).unwrap_or_default(), right.get(g..).unwrap_or_default());
        mark = (mark.0 + f, mark.1 + g);
        marks.push(mark);
    }
    marks
}

/// How many of the ascending values are at most `value`, by doubling steps: cheap when they are few.
fn count_up_to(values: &[f64], value: f64) -> usize {
    let (mut low, mut step) = (0, 1);
    while values.get(low + step - 1).is_some_and(|other| *other <= value) {
        low += step;
        step *= 2;
    }
    let rest = values.get(low..values.len().min(low + step)).unwrap_or_default();
    low + rest.partition_point(|other| *other <= value)
}

/// The largest and the smallest (F - G) n m met so far.
struct Extremes {
    n: i128,
    m: i128,
    above: i128,
    below: i128,
}

impl Extremes {
    fn difference(&self, seen_reference: usize, seen_current: usize) -> i128 {
        seen_reference as i128 * self.m - seen_current as i128 * self.n
    }

    fn see(&mut self, (seen_reference, seen_current): Mark) {
        let difference = self.difference(seen_reference, seen_current);
        self.above = self.above.max(difference);
        self.below = self.below.min(difference);
    }

    /// F and G only rise, so between two marks F - G lies within what their far ends allow.
    fn may_grow_between(&self, from: Mark, to: Mark) -> bool {
        self.difference(to.0, from.1) > self.above || self.difference(from.0, to.1) < self.below
    }

    /// Sees every value between two marks; where one side is used up the rest leads straight to the next mark.
    fn merge(&mut self, from: Mark, mut left: &[f64], mut right: &[f64]) {
        let (mut f, mut g) = from;
        while let (Some(&a), Some(&b)) = (left.first(), right.first()) {
            let value = a.min(b);
            (f, g) = (f + skip(&mut left, value), g + skip(&mut right, value));
            self.see((f, g));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: every value of either side in turn.
    fn by_definition(reference: &[f64], current: &[f64]) -> (u64, u64) {
        let (n, m) = (reference.len() as i64, current.len() as i64);
        let at = |side: &[f64], value: f64| side.iter().filter(|other| **other <= value).count() as i64;
        let all = reference.iter().chain(current);
        let differences: Vec<i64> = all.map(|value| at(reference, *value) * m - at(current, *value) * n).collect();
        let least = differences.iter().copied().min().unwrap_or(0).min(0);
        (differences.into_iter().max().unwrap_or(0).max(0).unsigned_abs(), least.unsigned_abs())
    }

    proptest! {
        #[test]
        fn blocks_that_are_passed_over_hide_nothing(
            left in proptest::collection::vec(-400_i32..400, 1..700),
            right in proptest::collection::vec(-400_i32..400, 1..700),
            grain in 1_i32..60,
        ) {
            let sorted = |side: Vec<i32>| {
                let mut side: Vec<f64> = side.into_iter().map(|value| f64::from(value / grain)).collect();
                side.sort_unstable_by(f64::total_cmp);
                side
            };
            let (left, right) = (sorted(left), sorted(right));
            let (above, below) = by_definition(&left, &right);
            prop_assert_eq!(largest_differences(&left, &right), (above, below));
        }
    }
}
