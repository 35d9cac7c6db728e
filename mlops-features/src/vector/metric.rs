//! How far two vectors are from each other. Sums run in 16 lanes, so that a compiler makes vector instructions of them,
//! and in one order, so that a distance has the same bits wherever it is computed. They are sums of 32 bits; where
//! those are too large or too small for it, they are summed again in 64.

use std::{
    iter::Sum,
    ops::{AddAssign, RangeInclusive},
};

use serde::{Deserialize, Serialize};

/// Partial sums of one pass.
const LANES: usize = 16;

/// Sums of products up to this are right in 32 bits: what is lost of the smallest terms is far less, and none of them
/// overflows.
const NARROW: RangeInclusive<f64> = 1e-30..=1e30;

/// A distance between vectors; nearer is smaller for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// `1 - a.b / (|a| |b|)`, 0 to 2. A vector of zeros has no direction: one that is stored is found by no question,
    /// one that is asked for is an error.
    Cosine,
    /// `-a.b`, so that the largest product is nearest.
    Dot,
    /// The Euclidean distance `sqrt(sum (a_i - b_i)^2)`.
    L2,
}

impl Metric {
    /// The distance of two vectors of one length, which are known by their norms, too. None where there is none.
    #[allow(clippy::cast_possible_truncation, reason = "distances have 32 bits")]
    pub(super) fn distance(self, (one, norm): (&[f32], f64), (other, other_norm): (&[f32], f64)) -> Option<f32> {
        match self {
            Self::Cosine => {
                // No product of two finite norms is too large, and none that are not 0 too small.
                let norms = norm * other_norm;
                let dot = if NARROW.contains(&norms) { f64::from(dot(one, other)) } else { wide_dot(one, other) };
                (norms > 0.0).then(|| 1.0 - ((dot / norms) as f32).clamp(-1.0, 1.0))
            }
            Self::Dot => {
                let dot = dot(one, other);
                Some(if dot.is_finite() { -dot } else { -wide_dot(one, other) as f32 })
            }
            Self::L2 => {
                let squares = squares(one, other);
                let narrow = NARROW.contains(&f64::from(squares));
                Some(if narrow { squares.sqrt() } else { wide_squares(one, other).sqrt() as f32 })
            }
        }
        .filter(|distance| distance.is_finite())
    }
}

/// The Euclidean norm.
pub(super) fn norm(vector: &[f32]) -> f64 {
    wide_dot(vector, vector).sqrt()
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    sum(one, other, |a, b| a * b)
}

fn squares(one: &[f32], other: &[f32]) -> f32 {
    sum(one, other, |a, b| (a - b) * (a - b))
}

fn wide_dot(one: &[f32], other: &[f32]) -> f64 {
    sum(one, other, |a, b| f64::from(a) * f64::from(b))
}

fn wide_squares(one: &[f32], other: &[f32]) -> f64 {
    sum(one, other, |a, b| (f64::from(a) - f64::from(b)).powi(2))
}

fn sum<T: Copy + Default + AddAssign + Sum>(one: &[f32], other: &[f32], term: impl Fn(f32, f32) -> T) -> T {
    let (mut sums, length) = ([T::default(); LANES], one.len().min(other.len()));
    let (one, other) = (one.get(..length).unwrap_or_default(), other.get(..length).unwrap_or_default());
    let (ones, others) = (one.chunks_exact(LANES), other.chunks_exact(LANES));
    let rest = ones.remainder().iter().zip(others.remainder()).map(|(a, b)| term(*a, *b)).sum::<T>();
    for (a, b) in ones.zip(others) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += term(*a, *b);
        }
    }
    sums.into_iter().chain([rest]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(metric: Metric, a: &[f32], b: &[f32]) -> Option<f32> {
        metric.distance((a, norm(a)), (b, norm(b)))
    }

    #[test]
    fn distances_are_those_of_their_formulas() {
        let (a, b) = ([3.0, 4.0], [4.0, 3.0]);
        assert_eq!(distance(Metric::L2, &a, &b), Some(2.0_f32.sqrt()));
        assert_eq!(distance(Metric::Dot, &a, &b), Some(-24.0));
        assert!((distance(Metric::Cosine, &a, &b).unwrap() - 0.04).abs() < 1e-6);
        assert_eq!(distance(Metric::Cosine, &a, &[0.0, 0.0]), None);
        assert_eq!(distance(Metric::Cosine, &a, &[-6.0, -8.0]), Some(2.0));
        assert_eq!(distance(Metric::L2, &[f32::MAX], &[f32::MIN]), None, "no distance is a number that is none");
        assert_eq!(distance(Metric::L2, &[], &[]), Some(0.0));
    }

    #[test]
    fn sums_that_32_bits_do_not_hold_are_right() {
        let (large, unit) = ([1e20, 0.0], [1.0, 0.0]);
        assert_eq!(distance(Metric::Cosine, &large, &unit), Some(0.0));
        assert_eq!(distance(Metric::Cosine, &[1e20, 1e20], &[1e20, -1e20]), Some(1.0));
        assert_eq!(distance(Metric::L2, &large, &unit), Some(1e20));
        assert_eq!(distance(Metric::Dot, &[1e20, 1e20], &[1e20, -1e20]), Some(0.0));
        assert_eq!(distance(Metric::Dot, &large, &large), None, "no distance is a number that is none");
        assert_eq!(distance(Metric::Cosine, &[1e-23], &[1e-23]), Some(0.0));
        assert_eq!(distance(Metric::Cosine, &[1e-23], &[-1e-23]), Some(2.0));
        assert_eq!(distance(Metric::L2, &[1e-23], &[0.0]), Some(1e-23));
        assert_eq!(distance(Metric::Cosine, &[f32::MAX; 3], &[f32::MAX; 3]), Some(0.0));
        assert_eq!(distance(Metric::Cosine, &[1e-45], &[1e-45]), Some(0.0));
    }

    #[test]
    fn every_length_is_summed_to_its_end() {
        for length in 0..70 {
            let ones = vec![1.0_f32; length];
            assert_eq!(distance(Metric::Dot, &ones, &ones).map(f32::abs), Some(length as f32));
        }
    }
}
