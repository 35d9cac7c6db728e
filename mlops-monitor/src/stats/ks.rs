//! The two-sample Kolmogorov-Smirnov statistic and its p-value under three named laws.
//!
//! Invariant: the statistic is an integer `h = D n m`, found by merging, so ties and rounding
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
    let (mut left, mut right) = (reference, current);
    let (mut seen_left, mut seen_right) = (0_u64, 0_u64);
    let (mut above, mut below) = (0_u64, 0_u64);
    // Where one side is used up the distance only shrinks, so the merge may stop.
    while let (Some(&a), Some(&b)) = (left.first(), right.first()) {
        let value = a.min(b);
        seen_left += skip(&mut left, value);
        seen_right += skip(&mut right, value);
        let (f, g) = (seen_left * m, seen_right * n);
        above = above.max(f.saturating_sub(g));
        below = below.max(g.saturating_sub(f));
    }
    if n == 0 || m == 0 {
        return None;
    }
    let share = |count: u64| float(count) / (float(n) * float(m));
    let h = above.max(below);
    Some(KsStatistic { d: share(h), d_plus: share(above), d_minus: share(below), h, n, m })
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
    use super::*;

    #[test]
    fn ties_count_on_both_sides_at_once() {
        let ks = ks_statistic(&[0.0, 0.0, 1.0], &[0.0, 1.0, 1.0]).unwrap();
        assert_eq!((ks.h, ks.d_plus, ks.d_minus), (3, 1.0 / 3.0, 0.0));
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
