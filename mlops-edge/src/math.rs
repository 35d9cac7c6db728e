//! The few functions of real numbers that the core library lacks.

/// The nearest whole number, halves to the even one; for sizes below 2^22.
///
/// Adding 1.5 * 2^23 leaves no bits for a fraction, and the processor rounds halves to even.
pub(crate) fn round_half_even(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// `1 / (1 + e^-x)` without overflow.
pub(crate) fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + exp(-x))
    } else {
        let e = exp(x);
        e / (1.0 + e)
    }
}

/// `e^x` within an ulp or two: `2^k e^r` with `r` within half of ln 2, by Taylor's series (Cody and
/// Waite's reduction).
fn exp(x: f64) -> f64 {
    const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    if x < -745.0 {
        return 0.0;
    }
    if x > 709.7 {
        return f64::INFINITY;
    }
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    let k = (x * core::f64::consts::LOG2_E + SHIFT) - SHIFT;
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let series = (1..=14).rev().fold(1.0, |sum, n| 1.0 + sum * r / f64::from(n));
    // In two steps, so that results below the smallest normal number are right.
    let half = (k / 2.0) as i64;
    series * power_of_two(half) * power_of_two(k as i64 - half)
}

fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_that_of_the_standard_library() {
        for step in -7_400..7_090 {
            let x = f64::from(step) / 10.0 + 0.0123;
            let (found, expected) = (exp(x), x.exp());
            assert!((found - expected).abs() <= 1e-15 * expected.max(1e-300), "{x}: {found} {expected}");
        }
        assert_eq!((exp(-800.0), exp(0.0), exp(800.0)), (0.0, 1.0, f64::INFINITY));
        assert!(sigmoid(f64::NAN).is_nan());
    }

    #[test]
    fn halves_go_to_the_even_side() {
        for (x, expected) in
            [(0.5, 0.0), (1.5, 2.0), (2.5, 2.0), (-0.5, 0.0), (-1.5, -2.0), (2.4999, 2.0), (127.5, 128.0)]
        {
            assert_eq!(round_half_even(x), expected, "{x}");
        }
    }
}
