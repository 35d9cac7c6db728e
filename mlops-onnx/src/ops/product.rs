//! Products of dense matrices, a strip of a row of the result at a time in registers.
//!
//! Each element is summed in the order of the inner dimension, so a row's result does not depend on how many rows come
//! with it. Where the processor multiplies and adds in one step, it does so with one rounding.

use crate::tensor::Element;

/// A float that products are made of.
pub(crate) trait Scalar:
    Element + Copy + Default + std::ops::Mul<Output = Self> + std::ops::Add<Output = Self> + std::ops::AddAssign + From<f32>
{
    /// `self * by + to` with one rounding.
    fn fused(self, by: Self, to: Self) -> Self;
}

macro_rules! scalar {
    ($($type:ty),*) => {$(
        impl Scalar for $type {
            #[inline(always)]
            fn fused(self, by: Self, to: Self) -> Self {
                self.mul_add(by, to)
            }
        }
    )*};
}
scalar!(f32, f64);

/// `c += a b`, with `a` of rows of `k` and `b` of `k` rows of `n`.
pub(crate) fn multiply_into<T: Scalar>(a: &[T], b: &[T], c: &mut [T], k: usize, n: usize) {
    if k == 0 || n == 0 {
        return;
    }
    match pulp::Arch::new() {
        // Without the instruction, one rounding takes a slow function.
        arch @ pulp::Arch::Scalar => arch.dispatch(|| product::<T, false>(a, b, c, k, n)),
        #[allow(unreachable_patterns, reason = "some processors have one kind of vectors only")]
        arch => arch.dispatch(|| product::<T, true>(a, b, c, k, n)),
    }
}

#[inline(always)]
fn product<T: Scalar, const FUSED: bool>(a: &[T], b: &[T], c: &mut [T], k: usize, n: usize) {
    for (a, c) in a.chunks_exact(k).zip(c.chunks_exact_mut(n)) {
        let from = strips::<T, FUSED, 64>(a, b, c, 0);
        let from = strips::<T, FUSED, 16>(a, b, c, from);
        let from = strips::<T, FUSED, 4>(a, b, c, from);
        strips::<T, FUSED, 1>(a, b, c, from);
    }
}

/// As many strips of `W` columns as fit, from column `from` on; answers where they end.
#[inline(always)]
fn strips<T: Scalar, const FUSED: bool, const W: usize>(a: &[T], b: &[T], c: &mut [T], mut from: usize) -> usize {
    let n = c.len();
    while let Some(c) = c.get_mut(from..).and_then(|c| c.first_chunk_mut::<W>()) {
        let mut sums = *c;
        for (&a, b) in a.iter().zip(b.get(from..).unwrap_or_default().chunks(n)) {
            let Some(b) = b.first_chunk::<W>() else { break };
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum = if FUSED { a.fused(b, *sum) } else { a * b + *sum };
            }
        }
        *c = sums;
        from += W;
    }
    from
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_size_is_the_sum_of_products(m in 0_usize..11, k in 0_usize..9, n in 0_usize..40) {
            // Small whole numbers, so that no order and no rounding matters.
            let a: Vec<f32> = (0..m * k).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i * 5 % 13) as f32 - 6.0).collect();
            let mut c: Vec<f32> = (0..m * n).map(|i| i as f32).collect();
            multiply_into(&a, &b, &mut c, k, n);
            for i in 0..m {
                for j in 0..n {
                    let sum: f32 = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
                    prop_assert_eq!(c[i * n + j], sum + (i * n + j) as f32);
                }
            }
        }

        #[test]
        fn a_row_alone_gives_the_same_bits(k in 1_usize..50, n in 1_usize..40, seed in 0_u32..1000) {
            let value = |i: usize| ((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) as f32).sin();
            let a: Vec<f32> = (0..7 * k).map(value).collect();
            let b: Vec<f32> = (0..k * n).map(|i| value(i + 99)).collect();
            let mut all = vec![0.0; 7 * n];
            multiply_into(&a, &b, &mut all, k, n);
            for (a, together) in a.chunks_exact(k).zip(all.chunks_exact(n)) {
                let mut alone = vec![0.0; n];
                multiply_into(a, &b, &mut alone, k, n);
                prop_assert_eq!(&alone, together);
            }
        }
    }
}
