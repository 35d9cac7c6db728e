//! Which arm a bucket belongs to.
//!
//! Invariant: changing the shares moves as few buckets as the change needs, and only from arms that shrink to arms that
//! grow. A key that is in a candidate stays there while that candidate's share rises, whatever the others do.

use serde::{Deserialize, Serialize};

use super::bucket::BUCKETS;

/// The buckets of the champion (arm 0) and the candidates (arms 1, 2, ...), as plain data.
///
/// ```
/// use mlops_serve::rollout::Allocation;
///
/// let tenth = Allocation::of(&[0.1]);
/// let half = tenth.with_shares(&[0.5]);
/// assert_eq!((tenth.arm_of(999), tenth.arm_of(1_000)), (1, 0));
/// assert_eq!((half.arm_of(999), half.arm_of(1_000), half.share(1)), (1, 1, 0.5));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Allocation {
    /// First bucket and arm of each run of buckets, in order; the first begins at 0.
    runs: Vec<(u16, u8)>,
}

impl Default for Allocation {
    fn default() -> Self {
        Self { runs: vec![(0, 0)] }
    }
}

impl Allocation {
    /// Everything to the champion but for these shares of the candidates; see [`Allocation::with_shares`].
    #[must_use]
    pub fn of(shares: &[f64]) -> Self {
        Self::default().with_shares(shares)
    }

    /// The same with other shares of the candidates, each 0 to 1 and together at most 1, rounded to
    /// 1 / [`BUCKETS`]; the champion has the rest.
    #[must_use]
    pub fn with_shares(&self, shares: &[f64]) -> Self {
        let targets = targets(shares);
        let mut arms: Vec<u8> = (0..BUCKETS).map(|bucket| arm_index(self.arm_of(bucket))).collect();
        let mut missing: Vec<i64> = targets.clone();
        for &arm in &arms {
            if let Some(missing) = missing.get_mut(usize::from(arm)) {
                *missing -= 1;
            }
        }
        let mut receiver = 0;
        for arm in &mut arms {
            while missing.get(receiver).is_some_and(|&missing| missing <= 0) {
                receiver += 1;
            }
            let giver = usize::from(*arm);
            // An arm that the new shares do not know keeps nothing.
            let surplus = missing.get(giver).is_none_or(|&missing| missing < 0);
            let Some(needs) = missing.get_mut(receiver).filter(|_| surplus) else { continue };
            *needs -= 1;
            *arm = arm_index(receiver);
            if let Some(missing) = missing.get_mut(giver) {
                *missing += 1;
            }
        }
        Self { runs: runs(&arms) }
    }

    /// The arm of a bucket: 0 is the champion.
    #[must_use]
    pub fn arm_of(&self, bucket: u16) -> usize {
        let place = self.runs.partition_point(|&(first, _)| first <= bucket);
        place.checked_sub(1).and_then(|place| self.runs.get(place)).map_or(0, |&(_, arm)| usize::from(arm))
    }

    /// The share of buckets that an arm has.
    #[must_use]
    pub fn share(&self, arm: usize) -> f64 {
        self.share_where(|owner| owner == arm)
    }

    /// The share of buckets that the candidates have together.
    #[must_use]
    pub fn candidates_share(&self) -> f64 {
        self.share_where(|owner| owner != 0)
    }

    fn share_where(&self, counts: impl Fn(usize) -> bool) -> f64 {
        let ends = self.runs.iter().skip(1).map(|&(first, _)| first).chain([BUCKETS]);
        let mine = self.runs.iter().zip(ends).filter(|((_, owner), _)| counts(usize::from(*owner)));
        let buckets: u32 = mine.map(|(&(first, _), end)| u32::from(end.saturating_sub(first))).sum();
        f64::from(buckets) / f64::from(BUCKETS)
    }
}

/// Buckets of each arm, the champion first; together exactly all.
fn targets(shares: &[f64]) -> Vec<i64> {
    let mut left = i64::from(BUCKETS);
    let candidates = shares.iter().map(|share| {
        let wanted = (share.clamp(0.0, 1.0) * f64::from(BUCKETS)).round() as i64;
        let given = wanted.min(left);
        left -= given;
        given
    });
    let candidates: Vec<i64> = candidates.collect();
    std::iter::once(left).chain(candidates).collect()
}

fn arm_index(arm: usize) -> u8 {
    u8::try_from(arm).unwrap_or(u8::MAX)
}

fn runs(arms: &[u8]) -> Vec<(u16, u8)> {
    let mut runs: Vec<(u16, u8)> = Vec::new();
    for (bucket, &arm) in (0_u16..).zip(arms) {
        if runs.last().is_none_or(|&(_, last)| last != arm) {
            runs.push((bucket, arm));
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares() -> impl Strategy<Value = Vec<f64>> {
        proptest::collection::vec(0.0..1.0_f64, 3).prop_map(|raw| {
            let whole: f64 = raw.iter().sum::<f64>().max(1.0);
            raw.iter().map(|share| share / whole).collect()
        })
    }

    #[test]
    fn one_candidate_has_the_lowest_buckets() {
        let allocation = Allocation::of(&[0.1]);
        assert_eq!(serde_json::to_string(&allocation).unwrap(), "[[0,1],[1000,0]]");
        assert_eq!(Allocation::of(&[1.0]).share(1), 1.0);
        assert_eq!(Allocation::of(&[1.0]).with_shares(&[0.0]), Allocation::default());
        assert_eq!(Allocation::of(&[0.000_1]).arm_of(0), 1, "one bucket in ten thousand");
    }

    proptest! {
        #[test]
        fn shares_are_met_and_buckets_move_only_from_arms_that_shrink_to_arms_that_grow(
            before in shares(), after in shares(),
        ) {
            let (old, new) = (Allocation::of(&before), Allocation::of(&before).with_shares(&after));
            for (arm, share) in after.iter().enumerate() {
                prop_assert!((new.share(arm + 1) - share).abs() <= 2.0 / f64::from(BUCKETS), "rounding");
            }
            let total: f64 = (0..=3).map(|arm| new.share(arm)).sum();
            prop_assert!((total - 1.0).abs() < 1e-12);
            for bucket in 0..BUCKETS {
                let (from, to) = (old.arm_of(bucket), new.arm_of(bucket));
                prop_assert!(from == to || (new.share(from) < old.share(from) && new.share(to) > old.share(to)));
            }
        }
    }
}
