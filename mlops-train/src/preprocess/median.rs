//! The median of many numbers without ordering them all.
//!
//! A sample says between which two numbers the median lies; one pass counts what is below and keeps what is between
//! (Floyd and Rivest, "Expected time bounds for selection", 1975). Where the sample misled, all numbers are looked at.

/// Numbers below which all are looked at at once.
const FEW: usize = 16_384;

/// Numbers of the sample.
const SAMPLE: usize = 2_048;

/// How far around its middle the median may lie, in deviations of the middle's rank.
const DEVIATIONS: f64 = 4.0;

/// The median of the values that are present; the mean of the middle two of an even count, zero of
/// none.
pub(super) fn median(values: &[f64]) -> f64 {
    if values.len() >= FEW
        && let Some(found) = by_sample(values)
    {
        return found;
    }
    let present: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
    let count = present.len();
    if count == 0 { 0.0 } else { middle(present, 0, count) }
}

/// The same, or none where the sample misled.
fn by_sample(values: &[f64]) -> Option<f64> {
    let (low, high) = bracket(values)?;
    // More than that are between only where the sample misled.
    let mut between = vec![0.0; values.len() / 4];
    let (mut kept, mut below, mut missing) = (0, 0, 0);
    for &value in values {
        // What has no room is counted only. Without a branch, which processors would guess wrong at many a value.
        if let Some(slot) = between.get_mut(kept) {
            *slot = value;
        }
        kept += usize::from(low <= value) & usize::from(value <= high);
        below += usize::from(value < low);
        missing += usize::from(value.is_nan());
    }
    if kept > between.len() {
        return None;
    }
    between.truncate(kept);
    let count = values.len() - missing;
    // The middle two must be among them.
    let is_inside = below < count / 2 && count / 2 < below + kept;
    is_inside.then(|| middle(between, below, count))
}

/// Two numbers that the median lies between, most likely.
fn bracket(values: &[f64]) -> Option<(f64, f64)> {
    let spread = values.iter().step_by(values.len() / SAMPLE);
    let mut sample: Vec<f64> = spread.copied().filter(|value| !value.is_nan()).collect();
    sample.sort_unstable_by(f64::total_cmp);
    let middle = sample.len() / 2;
    let around = (DEVIATIONS * 0.5 * (sample.len() as f64).sqrt()) as usize;
    let at = |rank: usize| sample.get(rank).copied();
    at(middle.checked_sub(around)?).zip(at(middle + around))
}

/// The median of `count` numbers, of which these are the ones from the `below`-th on.
fn middle(mut candidates: Vec<f64>, below: usize, count: usize) -> f64 {
    let (smaller, &mut upper, _) = candidates.select_nth_unstable_by(count / 2 - below, f64::total_cmp);
    let highest_below = || smaller.iter().copied().max_by(f64::total_cmp);
    let lower = if count.is_multiple_of(2) { highest_below().unwrap_or(upper) } else { upper };
    lower / 2.0 + upper / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    fn check(values: &[f64]) {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| !value.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        assert_eq!(median(values), low / 2.0 + high / 2.0, "{} values", values.len());
    }

    #[test]
    fn is_the_middle_of_all_numbers_in_order() {
        let mut rng = SeededRng::new(1, 0);
        for count in [1, 2, 3, 10, 11, FEW - 1, FEW, FEW + 1, 50_000, 50_001] {
            let normal: Vec<f64> = (0..count).map(|_| rng.normal()).collect();
            check(&normal);
            let ties: Vec<f64> = normal.iter().map(|value| value.round()).collect();
            check(&ties);
            check(&vec![3.0; count]);
            let gaps: Vec<f64> =
                normal.iter().map(|&value| if value < -0.5 { f64::NAN } else { value }).chain([1.0]).collect();
            check(&gaps);
        }
        assert_eq!(median(&[f64::NAN]), 0.0);
    }

    #[test]
    fn a_sample_that_misleads_costs_time_only() {
        // What the sample sees is far above everything else.
        let count = 20 * SAMPLE;
        let values: Vec<f64> = (0..count).map(|at| if at % 20 == 0 { 1e6 + at as f64 } else { at as f64 }).collect();
        check(&values);
        // The middle two lie on both sides of a gap.
        let halves: Vec<f64> = (0..count).map(|at| if at % 2 == 0 { -1.0 } else { 1.0 }).collect();
        check(&halves);
    }
}
