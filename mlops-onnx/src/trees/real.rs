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
}

macro_rules! real {
    ($type:ty) => {
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
        }
    };
}

real!(f32);
real!(f64);
