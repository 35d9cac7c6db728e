//! Sums of numbers and of their squares without rounding, so that it does not matter in which order they are added or
//! from which parts they are put together.
//!
//! A sum is a fixed-point number wide enough for every double and for the square of every double (a "long accumulator",
//! Kulisch 2008; the limbs with room for carries are those of Neal 2015, "Fast exact summation using small and large
//! superaccumulators"). It is rounded once, when it is asked for: to the nearest double, ties to even.

use mlops_core::Result;

use crate::value::Decoder;

/// Limbs of 32 bits below the point: the square of the least double is 2^-2148.
const POINT: usize = 68;
/// And above it: the sum of 2^63 squares of the greatest double, a carry, and what an addition reaches over.
const LIMBS: usize = POINT + 66 + 4;
/// Additions after which limbs hand on their carries; each adds less than 2^33 to one.
const TERMS_MAX: u32 = 1 << 29;

const NEGATIVE: u8 = 1;
const NAN: u8 = 2;
const ABOVE: u8 = 4;
const BELOW: u8 = 8;
const SPECIAL: u8 = NAN | ABOVE | BELOW;

/// A sum in the making.
#[derive(Debug, Clone)]
pub(super) struct Accumulator {
    limbs: [i64; LIMBS],
    /// Limbs from here on, and before there, may be other than zero.
    from: usize,
    upto: usize,
    terms: u32,
    special: u8,
}

/// A sum as it is kept: sign and what is not finite, the lowest limb that is not zero, the limbs from there on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Digits<'a> {
    flags: u8,
    lowest: usize,
    limbs: &'a [u8],
}

/// A whole number of 2^(32 * exponent), lowest limb first.
#[derive(Debug, Clone, PartialEq)]
struct Whole {
    negative: bool,
    exponent: i64,
    limbs: Vec<u32>,
}

impl Default for Accumulator {
    fn default() -> Self {
        Self { limbs: [0; LIMBS], from: LIMBS, upto: 0, terms: 0, special: 0 }
    }
}

impl Accumulator {
    pub(super) fn add_float(&mut self, number: f64) {
        if let Some((mantissa, exponent)) = self.parts(number) {
            self.add(mantissa, 32 * POINT - 1074 + exponent, number.is_sign_negative());
        }
    }

    pub(super) fn add_float_square(&mut self, number: f64) {
        if let Some((mantissa, exponent)) = self.parts(number) {
            self.add_wide(u128::from(mantissa) * u128::from(mantissa), 32 * POINT - 2148 + 2 * exponent);
        }
    }

    pub(super) fn add_int(&mut self, number: i64) {
        self.add(number.unsigned_abs(), 32 * POINT, number < 0);
    }

    pub(super) fn add_int_square(&mut self, number: i64) {
        let magnitude = u128::from(number.unsigned_abs());
        self.add_wide(magnitude * magnitude, 32 * POINT);
    }

    /// Adds another sum.
    pub(super) fn merge(&mut self, other: Digits<'_>) {
        self.special |= other.flags & SPECIAL;
        let limbs = self.limbs.get_mut(other.lowest..).unwrap_or_default();
        for (limb, digit) in limbs.iter_mut().zip(other.iter()) {
            let digit = i64::from(digit);
            *limb += if other.flags & NEGATIVE == 0 { digit } else { -digit };
        }
        self.touched(other.lowest, other.lowest + other.limbs.len() / 4);
    }

    /// Appends the bytes: u8 flags, u8 lowest limb, u8 number of limbs, that many u32. Equal sums have equal bytes.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let whole = self.whole();
        let lowest = whole.exponent + POINT as i64;
        out.push(self.special | if whole.negative { NEGATIVE } else { 0 });
        out.push(u8::try_from(lowest).unwrap_or(0));
        out.push(u8::try_from(whole.limbs.len()).unwrap_or(u8::MAX));
        whole.limbs.iter().for_each(|limb| out.extend(limb.to_le_bytes()));
    }

    /// The nearest double.
    pub(super) fn sum(&self) -> f64 {
        self.special().unwrap_or_else(|| self.whole().over(&[]))
    }

    /// The sum as an integer; none when it does not fit or has a fraction.
    pub(super) fn integer(&self) -> Option<i64> {
        let whole = self.whole();
        let mut magnitude = 0_i128;
        for limb in whole.limbs.iter().rev() {
            magnitude = magnitude.checked_mul(1 << 32)?.checked_add(i128::from(*limb))?;
        }
        for _ in 0..whole.exponent.min(3) {
            magnitude = magnitude.checked_mul(1 << 32)?;
        }
        let integer = whole.limbs.is_empty() || (0..3).contains(&whole.exponent);
        let signed = if whole.negative { -magnitude } else { magnitude };
        i64::try_from(signed).ok().filter(|_| integer)
    }

    /// The nearest double to the sum divided by `count`, which is not zero.
    pub(super) fn mean(&self, count: u64) -> f64 {
        self.special().unwrap_or_else(|| self.whole().over(&[count]))
    }

    /// The nearest double to (sum of squares - sum^2 / count) / (count - 1), `count` being at least 2.
    pub(super) fn variance(&self, squares: &Self, count: u64) -> f64 {
        if (self.special | squares.special) != 0 {
            return f64::NAN;
        }
        let spread = squares.whole().times(count).less(self.whole().squared());
        spread.over(&[count, count - 1])
    }

    fn special(&self) -> Option<f64> {
        match self.special {
            0 => None,
            ABOVE => Some(f64::INFINITY),
            BELOW => Some(f64::NEG_INFINITY),
            _ => Some(f64::NAN),
        }
    }

    /// A finite double as a whole number of 2^(exponent - 1074); none when it is zero or not finite.
    fn parts(&mut self, number: f64) -> Option<(u64, usize)> {
        if !number.is_finite() {
            self.special |= match number {
                f64::INFINITY => ABOVE,
                f64::NEG_INFINITY => BELOW,
                _ => NAN,
            };
            return None;
        }
        let bits = number.to_bits();
        let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52) as usize & 0x7FF);
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        (mantissa != 0).then(|| (mantissa, exponent.max(1) - 1))
    }

    fn add_wide(&mut self, magnitude: u128, bit: usize) {
        #[allow(clippy::cast_possible_truncation, reason = "the halves of 128 bits")]
        let (low, high) = (magnitude as u64, (magnitude >> 64) as u64);
        self.add(low, bit, false);
        self.add(high, bit + 64, false);
    }

    /// Adds `magnitude` times 2^`bit` of the accumulator.
    fn add(&mut self, magnitude: u64, bit: usize, negative: bool) {
        let wide = u128::from(magnitude) << (bit % 32);
        let limbs = self.limbs.get_mut(bit / 32..).unwrap_or_default().iter_mut();
        for (limb, at) in limbs.zip([0, 32, 64]) {
            #[allow(clippy::cast_possible_truncation, reason = "32 of the bits")]
            let digit = i64::from((wide >> at) as u32);
            *limb += if negative { -digit } else { digit };
        }
        self.touched(bit / 32, bit / 32 + 3);
    }

    fn touched(&mut self, from: usize, upto: usize) {
        (self.from, self.upto) = (self.from.min(from), self.upto.max(upto).min(LIMBS));
        self.terms += 1;
        if self.terms >= TERMS_MAX {
            let whole = self.whole();
            let mut bytes = Vec::new();
            self.encode(&mut bytes);
            let (special, negative) = (self.special, whole.negative);
            *self = Self { special, ..Self::default() };
            let lowest = usize::try_from(whole.exponent + POINT as i64).unwrap_or(0);
            let flags = if negative { NEGATIVE } else { 0 };
            self.merge(Digits { flags, lowest, limbs: bytes.get(3..).unwrap_or_default() });
        }
    }

    /// The sum with its carries handed on and without zeros at either end.
    fn whole(&self) -> Whole {
        let used = self.limbs.get(self.from..self.upto).unwrap_or_default();
        let (limbs, carry) = carried(used.iter().copied());
        let negative = carry < 0;
        let (mut limbs, mut carry) = if negative { carried(used.iter().map(|limb| -limb)) } else { (limbs, carry) };
        while carry != 0 {
            limbs.push(low_half(carry));
            carry >>= 32;
        }
        let exponent = if used.is_empty() { 0 } else { self.from as i64 - POINT as i64 };
        Whole { negative, exponent, limbs }.trimmed()
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the lower half of 64 bits")]
const fn low_half(wide: i64) -> u32 {
    wide as u32
}

/// Limbs from 0 to 2^32 - 1, and what is carried beyond them.
fn carried(limbs: impl Iterator<Item = i64>) -> (Vec<u32>, i64) {
    let mut carry = 0_i64;
    let one = |limb: i64| {
        let sum = limb + carry;
        carry = sum >> 32;
        low_half(sum)
    };
    let limbs = limbs.map(one).collect();
    (limbs, carry)
}

impl<'a> Digits<'a> {
    pub(super) fn decode(from: &mut Decoder<'a>) -> Result<Self> {
        let (flags, lowest, count) = (from.u8()?, from.u8()?, from.u8()?);
        Ok(Self { flags, lowest: usize::from(lowest), limbs: from.take(4 * usize::from(count))? })
    }

    fn iter(self) -> impl Iterator<Item = u32> + use<'a> {
        self.limbs.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes))
    }
}

impl Whole {
    fn trimmed(mut self) -> Self {
        let zeros = self.limbs.iter().take_while(|limb| **limb == 0).count();
        self.limbs.drain(..zeros);
        self.exponent += zeros as i64;
        while self.limbs.last() == Some(&0) {
            self.limbs.pop();
        }
        if self.limbs.is_empty() {
            return Self { negative: false, exponent: -(POINT as i64), limbs: Vec::new() };
        }
        self
    }

    fn times(self, factor: u64) -> Self {
        let mut carry = 0_u128;
        let mut limbs: Vec<u32> =
            self.limbs.iter().map(|limb| low_word(&mut carry, u128::from(*limb) * u128::from(factor))).collect();
        while carry != 0 {
            limbs.push(low_word(&mut carry, 0));
        }
        Self { limbs, ..self }
    }

    fn squared(self) -> Self {
        let mut product = vec![0_u32; 2 * self.limbs.len()];
        for (at, left) in self.limbs.iter().enumerate() {
            let mut carry = 0_u128;
            let mut right = self.limbs.iter();
            for slot in product.iter_mut().skip(at) {
                let term = right.next().map_or(0, |right| u128::from(*left) * u128::from(*right));
                *slot = low_word(&mut carry, term + u128::from(*slot));
            }
        }
        Self { negative: false, exponent: 2 * self.exponent, limbs: product }
    }

    /// `self - other`, which is not negative.
    fn less(self, other: Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        let aligned = |number: Self| {
            let zeros = usize::try_from(number.exponent - exponent).unwrap_or(0);
            std::iter::repeat_n(0, zeros).chain(number.limbs).collect::<Vec<u32>>()
        };
        let (left, right) = (aligned(self), aligned(other));
        let right = right.into_iter().chain(std::iter::repeat(0));
        let (limbs, _) = carried(left.into_iter().zip(right).map(|(left, right)| i64::from(left) - i64::from(right)));
        Self { negative: false, exponent, limbs }
    }

    /// The nearest double to this divided by each of `divisors`.
    fn over(mut self, divisors: &[u64]) -> f64 {
        // Each divisor takes at most 64 bits off the quotient, of which more than 53 are to stay.
        let room = 2 * divisors.len() + 2;
        self.limbs.splice(0..0, std::iter::repeat_n(0, room));
        let mut inexact = false;
        for divisor in divisors {
            let mut rest = 0_u128;
            for limb in self.limbs.iter_mut().rev() {
                let part = (rest << 32) | u128::from(*limb);
                *limb = u32::try_from(part / u128::from(*divisor)).unwrap_or(u32::MAX);
                rest = part % u128::from(*divisor);
            }
            inexact |= rest != 0;
        }
        let magnitude = nearest(&self.limbs, 32 * (self.exponent - room as i64), inexact);
        if self.negative { -magnitude } else { magnitude }
    }
}

/// The lower word of `term` and what was carried; the rest is carried on.
fn low_word(carry: &mut u128, term: u128) -> u32 {
    let sum = term + *carry;
    *carry = sum >> 32;
    #[allow(clippy::cast_possible_truncation, reason = "the lower word")]
    let low = sum as u32;
    low
}

/// The double nearest to the number of `limbs` times 2^`exponent`, plus less than one unit of it when `inexact`.
fn nearest(limbs: &[u32], exponent: i64, inexact: bool) -> f64 {
    let Some(top) = limbs.iter().rposition(|limb| *limb != 0) else { return 0.0 };
    let length = 32 * top as i64 + 32 - i64::from(limbs.get(top).map_or(0, |limb| limb.leading_zeros()));
    let highest = exponent + length - 1;
    if highest > 1023 {
        return f64::INFINITY;
    }
    let unit = (highest - 52).max(-1074);
    let Ok(cut) = usize::try_from(unit - exponent) else {
        // Fewer bits than a double has.
        return bits(limbs, 0) as f64 * power_of_two(exponent);
    };
    let kept = if length > unit - exponent { bits(limbs, cut) } else { 0 };
    let half = cut > 0 && bits(limbs, cut - 1) & 1 == 1;
    let rest = inexact || any_below(limbs, cut.saturating_sub(1));
    let up = half && (rest || kept & 1 == 1);
    #[allow(clippy::cast_precision_loss, reason = "at most 2^53")]
    let mantissa = (kept + u64::from(up)) as f64;
    mantissa * power_of_two(unit)
}

/// Up to 64 bits from bit `from` on.
fn bits(limbs: &[u32], from: usize) -> u64 {
    let three = limbs.iter().skip(from / 32).take(3).rev();
    let wide = three.clone().fold(0_u128, |wide, limb| (wide << 32) | u128::from(*limb));
    #[allow(clippy::cast_possible_truncation, reason = "64 of the bits")]
    let found = (wide >> (from % 32)) as u64;
    found
}

fn any_below(limbs: &[u32], bit: usize) -> bool {
    let whole = limbs.iter().take(bit / 32).any(|limb| *limb != 0);
    whole || limbs.get(bit / 32).is_some_and(|limb| limb & ((1 << (bit % 32)) - 1) != 0)
}

/// 2^`exponent`, from -1074 to 1023.
fn power_of_two(exponent: i64) -> f64 {
    let bits = if exponent >= -1022 { (exponent + 1023) << 52 } else { 1 << (exponent + 1074).clamp(0, 51) };
    f64::from_bits(bits.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(numbers: &[f64]) -> (Accumulator, Accumulator) {
        let (mut sum, mut squares) = (Accumulator::default(), Accumulator::default());
        for number in numbers {
            sum.add_float(*number);
            squares.add_float_square(*number);
        }
        (sum, squares)
    }

    fn bytes(sum: &Accumulator) -> Vec<u8> {
        let mut bytes = Vec::new();
        sum.encode(&mut bytes);
        bytes
    }

    #[test]
    fn sums_are_rounded_once() {
        // Python 3 math.fsum of the same.
        for (numbers, expected) in [
            (&[0.1; 10] as &[f64], 1.0),
            (&[1e100, 1.0, -1e100], 1.0),
            (&[1e308, 1e308, -1e308], 1e308),
            (&[5e-324, 5e-324], 1e-323),
            (&[1.0, 1.110_223_024_625_156_5e-16, 5e-324], 1.000_000_000_000_000_2),
            (&[1.0, 1.110_223_024_625_156_5e-16], 1.0),
            (&[-1.5, 0.25, -1e-300], -1.25),
            (&[2.5e-308, -2.225_073_858_507_201_4e-308], 2.749_261_414_927_984e-309),
            (&[], 0.0),
        ] {
            assert_eq!(of(numbers).0.sum(), expected, "{numbers:?}");
        }
        assert_eq!(of(&[f64::MAX, f64::MAX]).0.sum(), f64::INFINITY);
        assert_eq!(of(&[f64::MAX, f64::MAX]).0.mean(2), f64::MAX);
        assert_eq!(of(&[f64::MIN, f64::MIN]).0.sum(), f64::NEG_INFINITY);
        assert!(of(&[f64::INFINITY, f64::NEG_INFINITY]).0.sum().is_nan());
        assert_eq!(of(&[f64::INFINITY, 1.0]).0.mean(2), f64::INFINITY);
    }

    #[test]
    fn variances_agree_with_exact_fractions() {
        // Python 3: float(statistics.variance(map(Fraction, numbers))).
        for (numbers, expected) in [
            (&[1.5, -2.25, 4.0, 10.125] as &[f64], 27.035_156_25),
            (&[1e9, 1e9 + 1.0, 1e9 + 2.0], 1.0),
            (&[0.1, 0.2, 0.3], 0.009_999_999_999_999_998),
            (&[3.0, 3.0], 0.0),
            (&[1e-200, 3e-200], 0.0),
        ] {
            let (sum, squares) = of(numbers);
            assert_eq!(sum.variance(&squares, numbers.len() as u64), expected, "{numbers:?}");
        }
        let (sum, squares) = of(&[1e200, -1e200]);
        assert_eq!(sum.variance(&squares, 2), f64::INFINITY);
    }

    #[test]
    fn integers_stay_whole() {
        let mut sum = Accumulator::default();
        [i64::MAX, 1, -1].into_iter().for_each(|number| sum.add_int(number));
        assert_eq!(sum.integer(), Some(i64::MAX));
        sum.add_int(1);
        assert_eq!(sum.integer(), None);
        let mut least = Accumulator::default();
        least.add_int(i64::MIN);
        assert_eq!((least.integer(), least.sum()), (Some(i64::MIN), -(2_f64.powi(63))));
        assert_eq!(Accumulator::default().integer(), Some(0));
        let mut wide = Accumulator::default();
        wide.add_int(1 << 40);
        wide.add_int(-(1 << 40) + (1 << 32));
        assert_eq!(wide.integer(), Some(1 << 32));
    }

    proptest! {
        #[test]
        fn order_and_parts_change_no_bit(
            numbers in proptest::collection::vec(any::<f64>(), 0..40), cut in 0_usize..40, turned in any::<bool>(),
        ) {
            let (whole, squares) = of(&numbers);
            let (first, second) = numbers.split_at(cut.min(numbers.len()));
            let (mut second, first) = (second.to_vec(), of(first));
            if turned {
                second.reverse();
            }
            let (mut sum, mut sum_squares) = of(&second);
            sum.merge(Digits::decode(&mut Decoder(&bytes(&first.0))).unwrap());
            sum_squares.merge(Digits::decode(&mut Decoder(&bytes(&first.1))).unwrap());
            prop_assert_eq!(bytes(&sum), bytes(&whole));
            prop_assert_eq!(bytes(&sum_squares), bytes(&squares));
            prop_assert_eq!(sum.sum().to_bits(), whole.sum().to_bits());
        }

        #[test]
        fn two_numbers_add_as_the_processor_adds_them(left in any::<f64>(), right in any::<f64>()) {
            let sum = of(&[left, right]).0.sum();
            prop_assert!(sum == left + right || (sum.is_nan() && (left + right).is_nan()), "{sum} {}", left + right);
        }

        #[test]
        fn a_mean_of_two_and_a_square_are_as_of_the_processor(number in -1e100..1e100_f64, other in 1_u32..1_000) {
            prop_assert_eq!(of(&[number]).0.mean(u64::from(other)), number / f64::from(other));
            prop_assert_eq!(of(&[number]).1.sum(), number * number);
        }

        #[test]
        fn deviations_of_integers_are_those_of_fractions(numbers in proptest::collection::vec(-1_000_000_i64..1_000_000, 2..30)) {
            let (mut sum, mut squares) = (Accumulator::default(), Accumulator::default());
            for number in &numbers {
                sum.add_int(*number);
                squares.add_int_square(*number);
            }
            let count = numbers.len() as i128;
            let total: i128 = numbers.iter().map(|number| i128::from(*number)).sum();
            let square: i128 = numbers.iter().map(|number| i128::from(*number) * i128::from(*number)).sum();
            let spread = count * square - total * total;
            // Both are below 2^53, so their quotient is rounded once.
            let expected = spread as f64 / (count * (count - 1)) as f64;
            if spread < 1 << 53 {
                prop_assert_eq!(sum.variance(&squares, count as u64), expected);
            }
        }
    }
}
