//! The two-sample Kolmogorov-Smirnov statistic and its p-value under four named laws.
//!
//! Invariant: the statistic is an integer `h = D n m`, found by counting, so ties and rounding
//! cannot move it; which law gave the p-value is always said, never guessed from sample sizes by
//! the reader.

use super::{Tail, blocks::largest_differences, count_of, float, kolmogorov, lattice, merge::Groups};

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
    /// overlap, [`KsMode::OneSample`] otherwise. [`ks_test`] takes [`KsMode::Permutation`] for the
    /// former where more than a tenth of the values are tied.
    #[default]
    Auto,
    /// Exact without ties, by counting lattice paths; conservative with ties. Above
    /// `EXACT_CELLS_MAX` the one-sample law is used.
    ///
    /// D moves in steps of 1 / lcm(n, m), so at a level of 5 % the test may reject less often than that, never more: 3.6 %
    /// at 100 against 100 values (the next step has 5.4 %), 4.8 % at 1,000 against 1,000, 4.97 % at 100 against 101. There
    /// is no mid-p or randomized form here: the one exceeds the level, the other lets a coin decide.
    Exact,
    /// Exact with ties: the share of all ways to deal the pooled values out to the two sides that
    /// give such a distance, counted out, not drawn. Without ties it is [`KsMode::Exact`], and like
    /// it ends at `EXACT_CELLS_MAX`. Needs the samples: see [`ks_test`].
    Permutation,
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
    let (above, below) = largest_differences(reference, current);
    let share = |count: u64| float(count) / (float(n) * float(m));
    let h = above.max(below);
    Some(KsStatistic { d: share(h), d_plus: share(above), d_minus: share(below), h, n, m })
}

/// Share of tied values above which [`KsMode::Auto`] takes ties into account.
pub const KS_TIES_MAX: f64 = 0.1;

/// Statistic and p-value of two ascending samples of finite numbers; `None` when one is empty or the law does not exist.
///
/// Ties make the laws that ignore them conservative: of two samples of 50 coin flips each, a distance that has a
/// chance of 0.027 gets p = 0.11 from [`KsMode::Exact`]. Beyond the sizes that are counted out they still are; there a
/// distance that matters has a p-value far below any level anyway.
///
/// ```
/// use mlops_monitor::stats::{KsMode, ks_test};
///
/// let (left, right) = ([0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0]);
/// // 3 of 4 zeros or ones on one side: all but the even split, 36 of C(8, 4) = 70.
/// let (ks, tail) = ks_test(&left, &right, KsMode::Permutation).expect("both have values");
/// assert!(ks.d == 0.5 && (tail.p() - 34.0 / 70.0).abs() < 1e-14);
/// assert!(ks_test(&left, &right, KsMode::Exact).expect("both have values").1.p() > 0.7);
/// ```
#[must_use]
pub fn ks_test(reference: &[f64], current: &[f64], mode: KsMode) -> Option<(KsStatistic, Tail)> {
    let ks = ks_statistic(reference, current)?;
    let limit = match mode {
        KsMode::Auto => AUTO_EXACT_CELLS_MAX,
        KsMode::Permutation => EXACT_CELLS_MAX,
        KsMode::Exact | KsMode::Limit | KsMode::OneSample => 0,
    };
    if ks.n.saturating_mul(ks.m) <= limit {
        let (inside_group, tied) = ties(reference, current);
        let share = float(tied) / float(ks.n + ks.m);
        if tied > 0 && (mode == KsMode::Permutation || share > KS_TIES_MAX) {
            let tail = Tail::from_ln(lattice::ln_tied_tail(ks.n, ks.m, ks.h, &inside_group));
            return Some((ks, tail));
        }
    }
    ks_p_value(&ks, mode).map(|tail| (ks, tail))
}

/// For every number of pooled values seen whether the next equals the last, and how many values equal another one.
fn ties(reference: &[f64], current: &[f64]) -> (Vec<bool>, u64) {
    let (mut inside_group, mut tied) = (vec![false], 0);
    for group in Groups::new(reference, current) {
        let size = group.reference + group.current;
        inside_group.extend((1..=size).map(|seen| seen < size));
        tied += if size > 1 { size } else { 0 };
    }
    (inside_group, tied)
}

/// As [`ks_statistic`], of distinct ascending values, each with the number of values up to and with it.
pub(crate) fn weighted_ks_statistic(reference: &[(f64, u64)], current: &[(f64, u64)]) -> Option<KsStatistic> {
    let (n, m) = (reference.last()?.1, current.last()?.1);
    let (mut left, mut right) = (reference, current);
    let (mut seen, mut above, mut below) = ((0_u64, 0_u64), 0_u128, 0_u128);
    while let (Some((a, left_rest)), Some((b, right_rest))) = (left.split_first(), right.split_first()) {
        if a.0 <= b.0 {
            (seen.0, left) = (a.1, left_rest);
        }
        if b.0 <= a.0 {
            (seen.1, right) = (b.1, right_rest);
        }
        let (f, g) = (u128::from(seen.0) * u128::from(m), u128::from(seen.1) * u128::from(n));
        above = above.max(f.saturating_sub(g));
        below = below.max(g.saturating_sub(f));
    }
    #[allow(clippy::cast_precision_loss, reason = "the exact integer is rounded once")]
    let share = |count: u128| count as f64 / (float(n) * float(m));
    // Beyond 64 bits no law counts paths, so only D is read there.
    let h = u64::try_from(above.max(below)).unwrap_or(u64::MAX - 1);
    Some(KsStatistic { d: share(above.max(below)), d_plus: share(above), d_minus: share(below), h, n, m })
}

impl KsStatistic {
    /// The smallest statistic that an error of D allows.
    pub(crate) fn less(self, error: f64) -> Self {
        if error <= 0.0 {
            return self;
        }
        let d = (self.d - error).max(0.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to n m, saturating")]
        let h = ((d * float(self.n) * float(self.m)).floor() as u64).min(self.h);
        Self { d, h, d_plus: (self.d_plus - error).max(0.0), d_minus: (self.d_minus - error).max(0.0), ..self }
    }
}

/// The p-value of a statistic under `mode`; `None` where the law does not exist (one-sample law
/// with an effective size that rounds to zero: one value on each side). Knows of no ties, so that
/// [`KsMode::Permutation`] is [`KsMode::Exact`] here.
#[must_use]
pub fn ks_p_value(ks: &KsStatistic, mode: KsMode) -> Option<Tail> {
    let cells = ks.n.saturating_mul(ks.m);
    let (n, m) = (float(ks.n), float(ks.m));
    let effective = n * m / (n + m);
    let exact_within = |limit| cells <= limit || ks.h == cells;
    match mode {
        KsMode::Auto if exact_within(AUTO_EXACT_CELLS_MAX) => ks_p_value(ks, KsMode::Exact),
        KsMode::Exact | KsMode::Permutation if exact_within(EXACT_CELLS_MAX) => {
            Some(Tail::from_ln(lattice::ln_exact_tail(ks.n, ks.m, ks.h)))
        }
        KsMode::Limit => Some(Tail::from_ln(kolmogorov::ln_limit_tail(effective.sqrt() * ks.d))),
        KsMode::Auto | KsMode::Exact | KsMode::Permutation | KsMode::OneSample => {
            let rounded = effective.round_ties_even();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= effective <= n")]
            let size = rounded as u64;
            (size > 0).then(|| Tail::from_ln(kolmogorov::ln_one_sample_tail(size, ks.d)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_on_both_sides_at_once() {
        let ks = ks_statistic(&[0.0, 0.0, 1.0], &[0.0, 1.0, 1.0]).unwrap();
        assert_eq!((ks.h, ks.d_plus, ks.d_minus), (3, 1.0 / 3.0, 0.0));
    }

    /// The law by its definition: every way to deal the pooled values out.
    fn dealt(reference: &[f64], current: &[f64]) -> f64 {
        let pool = [reference, current].concat();
        let observed = ks_statistic(reference, current).unwrap().h;
        let (mut all, mut extreme) = (0_u32, 0_u32);
        for mask in (0_u32..1 << pool.len()).filter(|mask| mask.count_ones() as usize == reference.len()) {
            let side = |wanted: u32| -> Vec<f64> {
                let mut values: Vec<f64> =
                    (0..pool.len()).filter(|i| mask >> i & 1 == wanted).map(|i| pool[i]).collect();
                values.sort_by(f64::total_cmp);
                values
            };
            all += 1;
            extreme += u32::from(ks_statistic(&side(1), &side(0)).unwrap().h >= observed);
        }
        f64::from(extreme) / f64::from(all)
    }

    #[test]
    fn the_law_with_ties_is_the_share_of_deals() {
        let cases: [(&[f64], &[f64]); 5] = [
            (&[0.0, 0.0, 0.0, 1.0, 1.0], &[0.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
            (&[1.0, 2.0, 2.0, 3.0], &[2.0, 3.0, 3.0, 3.0, 4.0, 4.0]),
            (&[1.0, 1.0, 1.0], &[1.0, 1.0, 2.0]),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], &[3.5, 4.5, 5.5, 6.5]),
            (&[0.0, 0.0, 0.0, 0.0], &[7.0, 7.0, 7.0, 7.0, 7.0]),
        ];
        for (left, right) in cases {
            let (_, tail) = ks_test(left, right, KsMode::Permutation).unwrap();
            assert!((tail.p() - dealt(left, right)).abs() < 1e-14, "{left:?} {right:?} {tail:?}");
            assert!(ks_test(left, right, KsMode::Exact).unwrap().1.ln() >= tail.ln() - 1e-14);
        }
    }

    #[test]
    fn automatic_heeds_ties_only_beyond_a_tenth() {
        let distinct: Vec<f64> = (0..200).map(f64::from).collect();
        let p = |right: &[f64], mode| ks_test(&distinct, right, mode).unwrap().1;
        let few: Vec<f64> = (0..100).map(|i| f64::from(i) * 2.0 + if i < 5 { 0.0 } else { 20.5 }).collect();
        assert_eq!(p(&few, KsMode::Auto), p(&few, KsMode::Exact));
        assert!(p(&few, KsMode::Permutation) <= p(&few, KsMode::Exact));
        let flips = |ones: usize| [vec![0.0; 100 - ones], vec![1.0; ones]].concat();
        let p = |mode| ks_test(&flips(50), &flips(62), mode).unwrap().1;
        assert_eq!(p(KsMode::Auto), p(KsMode::Permutation));
        assert!(p(KsMode::Auto).ln() < p(KsMode::Exact).ln() - 1.0);
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
