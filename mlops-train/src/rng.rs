//! Seeded random numbers: one generator, fixed for good, so that a seed means the same draws in
//! every version. Streams split a seed into independent purposes.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};

/// ChaCha8 with the few draws that training needs.
#[derive(Debug, Clone)]
pub(crate) struct SeededRng(ChaCha8Rng);

impl SeededRng {
    /// The generator of `seed` for one purpose; other streams of the same seed are independent.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        Self(rng)
    }

    /// The same generator after some draws, as [`SeededRng::position`] told.
    pub(crate) fn new_at(seed: u64, stream: u64, position: u128) -> Self {
        let mut rng = Self::new(seed, stream);
        rng.0.set_word_pos(position);
        rng
    }

    /// The place in its stream.
    pub(crate) fn position(&self) -> u128 {
        self.0.get_word_pos()
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in [0, 1) with 53 random bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// `count` numbers in [-bound, bound) in single precision.
    pub(crate) fn uniform_within(&mut self, bound: f64, count: usize) -> Vec<f32> {
        (0..count).map(|_| (bound * (2.0 * self.uniform() - 1.0)) as f32).collect()
    }

    /// An index below `bound` by widening multiplication; the bias is below `bound / 2^64`.
    /// Zero when `bound` is zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let product = u128::from(self.bits()) * bound as u128;
        (product >> 64) as usize
    }

    /// A standard normal number by Box and Muller's method.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Fisher and Yates' shuffle.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// `count` of `0..total` without replacement, ascending (Knuth's selection sampling).
    pub(crate) fn choose(&mut self, total: usize, count: usize) -> Vec<u32> {
        let mut chosen = Vec::with_capacity(count.min(total));
        for index in 0..total {
            let wanted = count - chosen.len();
            if wanted == 0 {
                break;
            }
            if self.below(total - index) < wanted {
                chosen.push(index as u32);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_stream_name_one_sequence() {
        let draw =
            |seed, stream| (0..4).scan(SeededRng::new(seed, stream), |r, _| Some(r.uniform())).collect::<Vec<_>>();
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn a_generator_goes_on_where_it_was() {
        let mut rng = SeededRng::new(3, 1);
        for _ in 0..37 {
            rng.uniform();
            assert_eq!(SeededRng::new_at(3, 1, rng.position()).uniform(), rng.clone().uniform());
        }
    }

    #[test]
    fn draws_have_the_moments_of_their_distribution() {
        let mut rng = SeededRng::new(5, 0);
        let normal: Vec<f64> = (0..20_000).map(|_| rng.normal()).collect();
        let mean = normal.iter().sum::<f64>() / 20_000.0;
        let variance = normal.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
        let sixes = (0..60_000).filter(|_| rng.below(6) == 5).count();
        assert!((9_500..10_500).contains(&sixes), "{sixes}");
    }

    #[test]
    fn choose_is_ascending_and_exact() {
        let mut rng = SeededRng::new(9, 0);
        for count in [0, 1, 7, 20] {
            let chosen = rng.choose(20, count);
            assert_eq!(chosen.len(), count);
            assert!(chosen.is_sorted_by(|a, b| a < b));
        }
    }
}
