//! Sums and maxima in eight strands, which processors work on side by side.

use std::ops::{Add, Mul};

/// Strands of a loop.
const STRANDS: usize = 8;

/// Sum of products.
#[inline(always)]
pub(crate) fn dot<T: Copy + Default + Add<Output = T> + Mul<Output = T>>(a: &[T], b: &[T]) -> T {
    let (chunks, others) = (a.chunks_exact(STRANDS), b.chunks_exact(STRANDS));
    let rest = chunks.remainder().iter().zip(others.remainder()).fold(T::default(), |sum, (&x, &y)| sum + x * y);
    let mut sums = [T::default(); STRANDS];
    for (x, y) in chunks.zip(others) {
        sums.iter_mut().zip(x).zip(y).for_each(|((sum, &x), &y)| *sum = *sum + x * y);
    }
    sums.into_iter().fold(rest, Add::add)
}

/// Sum of a term of each value.
#[inline(always)]
pub(crate) fn sum_of(values: &[f64], term: impl Fn(f64) -> f64) -> f64 {
    let chunks = values.chunks_exact(STRANDS);
    let rest: f64 = chunks.remainder().iter().map(|&value| term(value)).sum();
    let mut sums = [0.0; STRANDS];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, &value)| *sum += term(value));
    }
    sums.into_iter().fold(rest, Add::add)
}

/// The largest value; negative infinity of none, and of what is not a number.
#[inline(always)]
pub(crate) fn largest(values: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let chunks = values.chunks_exact(STRANDS);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, greater);
    let mut most = [f32::NEG_INFINITY; STRANDS];
    for chunk in chunks {
        most.iter_mut().zip(chunk).for_each(|(most, &value)| *most = greater(*most, value));
    }
    most.into_iter().fold(rest, greater)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strands_give_what_one_loop_gives() {
        for n in 0..40_u8 {
            let values: Vec<f32> = (0..n).map(|i| f32::from(i % 5) - 2.0).collect();
            assert_eq!(dot(&values, &values), values.iter().map(|v| v * v).sum::<f32>());
            let doubles: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
            assert_eq!(sum_of(&doubles, |v| 2.0 * v + 1.0), doubles.iter().map(|v| 2.0 * v + 1.0).sum::<f64>());
            assert_eq!(largest(&values), values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }
}
