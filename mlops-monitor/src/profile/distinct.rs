//! How many distinct values there were, when they are too many to keep: HyperLogLog of Apache DataSketches.
//!
//! Invariant: the estimate depends on the set of values alone, not on their order or on how sketches were merged; the
//! better estimate that a single stream allows is given up for that.

use datasketches::{
    common::NumStdDev,
    hash::value::{canonical_float, raw_bytes},
    hll::{HllSketch, HllType, HllUnion},
};
use mlops_core::{Error, Result};

use super::codec::damaged;

/// 2^12 registers: a standard error of 1.6 %.
const LG_K: u8 = 12;
const PREAMBLE: usize = 40;
/// Register values beyond this do not occur.
const REGISTER_MAX: u8 = 63;

/// A sketch of a set.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Distinct(HllSketch);

fn refused(error: datasketches::error::Error) -> Error {
    Error::internal("the distinct sketch cannot be made").with_source(error)
}

impl Distinct {
    pub(super) fn new() -> Result<Self> {
        HllSketch::new(LG_K, HllType::Hll8).map(Self).map_err(refused)
    }

    pub(super) fn add_number(&mut self, value: f64) {
        self.0.update(canonical_float::from_f64(value));
    }

    pub(super) fn add_integer(&mut self, value: i64) {
        self.0.update(value);
    }

    pub(super) fn add_text(&mut self, text: &str) {
        self.0.update(raw_bytes::from_str(text));
    }

    pub(super) fn merge(&mut self, other: &Self) -> Result<()> {
        self.0 = union(&[&self.0, &other.0])?;
        Ok(())
    }

    /// The same set with nothing left of the order in which it came.
    pub(super) fn canonical(&self) -> Result<Self> {
        union(&[&self.0, &self.0]).map(Self)
    }

    /// The estimate with its bounds at three standard deviations.
    pub(super) fn estimate(&self) -> (f64, f64, f64) {
        let sketch = &self.0;
        (sketch.composite_estimate(), sketch.lower_bound(NumStdDev::Three), sketch.upper_bound(NumStdDev::Three))
    }

    /// DataSketches' layout.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        self.0.serialize()
    }

    /// Reads registers, 8 bits each; whatever else the bytes claim is checked or computed anew.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong = || damaged("not an HLL sketch of 2^12 registers of 8 bits");
        let (head, registers) = bytes.split_at_checked(PREAMBLE).ok_or_else(wrong)?;
        let (kind, rest) = head.split_at_checked(8).ok_or_else(wrong)?;
        let zeros = registers.iter().filter(|register| **register == 0).count();
        let claimed = rest.get(24..28).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        if !matches!(kind, [10, 1, 7, LG_K, 0, 0 | 16, 0, 0b1010])
            || registers.len() != 1 << LG_K
            || registers.iter().any(|register| *register > REGISTER_MAX)
            || claimed != u32::try_from(zeros).ok()
            || zeros == registers.len()
        {
            return Err(wrong());
        }
        let sketch = HllSketch::deserialize(bytes).map_err(|error| wrong().with_source(error))?;
        Self(sketch).canonical()
    }
}

/// Twice the same sketch forgets the order of its values.
fn union(sketches: &[&HllSketch]) -> Result<HllSketch> {
    let mut union = HllUnion::new(LG_K).map_err(refused)?;
    sketches.iter().for_each(|sketch| union.update(sketch));
    Ok(union.to_sketch(HllType::Hll8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: std::ops::Range<i64>) -> Distinct {
        let mut distinct = Distinct::new().unwrap();
        range.for_each(|value| distinct.add_integer(value));
        distinct
    }

    #[test]
    fn order_and_grouping_leave_no_trace() {
        let whole = of(0..30_000).canonical().unwrap();
        let mut backwards = of(20_000..30_000);
        backwards.merge(&of(10_000..20_000)).unwrap();
        backwards.merge(&of(0..10_000)).unwrap();
        assert_eq!(backwards.canonical().unwrap().to_bytes(), whole.to_bytes());
        let (estimate, low, high) = whole.estimate();
        assert!(low <= 30_000.0 && 30_000.0 <= high && (estimate / 3e4 - 1.0).abs() < 0.05, "{low} {estimate} {high}");
    }

    #[test]
    fn lies_are_refused() {
        let bytes = of(0..10_000).canonical().unwrap().to_bytes();
        assert_eq!(Distinct::from_bytes(&bytes).unwrap().to_bytes(), bytes);
        for (at, to) in [(3, 21), (7, 0), (32, 200), (100, 64)] {
            let mut lie = bytes.clone();
            lie[at] = to;
            assert!(Distinct::from_bytes(&lie).is_err(), "byte {at}");
        }
    }
}
