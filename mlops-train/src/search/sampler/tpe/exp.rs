//! The exponential of numbers that are not positive, in a form that compilers turn into vector instructions.

/// `e^x` for `x <= 0` to 2e-15 relative; below -700 as at -700, which is nothing beside a sum that holds one term near 1.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, Taylor's polynomial for `e^r`, `2^n` by its bits.
#[inline(always)]
pub(super) fn exp_negative(x: f64) -> f64 {
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52: adding it leaves the nearest integer in the low bits
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let x = if x < -700.0 { -700.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let mut sum = 1.0 / 479_001_600.0;
    for factor in [39_916_800.0, 3_628_800.0, 362_880.0, 40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        sum = sum * r + 1.0 / factor;
    }
    sum * f64::from_bits(shifted.to_bits().wrapping_add(1_023) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_library() {
        for step in 0..70_000 {
            let x = -f64::from(step) * 0.01;
            let (ours, theirs) = (exp_negative(x), x.exp());
            assert!((ours / theirs - 1.0).abs() < 2e-15, "{x}: {ours} {theirs}");
        }
        assert_eq!(exp_negative(0.0), 1.0);
        assert!(exp_negative(f64::NEG_INFINITY) < 1e-300);
    }
}
