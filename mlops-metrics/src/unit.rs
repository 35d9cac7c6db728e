//! A unit for numbers whose squares leave the range of doubles.
//!
//! Invariant: a unit is a power of two, so dividing by it changes no digit of a number that is not tiny beside it.

/// Sizes between which squares, and sums of many of them, are doubles.
const LEAST: f64 = 1e-140;
const MOST: f64 = 1e140;

/// What to divide numbers by so that the largest of them can be squared: one for numbers of usual size, else the power
/// of two next to the largest.
///
/// ```
/// use mlops_metrics::square_unit;
///
/// assert_eq!(square_unit([3.0, -1e100, f64::NAN]), 1.0);
/// let unit = square_unit([1e-200, -3e-200]);
/// assert!((1.0..2.0).contains(&(3e-200 / unit)));
/// ```
#[must_use]
pub fn square_unit(values: impl IntoIterator<Item = f64>) -> f64 {
    let largest = values.into_iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    if largest == 0.0 || !largest.is_finite() || (LEAST..=MOST).contains(&largest) {
        return 1.0;
    }
    // Within the exponents whose reciprocals are numbers of full precision, too.
    2.0_f64.powi((largest.log2().floor() as i32).clamp(-1022, 1022))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_number_is_near_one_in_its_unit() {
        for size in [1e-300, 1e-141, 1e141, 1e300, f64::MAX] {
            let unit = square_unit([0.0, -size, size / 2.0]);
            assert!((1.0..4.0).contains(&(size / unit)), "{size}");
            assert_eq!(size / unit * unit, size);
        }
        for usual in [0.0, 1e-100, 1.0, -1e100, f64::INFINITY] {
            assert_eq!(square_unit([usual]), 1.0);
        }
        assert!(square_unit([5e-324]).recip().is_normal());
    }
}
