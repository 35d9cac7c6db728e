//! Quantiles of any number of values in bounded memory: the sketch of Karnin, Lang and Liberty (FOCS 2016).
//!
//! Invariant: the state follows from the values alone. A level that is too full is halved, keeping every other value;
//! which half is kept follows from the level's content, so that the same parts merged in the same order give the same
//! sketch everywhere. Layout and capacities are those of Apache DataSketches, which reads what is written here. Unlike
//! there, values come in sorted blocks, so there are fewer halvings and the published error bound holds with room.

use mlops_core::Result;

use super::{
    codec::{Reader, Writer, damaged},
    runs::Runs,
};
use crate::stats::count_of;

const LEVEL_CAPACITY_MIN: usize = 8;
const LEVELS_MAX: usize = 61;
const PREAMBLE_INTS: u8 = 5;
const SERIAL_VERSION: u8 = 1;
const SERIAL_VERSION_SINGLE: u8 = 2;
const FAMILY: u8 = 15;
const EMPTY: u8 = 1;
const LEVEL_ZERO_SORTED: u8 = 2;
const SINGLE: u8 = 4;

/// The rank error that DataSketches states for k, at 99 % confidence for the largest error over all ranks.
pub(super) fn rank_error(k: u16) -> f64 {
    2.296 / f64::from(k).powf(0.9723)
}

/// The error that DataSketches states for the share of values between two points, at 99 % confidence.
pub(super) fn share_error(k: u16) -> f64 {
    2.446 / f64::from(k).powf(0.9433)
}

/// Values a level holds: k (2/3)^depth, at least 8.
fn level_capacity(k: u16, levels: usize, level: usize) -> usize {
    let depth = levels.saturating_sub(level + 1);
    let Some(divisor) = u32::try_from(depth).ok().and_then(|depth| 3_u64.checked_pow(depth)).filter(|_| depth <= 30)
    else {
        return LEVEL_CAPACITY_MIN;
    };
    let twice = (u64::from(k) << (depth + 1)) / divisor;
    usize::try_from(twice.div_ceil(2)).unwrap_or(usize::MAX).max(LEVEL_CAPACITY_MIN)
}

fn capacity(k: u16, levels: usize) -> usize {
    (0..levels).map(|level| level_capacity(k, levels, level)).sum()
}

/// The sketch. A value on level h stands for 2^h of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kll {
    k: u16,
    n: u64,
    min: f64,
    max: f64,
    /// Each ascending.
    levels: Vec<Vec<f64>>,
}

impl Kll {
    pub(super) fn new(k: u16) -> Self {
        Self { k, n: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, levels: vec![Vec::new()] }
    }

    /// Holds all runs without error, with k as large as that takes, at most `u16::MAX`.
    pub(super) fn exact(runs: &Runs, k: u16) -> Self {
        let mut sketch = Self::new(k);
        sketch.put(runs);
        while sketch.retained() > capacity(sketch.k, sketch.levels.len()) && sketch.k < u16::MAX {
            sketch.k = sketch.k.saturating_mul(2);
        }
        sketch.compress();
        sketch
    }

    pub(super) fn n(&self) -> u64 {
        self.n
    }

    pub(super) fn rank_error(&self) -> f64 {
        rank_error(self.k)
    }

    pub(super) fn share_error(&self) -> f64 {
        share_error(self.k)
    }

    /// Adds ascending values.
    pub(super) fn add_sorted(&mut self, sorted: &[f64]) {
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return };
        self.extend_range(min, max);
        self.n += count_of(sorted.len());
        if let Some(level) = self.levels.first_mut() {
            *level = merge_sorted(level, sorted);
        }
        self.compress();
    }

    /// Adds values with counts.
    pub(super) fn add_runs(&mut self, runs: &Runs) {
        self.put(runs);
        self.compress();
    }

    /// Adds what another of the same k has seen.
    pub(super) fn merge(&mut self, other: &Self) {
        self.extend_range(other.min, other.max);
        self.n += other.n;
        for (level, values) in other.levels.iter().enumerate() {
            self.put_on(level, values);
        }
        self.compress();
    }

    /// The values kept, with what each stands for.
    pub(super) fn weighted(&self) -> Runs {
        let levels = self.levels.iter().enumerate();
        Runs::of_weighted(levels.flat_map(|(level, values)| values.iter().map(move |v| (*v, 1 << level))).collect())
    }

    fn extend_range(&mut self, min: f64, max: f64) {
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }

    /// A count is a sum of powers of two, so nothing is lost.
    fn put(&mut self, runs: &Runs) {
        let mut levels: Vec<Vec<f64>> = Vec::new();
        for (value, count) in runs.iter() {
            self.extend_range(value, value);
            self.n += count;
            for level in (0..64_usize).filter(|level| count >> level & 1 == 1) {
                if levels.len() <= level {
                    levels.resize_with(level + 1, Vec::new);
                }
                if let Some(level) = levels.get_mut(level) {
                    level.push(value);
                }
            }
        }
        for (level, values) in levels.iter().enumerate() {
            self.put_on(level, values);
        }
    }

    fn put_on(&mut self, level: usize, sorted: &[f64]) {
        if self.levels.len() <= level {
            self.levels.resize_with(level + 1, Vec::new);
        }
        if let Some(level) = self.levels.get_mut(level) {
            *level = merge_sorted(level, sorted);
        }
    }

    fn retained(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }

    /// Halves the lowest full level until everything fits.
    fn compress(&mut self) {
        while self.retained() > capacity(self.k, self.levels.len()) {
            let count = self.levels.len();
            let mut full = (0..count).filter(|level| self.len_of(*level) >= level_capacity(self.k, count, *level));
            let Some(level) = full.next() else { break };
            self.halve(level);
        }
    }

    fn len_of(&self, level: usize) -> usize {
        self.levels.get(level).map_or(0, Vec::len)
    }

    fn halve(&mut self, level: usize) {
        let Some(mut values) = self.levels.get_mut(level).map(std::mem::take) else { return };
        let coins = coins(&values, level, self.n);
        // Of an odd number, the least or the greatest stays.
        let left = if values.len().is_multiple_of(2) {
            None
        } else if coins & 2 == 0 {
            values.pop()
        } else {
            Some(values.remove(0))
        };
        let kept: Vec<f64> = values.iter().skip(usize::from(coins & 1 == 1)).step_by(2).copied().collect();
        self.put_on(level + 1, &kept);
        if let Some(place) = self.levels.get_mut(level) {
            place.extend(left);
        }
    }

    /// DataSketches' compact layout for doubles.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut to = Writer::default();
        let (preamble, version, flags) = match self.n {
            0 => (2, SERIAL_VERSION, EMPTY),
            1 => (2, SERIAL_VERSION_SINGLE, SINGLE | LEVEL_ZERO_SORTED),
            _ => (PREAMBLE_INTS, SERIAL_VERSION, LEVEL_ZERO_SORTED),
        };
        to.bytes(&[preamble, version, FAMILY, flags]);
        to.u16(self.k);
        to.bytes(&[8, 0]);
        if self.n > 1 {
            to.u64(self.n);
            to.u16(self.k);
            to.bytes(&[u8::try_from(self.levels.len()).unwrap_or(u8::MAX), 0]);
            let mut offset = capacity(self.k, self.levels.len()).saturating_sub(self.retained());
            for level in &self.levels {
                to.length(offset);
                offset += level.len();
            }
            to.f64(self.min);
            to.f64(self.max);
        }
        self.levels.iter().flatten().for_each(|value| to.f64(*value));
        to.into_bytes()
    }

    /// Reads a sketch of more than one value.
    pub(super) fn from_bytes(bytes: &[u8], k: u16) -> Result<Self> {
        let mut from = Reader::new(bytes);
        let wrong = || damaged("not a KLL sketch of doubles");
        if from.take(4)? != [PREAMBLE_INTS, SERIAL_VERSION, FAMILY, LEVEL_ZERO_SORTED]
            || from.u16()? != k
            || from.take(2)? != [8, 0]
        {
            return Err(wrong());
        }
        let (n, min_k, count) = (from.u64()?, from.u16()?, usize::from(from.u8()?));
        if min_k != k || !(1..=LEVELS_MAX).contains(&count) || from.u8()? != 0 {
            return Err(wrong());
        }
        let whole = capacity(k, count);
        let mut ends: Vec<usize> = Vec::with_capacity(count + 1);
        for _ in 0..count {
            ends.push(usize::try_from(from.u32()?).unwrap_or(usize::MAX));
        }
        ends.push(whole);
        let (min, max) = (from.f64()?, from.f64()?);
        let mut levels = Vec::with_capacity(count);
        for (start, end) in ends.iter().zip(ends.iter().skip(1)) {
            let length = end.checked_sub(*start).filter(|length| *length <= whole).ok_or_else(wrong)?;
            let mut inner = Reader::new(from.take(length * 8)?);
            levels.push((0..length).map(|_| inner.f64()).collect::<Result<Vec<f64>>>()?);
        }
        from.end()?;
        let sketch = Self { k, n, min, max, levels };
        if sketch.is_sound() { Ok(sketch) } else { Err(damaged("a KLL sketch that no values have")) }
    }

    fn is_sound(&self) -> bool {
        let weight = self.levels.iter().enumerate().try_fold(0_u64, |sum, (level, values)| {
            let weight = count_of(values.len()).checked_mul(1_u64.checked_shl(u32::try_from(level).ok()?)?)?;
            sum.checked_add(weight)
        });
        let finite = self.min.is_finite() && self.max.is_finite();
        let within = |value: &f64| self.min <= *value && *value <= self.max;
        finite
            && weight == Some(self.n)
            && self.levels.iter().all(|level| level.is_sorted() && level.iter().all(within))
    }
}

fn merge_sorted(left: &[f64], right: &[f64]) -> Vec<f64> {
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left, right);
    while let (Some((a, left_rest)), Some((b, right_rest))) = (left.split_first(), right.split_first()) {
        if a <= b {
            merged.push(*a);
            left = left_rest;
        } else {
            merged.push(*b);
            right = right_rest;
        }
    }
    merged.extend_from_slice(left);
    merged.extend_from_slice(right);
    merged
}

/// Two fair bits from the content of a level, by the finalizer of SplitMix64.
fn coins(values: &[f64], level: usize, n: u64) -> u64 {
    let picks = [values.first(), values.get(values.len() / 3), values.get(values.len() / 2), values.last()];
    let seed = n ^ (count_of(level) << 56) ^ (count_of(values.len()) << 32);
    picks.into_iter().flatten().fold(seed, |state, value| {
        let mut z = (state ^ value.to_bits()).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// The largest difference between the shares of a sketch and those of the values, for tests of the bound.
#[cfg(test)]
pub(super) fn worst_error(sketch: &Kll, sorted: &[f64]) -> f64 {
    use crate::stats::float;

    let n = float(count_of(sorted.len()));
    let mut weight = 0;
    let runs = sketch.weighted();
    let errors = runs.iter().map(|(value, count)| {
        let below = sorted.partition_point(|other| *other < value);
        let upto = sorted.partition_point(|other| *other <= value);
        let before = float(weight);
        weight += count;
        let lower = (float(count_of(below)) - before).abs();
        lower.max((float(count_of(upto)) - float(weight)).abs()) / n
    });
    errors.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use datasketches::{
        common::SearchCriteria,
        kll::{KllFloat, KllSketch},
    };
    use mlops_core::testing::SplitMix64;

    use super::*;
    use crate::stats::float;

    fn sorted(mut values: Vec<f64>) -> Vec<f64> {
        values.sort_by(f64::total_cmp);
        values
    }

    fn sketch_of(values: &[f64], k: u16, block: usize) -> Kll {
        let mut sketch = Kll::new(k);
        for block in values.chunks(block) {
            sketch.add_sorted(&sorted(block.to_vec()));
        }
        sketch
    }

    /// 60 streams of each of four shapes (bell, its exponential, permuted whole numbers far from zero, sorted), and each
    /// merged from 16 parts: at most 1 % may be beyond the stated error, and what three standard deviations of chance add.
    #[test]
    fn the_stated_error_holds_for_all_ranks_at_once() {
        let (trials, k, n) = (60_u64, 64, 20_000);
        let mut beyond = 0;
        for trial in 0..trials {
            let data = SplitMix64::new(trial);
            let bell = data.bell(n);
            let shapes: [Vec<f64>; 4] = [
                sorted(bell.clone()),
                bell.iter().map(|v| v.exp()).collect(),
                (0..n).map(|i| 1e9 + float(count_of(i * 7919 % n)) + float(trial)).collect(),
                bell,
            ];
            for values in &shapes {
                let streamed = sketch_of(values, k, 512);
                let mut merged = Kll::new(k);
                values.chunks(n / 16).for_each(|part| merged.merge(&sketch_of(part, k, 512)));
                let truth = sorted(values.clone());
                for sketch in [&streamed, &merged] {
                    assert_eq!(sketch.n(), count_of(n));
                    assert!(sketch.retained() <= capacity(k, sketch.levels.len()));
                    beyond += u32::from(worst_error(sketch, &truth) > rank_error(k));
                }
            }
        }
        let all = float(trials * 8);
        assert!(f64::from(beyond) <= 0.01 * all + 3.0 * (0.0099 * all).sqrt(), "{beyond} of {all}");
    }

    #[test]
    fn the_apache_crate_reads_the_same_quantiles() {
        for n in [0, 1, 2, 50, 5000, 100_000] {
            let values = SplitMix64::new(9).bell(n);
            let sketch = sketch_of(&values, 200, 4096);
            let theirs = KllSketch::<KllFloat<f64>>::deserialize(&sketch.to_bytes()).unwrap();
            assert_eq!(theirs.n(), sketch.n());
            let runs = sketch.weighted();
            let mut upto = 0;
            for (value, count) in runs.iter() {
                upto += count;
                let rank = theirs.rank(&KllFloat::<f64>::new(value).unwrap(), SearchCriteria::Inclusive).unwrap();
                assert!((rank - float(upto) / float(sketch.n())).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn bytes_come_back() {
        let sketch = sketch_of(&SplitMix64::new(1).bell(30_000), 100, 1000);
        let bytes = sketch.to_bytes();
        assert_eq!(Kll::from_bytes(&bytes, 100).unwrap(), sketch);
        assert!(Kll::from_bytes(&bytes, 101).is_err());
        assert!(Kll::from_bytes(&bytes[..bytes.len() - 1], 100).is_err());
    }

    #[test]
    fn weights_are_kept_whole() {
        let runs = Runs::of_weighted(vec![(1.0, 1_000_003), (2.0, 1), (3.0, 77)]);
        let sketch = Kll::exact(&runs, 200);
        assert_eq!(sketch.weighted(), runs);
        assert_eq!(sketch.n(), 1_000_081);
    }
}
