//! The two-sample Kolmogorov-Smirnov statistic and its p-value under three named laws.
//!
//! Invariant: the statistic is an integer `h = D n m`, found by counting, so ties and rounding
//! cannot move it; which law gave the p-value is always said, never guessed from sample sizes by
//! the reader.

use super::{Tail, count_of, float, kolmogorov, lattice, merge::skip};

/// Largest n * m for which [`KsMode::Auto`] counts paths: a few milliseconds.
pub(super) const AUTO_EXACT_CELLS_MAX: u64 = 1_000_000;
/// Largest n * m for which [`KsMode::Exact`] counts paths; beyond it the one-sample law answers.
pub(super) const EXACT_CELLS_MAX: u64 = 100_000_000;

/// Distances between two empirical distribution functions F (reference) and G (current).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KsStatistic {
    /// max |F - G|, from 0 to 1.
    pub d: f64,
    /// max (F - G), not below 0: the current values lie higher.
    pub d_plus: f64,
    /// max (G - F), not below 0: the current values lie lower.
    pub d_minus: f64,
    /// D n m, a whole number.
    pub h: u64,
    /// Reference values.
    pub n: u64,
    /// Current values.
    pub m: u64,
}

/// Which law turns the statistic into a p-value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KsMode {
    /// [`KsMode::Exact`] where n m is at most `AUTO_EXACT_CELLS_MAX` or the samples do not
    /// overlap, [`KsMode::OneSample`] otherwise.
    #[default]
    Auto,
    /// Exact without ties, by counting lattice paths; conservative with ties. Above
    /// `EXACT_CELLS_MAX` the one-sample law is used.
    Exact,
    /// Kolmogorov's limit law at sqrt(nm/(n+m)) D.
    Limit,
    /// The exact one-sample law at n = nm/(n+m) rounded half to even: what scipy calls `asymp`.
    OneSample,
}

/// Merges two ascending samples of finite numbers; `None` when one of them is empty.
///
/// ```
/// use mlops_monitor::stats::ks_statistic;
///
/// let ks = ks_statistic(&[1.0, 2.0, 3.0], &[2.5, 4.0]).expect("both have values");
/// assert_eq!((ks.h, ks.d_minus), (4, 0.0));
/// assert!((ks.d - 2.0 / 3.0).abs() < 1e-15);
/// ```
#[must_use]
pub fn ks_statistic(reference: &[f64], current: &[f64]) -> Option<KsStatistic> {
    let (n, m) = (count_of(reference.len()), count_of(current.len()));
    if n == 0 || m == 0 {
        return None;
    }
    let marks = marks(reference, current);
    let mut extremes = Extremes { n: i128::from(n), m: i128::from(m), above: 0, below: 0 };
    for mark in &marks {
        extremes.see(*mark);
    }
    for (from, to) in marks.iter().zip(marks.iter().skip(1)) {
        if extremes.may_grow_between(*from, *to) {
            let slice = |side, from, to| -> &[f64] { <[f64]>::get(side, from..to).unwrap_or_default() };
            extremes.merge(*from, slice(reference, from.0, to.0), slice(current, from.1, to.1));
        }
    }
    let whole = |count: i128| u64::try_from(count).unwrap_or(u64::MAX);
    let (above, below) = (whole(extremes.above), whole(-extremes.below));
    let share = |count: u64| float(count) / (float(n) * float(m));
    let h = above.max(below);
    Some(KsStatistic { d: share(h), d_plus: share(above), d_minus: share(below), h, n, m })
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

/// The p-value of a statistic under `mode`; `None` where the law does not exist (one-sample law
/// with an effective size that rounds to zero: one value on each side).
#[must_use]
pub fn ks_p_value(ks: &KsStatistic, mode: KsMode) -> Option<Tail> {
    let cells = ks.n.saturating_mul(ks.m);
    let (n, m) = (float(ks.n), float(ks.m));
    let effective = n * m / (n + m);
    let exact_within = |limit| cells <= limit || ks.h == cells;
    match mode {
        KsMode::Auto if exact_within(AUTO_EXACT_CELLS_MAX) => ks_p_value(ks, KsMode::Exact),
        KsMode::Exact if exact_within(EXACT_CELLS_MAX) => Some(Tail::from_ln(lattice::ln_exact_tail(ks.n, ks.m, ks.h))),
        KsMode::Limit => Some(Tail::from_ln(kolmogorov::ln_limit_tail(effective.sqrt() * ks.d))),
        KsMode::Auto | KsMode::Exact | KsMode::OneSample => {
            let rounded = effective.round_ties_even();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= effective <= n")]
            let size = rounded as u64;
            (size > 0).then(|| Tail::from_ln(kolmogorov::ln_one_sample_tail(size, ks.d)))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ties_count_on_both_sides_at_once() {
        let ks = ks_statistic(&[0.0, 0.0, 1.0], &[0.0, 1.0, 1.0]).unwrap();
        assert_eq!((ks.h, ks.d_plus, ks.d_minus), (3, 1.0 / 3.0, 0.0));
    }

    /// The definition: every value of either side in turn.
    fn by_definition(reference: &[f64], current: &[f64]) -> (i128, i128) {
        let (n, m) = (reference.len() as i128, current.len() as i128);
        let at = |side: &[f64], value: f64| side.iter().filter(|other| **other <= value).count() as i128;
        let all = reference.iter().chain(current);
        let differences: Vec<i128> = all.map(|value| at(reference, *value) * m - at(current, *value) * n).collect();
        let least = differences.iter().copied().min().unwrap_or(0).min(0);
        (differences.into_iter().max().unwrap_or(0).max(0), -least)
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
            let ks = ks_statistic(&left, &right).unwrap();
            prop_assert_eq!(i128::from(ks.h), above.max(below));
            let cells = (left.len() * right.len()) as f64;
            prop_assert_eq!((ks.d_plus, ks.d_minus), (above as f64 / cells, below as f64 / cells));
        }
    }

    #[test]
    fn empty_sides_have_no_statistic() {
        assert!(ks_statistic(&[], &[1.0]).is_none());
        assert!(ks_statistic(&[1.0], &[]).is_none());
    }

    #[test]
    fn the_one_sample_law_needs_an_effective_size() {
        let ks = ks_statistic(&[1.0], &[2.0]).unwrap();
        assert!(ks_p_value(&ks, KsMode::OneSample).is_none());
        assert!((ks_p_value(&ks, KsMode::Exact).unwrap().p() - 1.0).abs() < 1e-13);
    }
}
