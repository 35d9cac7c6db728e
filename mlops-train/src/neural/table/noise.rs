//! Draws that a step makes, such as which numbers to drop.
//!
//! Invariant: they are a function of the seed, the epoch and the batch, so that a fit that goes on
//! after an interruption, or on several processors, draws the same.

use crate::rng::SeededRng;

/// The stream of the seed that batches draw from; epoch and batch are added.
const NOISE_STREAM: u64 = 1 << 63;

/// Where the draws of one batch come from.
#[derive(Debug, Clone)]
pub(crate) struct Noise(SeededRng);

impl Noise {
    pub(crate) fn new(seed: u64, epoch: u64, batch: usize) -> Self {
        Self(SeededRng::new(seed, NOISE_STREAM | (epoch << 32) | batch as u64))
    }

    /// Factors that drop each of `count` numbers with probability `rate` and scale the others up so
    /// that the expectation stays (Srivastava et al. 2014). The rate is rounded to 1/65,536.
    pub(crate) fn dropout(&mut self, count: usize, rate: f64) -> Vec<f32> {
        let threshold = (rate * 65_536.0).round() as u32;
        let kept = 65_536.0 / (65_536 - threshold.min(65_535)) as f32;
        let mut factors = Vec::with_capacity(count + 3);
        while factors.len() < count {
            let bits = self.0.bits();
            factors
                .extend((0..4).map(|lane| if (bits >> (16 * lane)) as u32 & 0xFFFF < threshold { 0.0 } else { kept }));
        }
        factors.truncate(count);
        factors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_keep_the_expectation() {
        let factors = Noise::new(1, 2, 3).dropout(40_001, 0.2);
        assert_eq!(factors.len(), 40_001);
        let dropped = factors.iter().filter(|factor| **factor == 0.0).count() as f64 / 40_001.0;
        assert!((dropped - 0.2).abs() < 0.01, "{dropped}");
        let mean = factors.iter().sum::<f32>() / 40_001.0;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!(Noise::new(1, 2, 3).dropout(100, 0.0).iter().all(|factor| *factor == 1.0));
    }

    #[test]
    fn batches_draw_for_themselves() {
        let draw = |seed, epoch, batch| Noise::new(seed, epoch, batch).dropout(64, 0.5);
        assert_eq!(draw(1, 1, 1), draw(1, 1, 1));
        for other in [draw(2, 1, 1), draw(1, 2, 1), draw(1, 1, 2)] {
            assert_ne!(other, draw(1, 1, 1));
        }
    }
}
