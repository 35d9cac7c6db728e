//! Count, mean, central moments up to the fourth, least and greatest value of a stream.
//!
//! Invariant: blocks are combined by the pairwise update of Pebay (Sandia report SAND2008-6212, 2008), so a large mean
//! does not drown the variance. Sums beyond the largest double become infinite, never a panic.

use mlops_core::Result;

use super::codec::{Reader, Writer, damaged};
use crate::stats::{count_of, float};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moments {
    pub(super) count: u64,
    pub(super) mean: f64,
    pub(super) m2: f64,
    pub(super) m3: f64,
    pub(super) m4: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self { count: 0, mean: 0.0, m2: 0.0, m3: 0.0, m4: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

/// Independent sums that the compiler may keep in one vector register.
const LANES: usize = 8;

fn lane_sums<const N: usize>(values: &[f64], of: impl Fn(f64) -> [f64; N]) -> [f64; N] {
    let mut lanes = [[0.0; LANES]; N];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in block.iter().enumerate() {
            for (sums, term) in lanes.iter_mut().zip(of(*value)) {
                if let Some(sum) = sums.get_mut(lane) {
                    *sum += term;
                }
            }
        }
    }
    let mut totals = lanes.map(|sums| sums.iter().sum::<f64>());
    for value in rest {
        for (total, term) in totals.iter_mut().zip(of(*value)) {
            *total += term;
        }
    }
    totals
}

impl Moments {
    /// Of ascending finite values.
    pub(super) fn of_sorted(sorted: &[f64]) -> Self {
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return Self::default() };
        let count = count_of(sorted.len());
        let n = float(count);
        // Around the first value, so that equal values have exactly no variance.
        let [shift] = lane_sums(sorted, |value| [value - min]);
        let mean = min + shift / n;
        let [m2, m3, m4] = lane_sums(sorted, |value| {
            let d = value - mean;
            let square = d * d;
            [square, square * d, square * square]
        });
        Self { count, mean, m2, m3, m4, min, max }
    }

    /// Adds what another has seen.
    pub(super) fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let (a, b) = (float(self.count), float(other.count));
        let n = a + b;
        let d = other.mean - self.mean;
        let (share, d2) = (d / n, d * d);
        let m4 = self.m4
            + other.m4
            + d2 * share * share / n * a * b * (a * a - a * b + b * b)
            + 6.0 * share * share * (a * a * other.m2 + b * b * self.m2)
            + 4.0 * share * (a * other.m3 - b * self.m3);
        let m3 = self.m3 + other.m3 + d2 * share / n * a * b * (a - b) + 3.0 * share * (a * other.m2 - b * self.m2);
        let m2 = self.m2 + other.m2 + d2 / n * a * b;
        let (min, max) = (self.min.min(other.min), self.max.max(other.max));
        *self = Self { count: self.count + other.count, mean: self.mean + share * b, m2, m3, m4, min, max };
    }

    pub(super) fn write(&self, to: &mut Writer) {
        to.u64(self.count);
        for value in [self.mean, self.m2, self.m3, self.m4, self.min, self.max] {
            to.f64(value);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self> {
        let count = from.u64()?;
        let [mean, m2, m3, m4, min, max] = std::array::from_fn(|_| from.f64().unwrap_or(f64::NAN));
        let read = Self { count, mean, m2, m3, m4, min, max };
        let sound = if count == 0 { read == Self::default() } else { min.is_finite() && max.is_finite() && min <= max };
        if sound { Ok(read) } else { Err(damaged("moments that no values have")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(a: f64, b: f64, scale: f64) -> bool {
        (a - b).abs() <= 1e-9 * scale.max(1.0)
    }

    /// numpy 2.4.6 and scipy 1.17.1 (`stats.moment`) on [1, 2, 4, 8, 16]: 6.2, 29.76, 144.336, 2059.9872.
    #[test]
    fn five_values() {
        let mut moments = Moments::of_sorted(&[1.0, 2.0]);
        moments.merge(&Moments::of_sorted(&[4.0, 8.0, 16.0]));
        assert!(close(moments.mean, 6.2, 1.0));
        assert!(close(moments.m2 / 5.0, 29.76, 1.0) && close(moments.m3 / 5.0, 144.336, 1.0));
        assert!(close(moments.m4 / 5.0, 2059.9872, 1.0), "{moments:?}");
    }

    #[test]
    fn a_large_mean_keeps_the_variance() {
        let mut moments = Moments::default();
        for block in 0..1000 {
            let start = 1e9 + f64::from(block % 2);
            moments.merge(&Moments::of_sorted(&[start, start + 1.0]));
        }
        assert!(close(moments.m2 / float(moments.count), 0.5, 1.0), "{moments:?}");
    }

    proptest! {
        #[test]
        fn blocks_add_up(mut values in proptest::collection::vec(-1e3_f64..1e3, 1..100), cut in 0_usize..100) {
            let cut = cut.min(values.len());
            let (left, right) = values.split_at_mut(cut);
            left.sort_by(f64::total_cmp);
            right.sort_by(f64::total_cmp);
            let mut merged = Moments::of_sorted(left);
            merged.merge(&Moments::of_sorted(right));
            values.sort_by(f64::total_cmp);
            let whole = Moments::of_sorted(&values);
            let scale = 1e12 * float(whole.count);
            prop_assert!(close(merged.mean, whole.mean, 1e3) && close(merged.m2, whole.m2, 1e8));
            prop_assert!(close(merged.m3, whole.m3, 1e10) && close(merged.m4, whole.m4, scale));
        }
    }
}
