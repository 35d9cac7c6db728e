//! Distances between distribution functions as areas: Wasserstein-1 and energy.

use super::{count_of, float, location::sum, merge::Groups};

/// Wasserstein's distance of order 1, the integral of |F - G|: how far values moved on average, in their own unit.
/// `None` when a side is empty. Samples are ascending and finite.
///
/// ```
/// use mlops_monitor::stats::wasserstein;
///
/// assert_eq!(wasserstein(&[0.0, 1.0], &[5.0, 6.0]), Some(5.0));
/// ```
#[must_use]
pub fn wasserstein(reference: &[f64], current: &[f64]) -> Option<f64> {
    area(reference, current, f64::abs)
}

/// The energy distance sqrt(2 integral (F - G)^2) (Szekely and Rizzo, Journal of Statistical Planning and Inference 143,
/// 2013). `None` when a side is empty. Samples are ascending and finite.
#[must_use]
pub fn energy(reference: &[f64], current: &[f64]) -> Option<f64> {
    area(reference, current, |difference| difference * difference).map(|area| (2.0 * area).sqrt())
}

/// The integral of a function of F - G.
fn area(reference: &[f64], current: &[f64], of: impl Fn(f64) -> f64) -> Option<f64> {
    let (n, m) = (count_of(reference.len()), count_of(current.len()));
    if n == 0 || m == 0 {
        return None;
    }
    let cells = float(n) * float(m);
    let (mut seen, mut before) = ((0_u64, 0_u64), None);
    let pieces = Groups::new(reference, current).map(|group| {
        // The difference is an integer over nm, so no rounding adds up along the samples.
        let (f, g) = (u128::from(seen.0) * u128::from(m), u128::from(seen.1) * u128::from(n));
        #[allow(clippy::cast_precision_loss, reason = "the exact integer is rounded once")]
        let difference = f.abs_diff(g) as f64 / cells;
        let width = before.map_or(0.0, |before: f64| group.value - before);
        seen = (seen.0 + group.reference, seen.1 + group.current);
        before = Some(group.value);
        width * of(difference)
    });
    Some(sum(pieces))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_shift_moves_every_value_by_itself(
            mut values in proptest::collection::vec(-100_i32..100, 1..50), shift in 0_i32..50
        ) {
            values.sort_unstable();
            let a: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            let b: Vec<f64> = values.iter().map(|value| f64::from(value + shift)).collect();
            prop_assert!((wasserstein(&a, &b).unwrap() - f64::from(shift)).abs() < 1e-9);
            prop_assert_eq!(energy(&a, &a), Some(0.0));
            prop_assert_eq!(energy(&a, &b), energy(&b, &a));
        }
    }
}
