//! Seeded data that every language reproduces bit for bit.

/// The splitmix64 generator (Steele, Lea, Flood 2014), counter based: the value at an index does
/// not depend on the values before it.
///
/// ```
/// use mlops_core::testing::SplitMix64;
///
/// let data = SplitMix64::new(7);
/// assert_eq!(data.uniform(3), SplitMix64::new(7).uniform(3));
/// assert!((0..1000).all(|i| (0.0..1.0).contains(&data.uniform(i))));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SplitMix64 {
    seed: u64,
}

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

impl SplitMix64 {
    /// The stream of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The 64 bits at `index`.
    #[must_use]
    pub const fn bits(&self, index: u64) -> u64 {
        let z = self.seed.wrapping_add(index.wrapping_mul(GAMMA)).wrapping_add(GAMMA);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in [0, 1) with 53 random bits.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub fn uniform(&self, index: u64) -> f64 {
        (self.bits(index) >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// `n` numbers that are close to standard normal (Irwin-Hall sum of four, scaled to variance
    /// one).
    #[must_use]
    pub fn bell(&self, n: usize) -> Vec<f64> {
        let four = |i: u64| (0..4).map(|j| self.uniform(4 * i + j)).sum::<f64>();
        (0..n as u64).map(|i| (four(i) - 2.0) * 3.0_f64.sqrt()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_published_generator() {
        // First outputs of the reference C program for seed 0.
        assert_eq!(SplitMix64::new(0).bits(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(SplitMix64::new(0).bits(1), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn bell_has_mean_zero_and_variance_one() {
        let values = SplitMix64::new(1).bell(20_000);
        let mean = values.iter().sum::<f64>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03, "{mean} {variance}");
    }
}
