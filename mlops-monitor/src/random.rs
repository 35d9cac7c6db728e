//! Seeded draws for tests that need chance: the same seed gives the same numbers on every machine.
//!
//! Invariant: nothing here looks at a clock or the machine. Splitmix64 (Steele, Lea and Flood, OOPSLA 2014), addressed
//! by index; not for secrets.

use crate::stats::count_of;

/// The i-th number of a seed's stream, uniform below a bound (multiply and shift); zero for a bound of zero.
pub(crate) fn below(seed: u64, i: u64, bound: u64) -> u64 {
    let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    u64::try_from((u128::from(z) * u128::from(bound)) >> 64).unwrap_or(0)
}

/// A stream of draws.
#[derive(Debug, Clone)]
pub(crate) struct Draws {
    seed: u64,
    drawn: u64,
}

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        // Neighboring seeds would share all but the ends of their streams.
        Self { seed: below(seed, 1, u64::MAX), drawn: 0 }
    }

    /// Uniform from 0 to `bound` - 1.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        below(self.seed, self.drawn, bound)
    }

    /// Puts the values into a random order (Fisher and Yates).
    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let other = self.below(count_of(last + 1));
            values.swap(last, usize::try_from(other).unwrap_or(last).min(last));
        }
    }

    /// Which `wanted` of `total` things, in ascending order (selection sampling, Knuth, The Art of Computer Programming
    /// 2, 3.4.2); all of them when there are no more.
    pub(crate) fn choose(&mut self, wanted: usize, total: usize) -> Vec<usize> {
        let (mut wanted, mut chosen) = (count_of(wanted.min(total)), Vec::with_capacity(wanted.min(total)));
        for i in 0..total {
            if self.below(count_of(total - i)) < wanted {
                chosen.push(i);
                wanted -= 1;
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_as_likely() {
        let mut draws = Draws::new(5);
        let mut seen = [0_u32; 5];
        for _ in 0..10_000 {
            let chosen = draws.choose(2, 5);
            assert!(chosen.len() == 2 && chosen[0] < chosen[1]);
            chosen.into_iter().for_each(|i| seen[i] += 1);
        }
        // 4,000 expected, standard deviation 49.
        assert!(seen.iter().all(|count| count.abs_diff(4_000) < 200), "{seen:?}");
        assert_eq!(draws.choose(9, 3), [0, 1, 2]);
    }

    #[test]
    fn a_shuffle_keeps_the_values_and_reaches_every_place() {
        let mut draws = Draws::new(0);
        let mut first = [0_u32; 4];
        for _ in 0..4_000 {
            let mut values = [0, 1, 2, 3];
            draws.shuffle(&mut values);
            first[values[0]] += 1;
            values.sort_unstable();
            assert_eq!(values, [0, 1, 2, 3]);
        }
        assert!(first.iter().all(|count| count.abs_diff(1_000) < 140), "{first:?}");
    }
}
