//! Numbers as bytes: `x` is about `scale (q - zero point)`, rounded half to even.

use crate::math::round_half_even;

/// Signed bytes from -127 to 127 around zero.
///
/// ```
/// use mlops_edge::Symmetric;
///
/// let code = Symmetric::of([0.5, -1.27].into_iter());
/// assert_eq!((code.scale, code.quantize(0.5)), (0.01, 50));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Symmetric {
    /// What one step is worth; positive and finite.
    pub scale: f32,
}

impl Symmetric {
    /// The code whose ends are the largest size among `values`; steps of one where all are zero.
    #[must_use]
    pub fn of(values: impl Iterator<Item = f32>) -> Self {
        let largest = values.fold(0.0_f32, |largest, value| largest.max(value.abs()));
        Self { scale: positive(largest / 127.0) }
    }

    /// The code of a number; beyond the ends, that of the end.
    #[must_use]
    pub fn quantize(self, value: f32) -> i8 {
        round_half_even((value / self.scale).clamp(-127.0, 127.0)) as i8
    }

    /// The number of a code.
    #[must_use]
    pub fn dequantize(self, code: i8) -> f32 {
        f32::from(code) * self.scale
    }
}

/// Bytes from 0 to 255 over a range that has zero in it, which keeps its value.
///
/// ```
/// use mlops_edge::Affine;
///
/// let code = Affine::over(-1.0, 4.1);
/// assert_eq!((code.zero_point, code.quantize(0.0), code.quantize(9.0)), (50, 50, 255));
/// assert_eq!(code.dequantize(50), 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// What one step is worth; positive and finite.
    pub scale: f32,
    /// The code of zero.
    pub zero_point: u8,
}

impl Affine {
    /// The code over the range from `low` to `high`, widened to zero.
    #[must_use]
    pub fn over(low: f32, high: f32) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = positive((high - low) / 255.0);
        Self { scale, zero_point: round_half_even((-low / scale).clamp(0.0, 255.0)) as u8 }
    }

    /// The code of a number; beyond the ends, that of the end.
    #[must_use]
    pub fn quantize(self, value: f32) -> u8 {
        let steps = round_half_even((value / self.scale).clamp(-256.0, 256.0));
        (steps + f32::from(self.zero_point)).clamp(0.0, 255.0) as u8
    }

    /// The number of a code.
    #[must_use]
    pub fn dequantize(self, code: u8) -> f32 {
        (f32::from(code) - f32::from(self.zero_point)) * self.scale
    }
}

fn positive(scale: f32) -> f32 {
    if scale.is_normal() { scale } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn codes_are_within_half_a_step(values in prop::collection::vec(-1e3_f32..1e3, 1..50)) {
            let symmetric = Symmetric::of(values.iter().copied());
            let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
            let affine = Affine::over(low, high);
            for &value in &values {
                let miss = (symmetric.dequantize(symmetric.quantize(value)) - value).abs();
                prop_assert!(miss <= 0.5001 * symmetric.scale, "{value} {miss} {symmetric:?}");
                // The zero point is rounded too, so that ends may be cut by up to half a step.
                let miss = (affine.dequantize(affine.quantize(value)) - value).abs();
                prop_assert!(miss <= 1.0001 * affine.scale, "{value} {miss} {affine:?}");
            }
        }
    }
}
