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

use super::codec::{Writer, damaged};

/// 2^12 registers: a standard error of 1.6 %.
const LG_K: u8 = 12;
const REGISTERS: usize = 1 << LG_K;
/// Length of what comes before the registers.
const PREAMBLE: usize = 40;
/// The first bytes of a sketch that has no history: layout, version, family, size, flag "out of order", HLL of 8 bits.
const HEAD: [u8; 8] = [10, 1, 7, LG_K, 0, 16, 0, 0b1010];
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
        let mut union = HllUnion::new(LG_K).map_err(refused)?;
        union.update(&self.0);
        union.update(&other.0);
        *self = Self(union.to_sketch(HllType::Hll8)).canonical()?;
        Ok(())
    }

    /// The same set with nothing left of the order in which it came.
    pub(super) fn canonical(&self) -> Result<Self> {
        let registers = self.registers().ok_or_else(|| damaged("a distinct sketch of another layout"))?;
        of_registers(&registers).map(Self)
    }

    fn registers(&self) -> Option<Vec<u8>> {
        let bytes = self.0.serialize();
        let coupons = match bytes.first()? {
            10 => return bytes.get(PREAMBLE..).map(<[u8]>::to_vec),
            2 => bytes.get(8..)?,
            _ => bytes.get(12..)?,
        };
        // While there are few values, they are kept as 26 bits of slot and 6 of register.
        let mut registers = vec![0_u8; REGISTERS];
        for coupon in coupons.as_chunks::<4>().0 {
            let coupon = u32::from_le_bytes(*coupon);
            let slot = usize::try_from(coupon).ok()? % REGISTERS;
            let register = registers.get_mut(slot)?;
            *register = (*register).max(u8::try_from(coupon >> 26).ok()?);
        }
        Some(registers)
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

    /// Reads registers, 8 bits each; whatever else the bytes claim must follow from them.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let wrong = || damaged("not an HLL sketch of 2^12 registers of 8 bits");
        let registers = bytes.get(PREAMBLE..).filter(|registers| registers.len() == REGISTERS).ok_or_else(wrong)?;
        if registers.iter().any(|register| *register > REGISTER_MAX) || registers.iter().all(|register| *register == 0)
        {
            return Err(wrong());
        }
        let read = of_registers(registers).map(Self)?;
        if read.to_bytes() == bytes { Ok(read) } else { Err(wrong()) }
    }
}

/// The sketch with these registers and without history.
fn of_registers(registers: &[u8]) -> Result<HllSketch> {
    let zeros = registers.iter().filter(|register| **register == 0).count();
    let share = |register: &u8| (-f64::from(*register)).exp2();
    let sum = |of: fn(&&u8) -> bool| registers.iter().filter(of).map(share).sum::<f64>();
    let mut to = Writer::default();
    to.bytes(&HEAD);
    to.f64(0.0);
    to.f64(sum(|register| **register < 32));
    to.f64(sum(|register| **register >= 32));
    to.length(zeros);
    to.u32(0);
    to.bytes(registers);
    HllSketch::deserialize(&to.into_bytes()).map_err(refused)
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
        assert_eq!(backwards.to_bytes(), whole.to_bytes());
        let (estimate, low, high) = whole.estimate();
        assert!(low <= 30_000.0 && 30_000.0 <= high && (estimate / 3e4 - 1.0).abs() < 0.05, "{low} {estimate} {high}");
    }

    #[test]
    fn few_values_have_the_same_registers_in_any_layout() {
        for n in [1, 7, 30, 300] {
            let (few, mut twice) = (of(0..n), of(n / 2..n));
            twice.merge(&of(0..n / 2 + 1)).unwrap();
            assert_eq!(few.canonical().unwrap(), twice);
            assert!((twice.estimate().0 - n as f64).abs() <= 0.05 * n as f64 + 0.01);
        }
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
