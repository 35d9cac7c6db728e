//! Sorting doubles, the dearest part of comparing two windows.
//!
//! Invariant: the order is that of `f64::total_cmp`, whatever the values. Large slices are sorted by the highest 33 bits
//! that differ, three counting passes of 11 bits; what these leave out of order are neighbors, put right by insertion. Where
//! insertion would be slow, because very many values share those bits, a comparison sort takes over.

/// Below this a comparison sort is as fast.
const RADIX_MIN: usize = 512;
/// Bits of one pass: a table of counts that stays in the first-level cache.
const DIGIT_BITS: u32 = 11;
const DIGITS: usize = 1 << DIGIT_BITS;
const PASSES: u32 = 3;
/// Moves of the closing insertion, per value, before a comparison sort takes over.
const MOVES_PER_VALUE: usize = 4;

/// Sorts in the order of [`f64::total_cmp`]; takes as much memory again while it runs.
pub(crate) fn sort(values: &mut Vec<f64>) {
    match values.first() {
        Some(&first) if values.len() >= RADIX_MIN && u32::try_from(values.len()).is_ok() => radix(values, key(first)),
        _ => values.sort_unstable_by(f64::total_cmp),
    }
}

/// Bits that compare as integers like the doubles do: all flipped below zero, the sign alone above.
fn key(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn digit(value: f64, shift: u32) -> usize {
    // At most eleven bits are left, so this loses nothing.
    (key(value) >> shift) as usize & (DIGITS - 1)
}

fn radix(values: &mut Vec<f64>, first: u64) {
    let spread = values.iter().fold(0, |spread, value| spread | (key(*value) ^ first));
    let lowest = (u64::BITS - spread.leading_zeros()).saturating_sub(PASSES * DIGIT_BITS);
    let mut target = vec![0.0; values.len()];
    for pass in 0..PASSES {
        if scatter(values, &mut target, lowest + pass * DIGIT_BITS) {
            std::mem::swap(values, &mut target);
        }
    }
    drop(target);
    if lowest > 0 && !insert(values) {
        values.sort_unstable_by(f64::total_cmp);
    }
}

/// One stable pass of counting sort; false when all values share the digit and nothing was written.
fn scatter(values: &[f64], target: &mut [f64], shift: u32) -> bool {
    let mut starts = [0_u32; DIGITS];
    for value in values {
        if let Some(count) = starts.get_mut(digit(*value, shift)) {
            *count += 1;
        }
    }
    let mut next = 0;
    for start in &mut starts {
        let count = std::mem::replace(start, next);
        if count as usize == values.len() {
            return false;
        }
        next += count;
    }
    for value in values {
        if let Some(start) = starts.get_mut(digit(*value, shift))
            && let Some(place) = target.get_mut(*start as usize)
        {
            *place = *value;
            *start += 1;
        }
    }
    true
}

/// Insertion sort for values that are nearly in order; false when it took too many moves and gave up.
fn insert(values: &mut [f64]) -> bool {
    let mut moves = values.len().saturating_mul(MOVES_PER_VALUE);
    for end in 1..values.len() {
        if values.get(end - 1..=end).is_some_and(|pair| pair.is_sorted_by(|a, b| a.total_cmp(b).is_le())) {
            continue;
        }
        let Some([before @ .., last]) = values.get_mut(..=end) else { return false };
        let greater = before.iter().rev().take_while(|other| other.total_cmp(last).is_gt()).take(moves + 1).count();
        if greater > moves {
            return false;
        }
        if greater > 0 {
            moves -= greater;
            let from = end - greater;
            if let Some(run) = values.get_mut(from..=end) {
                run.rotate_right(1);
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use mlops_core::testing::SplitMix64;
    use proptest::prelude::*;

    use super::*;

    fn check(values: &[f64]) {
        let (mut found, mut expected) = (values.to_vec(), values.to_vec());
        sort(&mut found);
        expected.sort_unstable_by(f64::total_cmp);
        assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn every_shape_of_data_comes_out_in_order() {
        let stream = SplitMix64::new(5);
        let uniform: Vec<f64> = (0..20_000).map(|i| stream.uniform(i)).collect();
        check(&uniform);
        check(&stream.bell(20_000));
        check(&uniform.iter().map(|u| (u * 7.0).floor()).collect::<Vec<_>>());
        check(&uniform.iter().map(|u| 1e300 * (u - 0.5).powi(9)).collect::<Vec<_>>());
        // One outlier takes all the bits: the rest is left to the comparison sort.
        check(&uniform.iter().map(|u| if *u < 1e-4 { -1e300 } else { 1.0 + u * 1e-9 }).collect::<Vec<_>>());
        check(&vec![3.0; 1_000]);
        check(&uniform.iter().rev().map(|u| -u).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn any_bits_come_out_in_order(
            values in proptest::collection::vec(any::<u64>().prop_map(f64::from_bits), 500..2_000)
        ) {
            check(&values);
        }
    }
}
