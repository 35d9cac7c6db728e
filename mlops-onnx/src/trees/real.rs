//! The two precisions that thresholds and sums come in.

use std::ops::{Add, AddAssign, Div, Neg};

use crate::tensor::Element;

/// `f32` or `f64`.
pub(crate) trait Real:
    Element + Copy + Default + PartialOrd + Add<Output = Self> + AddAssign + Div<Output = Self> + Neg<Output = Self>
{
    /// The next smaller number; not-a-number below negative infinity, where nothing is.
    fn below(self) -> Self;
    fn missing(self) -> bool;
    fn of_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    fn to_f32(self) -> f32;
    /// Small whole numbers travel in vector lanes too.
    fn of_index(index: u16) -> Self;
    fn to_index(self) -> usize;
    /// `a` when the condition holds, else `b`: by bits, so that neither is loaded only when needed, which would keep
    /// loops over registers from becoming vector code.
    fn choose(condition: bool, a: Self, b: Self) -> Self;
}

macro_rules! real {
    ($type:ty, $bits:ty) => {
        impl Real for $type {
            fn below(self) -> Self {
                if self == Self::NEG_INFINITY { Self::NAN } else { self.next_down() }
            }
            #[inline(always)]
            fn missing(self) -> bool {
                self.is_nan()
            }
            fn of_f64(value: f64) -> Self {
                value as Self
            }
            fn to_f64(self) -> f64 {
                self.into()
            }
            fn to_f32(self) -> f32 {
                self as f32
            }
            fn of_index(index: u16) -> Self {
                Self::from(index)
            }
            #[inline(always)]
            fn to_index(self) -> usize {
                self as usize
            }
            #[inline(always)]
            fn choose(condition: bool, a: Self, b: Self) -> Self {
                let mask = if condition { <$bits>::MAX } else { 0 };
                Self::from_bits((a.to_bits() & mask) | (b.to_bits() & !mask))
            }
        }
    };
}

real!(f32, u32);
real!(f64, u64);
