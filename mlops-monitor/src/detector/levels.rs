//! Both sides of a categorical column as counts level by level, and what tests of such tables have in common.
//!
//! Invariant: no value is lost on the way, and time grows with the number of levels, never with its square. Levels that
//! only one side knows take part; values pooled as `other` on either side are one level, and so are current levels that
//! a pooled reference does not name.

use super::{DriftTest, Thresholds, Verdict, sketched::Counted};
use crate::{
    sample::{CategoricalSample, ColumnSample, Values},
    stats::{ChiSquaredResult, Continuity, Tail, chi_squared, detectable_noncentrality, float, total_of},
};

/// Counts of the reference and of the current window, level by level.
pub(super) type Table = (Vec<u64>, Vec<u64>);

/// Counts of both sides level by level: the reference's levels in order of name, those it lacks, then the pool.
pub(super) fn aligned_counts(left: &CategoricalSample, right: &CategoricalSample) -> Table {
    let (mut known, mut unseen) = ((Vec::new(), Vec::new()), Vec::new());
    let mut theirs = right.levels().peekable();
    for (level, count) in left.levels() {
        while let Some((_, other)) = theirs.next_if(|(name, _)| *name < level) {
            unseen.push(other);
        }
        known.0.push(count);
        known.1.push(theirs.next_if(|(name, _)| *name == level).map_or(0, |(_, other)| other));
    }
    unseen.extend(theirs.map(|(_, other)| other));
    let (mut counts, pool) = (known, (left.other(), right.other()));
    if pool == (0, 0) {
        counts.0.resize(counts.0.len() + unseen.len(), 0);
        counts.1.extend(unseen);
    } else {
        counts.0.push(pool.0);
        counts.1.push(pool.1.saturating_add(total_of(&unseen)));
    }
    counts
}

/// Sums the levels whose expected count on the smaller side is below `expected_min` into one.
pub(super) fn pool_rare(counted: &Counted, expected_min: f64) -> Counted {
    let (n, m) = (float(total_of(&counted.left)), float(total_of(&counted.right)));
    let smaller = n.min(m) / (n + m);
    let (mut kept, (rare, error)) = counted.split(|a, b| (float(a) + float(b)) * smaller >= expected_min);
    if rare != (0, 0) {
        kept.push(rare, error);
    }
    kept
}

/// Counts (with, without) of both sides when the column has exactly two levels on both sides together.
///
/// "With" is the last of the named levels: `true` of `false` and `true`, `1` of `0` and `1`, `yes` of `no` and `yes`;
/// values pooled as `other` are always "without".
fn two_levels(left: &CategoricalSample, right: &CategoricalSample) -> Option<((u64, u64), (u64, u64))> {
    // Three names of one side are too many already, whatever the rest is.
    let mut names: Vec<&str> = left.levels().take(3).chain(right.levels().take(3)).map(|(level, _)| level).collect();
    names.sort_unstable();
    names.dedup();
    let pooled = usize::from(left.other() > 0 || right.other() > 0);
    let with = *names.last().filter(|_| names.len() + pooled == 2)?;
    let split = |sample: &CategoricalSample| (sample.count(with), sample.total().saturating_sub(sample.count(with)));
    Some((split(left), split(right)))
}

/// Both samples when both have levels.
pub(super) fn both<'a>(
    reference: &'a ColumnSample,
    current: &'a ColumnSample,
) -> Option<(&'a CategoricalSample, &'a CategoricalSample)> {
    match (reference.values(), current.values()) {
        (Values::Categorical(left), Values::Categorical(right)) => Some((left, right)),
        _ => None,
    }
}

/// A test of a column with two levels: `statistic` makes statistic and tail of the counts (with, without) of both sides.
/// Degenerate where there are other than two levels, and where it has none.
pub(super) fn test_two_levels(
    (name, thresholds): (&'static str, Thresholds),
    (reference, current): (&ColumnSample, &ColumnSample),
    statistic: impl FnOnce((u64, u64), (u64, u64)) -> Option<(f64, Tail)>,
) -> DriftTest {
    let blank = DriftTest::degenerate(name, (reference.len(), current.len()), thresholds)
        .unbounded_if(reference.is_sketched() || current.is_sketched());
    let table = both(reference, current).and_then(|(left, right)| two_levels(left, right));
    let Some((left, right)) = table else { return blank };
    let Some(found) = statistic(left, right) else { return blank };
    conclude(blank, (&[left.0, left.1], &[right.0, right.1]), found, thresholds)
}

/// Finishes a test of a table: the effect is Cramer's V, its detectable size follows from the rows, and a single level
/// is degenerate.
pub(super) fn conclude(
    blank: DriftTest,
    (left, right): (&[u64], &[u64]),
    (statistic, tail): (f64, Tail),
    thresholds: Thresholds,
) -> DriftTest {
    let Some(ChiSquaredResult { degrees_of_freedom, cramers_v, .. }) = chi_squared(left, right, Continuity::None)
    else {
        return blank;
    };
    let verdict = if degrees_of_freedom == 0 { Verdict::Degenerate } else { Verdict::Ok };
    let mde = (detectable_noncentrality(degrees_of_freedom) / (float(blank.n_ref) + float(blank.n_cur))).sqrt();
    DriftTest { statistic, tail: Some(tail), effect: cramers_v, mde: mde.min(1.0), verdict, ..blank }
        .judge(tail, thresholds.alpha)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{ChiSquared, DriftDetector, Fisher, G, HistogramDistance, Psi, TwoProportionZ},
        *,
    };

    proptest! {
        #[test]
        fn no_counts_make_a_test_panic(
            left in proptest::collection::btree_map("[a-d]", any::<u64>(), 0..4), others in (any::<u64>(), 0_u64..3),
            right in proptest::collection::btree_map("[a-d]", 0_u64..400, 0..4), share in 0_u32..64,
        ) {
            let scaled = left.into_iter().map(|(level, count)| (level, count >> share));
            let left = ColumnSample::categorical(CategoricalSample::new(scaled).with_other(others.0 >> share));
            let right = ColumnSample::categorical(CategoricalSample::new(right).with_other(others.1));
            let detectors: [&dyn DriftDetector; 6] = [
                &ChiSquared::default(), &G::default(), &Fisher::default(), &TwoProportionZ::default(), &Psi::default(),
                &HistogramDistance::new(super::super::Distance::KullbackLeibler),
            ];
            for detector in detectors {
                let found = detector.test(&left, &right);
                prop_assert!(found.p().is_nan() || (0.0..=1.0).contains(&found.p()), "{found:?}");
                prop_assert!(found.verdict != Verdict::Ok || found.mde >= 0.0, "{found:?}");
            }
        }
    }

    #[test]
    fn levels_of_one_side_follow_in_their_place() {
        let left = CategoricalSample::new([("b", 1), ("d", 2)]);
        let right = CategoricalSample::new([("a", 3), ("b", 4), ("c", 5), ("e", 6)]);
        assert_eq!(aligned_counts(&left, &right), (vec![1, 2, 0, 0, 0], vec![4, 0, 3, 5, 6]));
        assert_eq!(aligned_counts(&left.with_other(7), &right), (vec![1, 2, 7], vec![4, 0, 14]));
    }

    #[test]
    fn the_last_name_is_the_property() {
        let sample = |counts: &[(&str, u64)]| CategoricalSample::new(counts.iter().copied());
        let two = two_levels(&sample(&[("no", 4), ("yes", 1)]), &sample(&[("yes", 2)]));
        assert_eq!(two, Some(((1, 4), (2, 0))));
        assert_eq!(two_levels(&sample(&[("a", 1)]), &sample(&[("b", 1)])), Some(((0, 1), (1, 0))));
        assert_eq!(two_levels(&sample(&[("a", 1)]).with_other(3), &sample(&[])), Some(((1, 3), (0, 0))));
        assert_eq!(two_levels(&sample(&[("a", 1), ("b", 1)]), &sample(&[("c", 1)])), None);
        assert_eq!(two_levels(&sample(&[("a", 1)]), &sample(&[("a", 9)])), None);
    }
}
