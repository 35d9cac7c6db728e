//! The number at a place among those of many tiles, each of which has its own in order: found by halving what can still
//! be it, so that most numbers are never looked at.
//!
//! The place is one among the numbers, not among the tiles, so how they are divided changes no bit.

use super::tile::float_order;

/// Doubles, little endian, in order.
pub(super) type Run<'a> = &'a [[u8; 8]];

/// While this many numbers a run can still be the one, halving goes on: below that, to look at all of them is as cheap.
const LEFT_PER_RUN: usize = 8;

/// `numbers` as a run.
pub(super) fn run(mut numbers: Vec<f64>) -> Vec<[u8; 8]> {
    numbers.sort_unstable_by(|left, right| float_order(*left, *right));
    numbers.into_iter().map(f64::to_le_bytes).collect()
}

/// The number at `place` among those of all `runs` in order, and the one behind it.
pub(super) fn at(runs: &[Run<'_>], place: usize) -> Option<(f64, Option<f64>)> {
    let found = find(runs.to_vec(), place)?;
    let upto = |run: &Run<'_>| run.partition_point(|number| float_order(f64::from_le_bytes(*number), found).is_le());
    if runs.iter().map(upto).sum::<usize>() > place + 1 {
        return Some((found, Some(found)));
    }
    let behind = runs.iter().filter_map(|run| run.get(upto(run))).map(|number| f64::from_le_bytes(*number));
    Some((found, behind.min_by(|left, right| float_order(*left, *right))))
}

fn find(mut left: Vec<Run<'_>>, mut place: usize) -> Option<f64> {
    loop {
        left.retain(|run| !run.is_empty());
        let count: usize = left.iter().map(|run| run.len()).sum();
        if place >= count {
            return None;
        }
        if count <= LEFT_PER_RUN * left.len() {
            let mut numbers: Vec<f64> =
                left.iter().copied().flatten().map(|number| f64::from_le_bytes(*number)).collect();
            let (_, found, _) = numbers.select_nth_unstable_by(place, |left, right| float_order(*left, *right));
            return Some(*found);
        }
        let pivot = pivot(&left, count)?;
        let cut = |run: &Run<'_>| {
            let order = |number: &[u8; 8]| float_order(f64::from_le_bytes(*number), pivot);
            let below = run.partition_point(|number| order(number).is_lt());
            let equal = run.get(below..).unwrap_or_default().partition_point(|number| order(number).is_eq());
            (below, below + equal)
        };
        let cuts: Vec<(usize, usize)> = left.iter().map(cut).collect();
        let (below, upto) = cuts.iter().fold((0, 0), |(below, upto), cut| (below + cut.0, upto + cut.1));
        if (below..upto).contains(&place) {
            return Some(pivot);
        }
        let before = place < below;
        for (run, (below, upto)) in left.iter_mut().zip(cuts) {
            *run = if before { run.get(..below) } else { run.get(upto..) }.unwrap_or_default();
        }
        place -= if before { 0 } else { upto };
    }
}

/// The middle one of the runs' middle numbers, each as often as its run is long: a quarter of all numbers is on either
/// side of it, or equal.
fn pivot(runs: &[Run<'_>], count: usize) -> Option<f64> {
    let middle = |run: &Run<'_>| Some((f64::from_le_bytes(*run.get(run.len() / 2)?), run.len()));
    let mut middles: Vec<(f64, usize)> = runs.iter().filter_map(middle).collect();
    middles.sort_unstable_by(|left, right| float_order(left.0, right.0));
    let mut seen = 0;
    let reached = |(number, length): (f64, usize)| {
        seen += length;
        (2 * seen >= count).then_some(number)
    };
    middles.into_iter().find_map(reached)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = Vec<Vec<f64>>> {
        let number = prop_oneof![
            4 => any::<f64>(),
            4 => (-3_i8..3).prop_map(f64::from),
            1 => prop_oneof![Just(f64::NAN), Just(-f64::NAN), Just(0.0), Just(-0.0), Just(f64::INFINITY)],
        ];
        proptest::collection::vec(proptest::collection::vec(number, 0..80), 0..12)
    }

    proptest! {
        #[test]
        fn a_place_among_runs_is_the_place_among_all_in_order(numbers in numbers(), place in 0_usize..200) {
            let mut all: Vec<f64> = numbers.iter().flatten().copied().collect();
            all.sort_by(|left, right| float_order(*left, *right));
            let runs: Vec<Vec<[u8; 8]>> = numbers.into_iter().map(run).collect();
            let runs: Vec<Run<'_>> = runs.iter().map(Vec::as_slice).collect();
            let bits = |number: f64| number.to_bits();
            let expected = all.get(place).map(|number| (bits(*number), all.get(place + 1).copied().map(bits)));
            prop_assert_eq!(at(&runs, place).map(|(number, behind)| (bits(number), behind.map(bits))), expected);
        }
    }
}
