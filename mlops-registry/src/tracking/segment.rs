//! Metric points as they lie in the database: many points of one run and key in one row of bytes.
//!
//! Invariant: the points of a segment ascend strictly by (timestamp, step, value), so none is there twice, and what is
//! read is bit for bit what was written. The format is described in `docs/formats.md`; it is columnar because steps
//! and timestamps of a series hardly vary from one difference to the next.

use mlops_core::{Error, Metric, Result, Timestamp};

/// Most points in one segment.
pub const POINTS_MAX: usize = 65_536;
/// The version that is written, and the only one that is read.
const VERSION: u8 = 1;
const HEAD: usize = 5;
const CHECKSUM: usize = 4;

/// One point of a series whose run and key are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Point {
    /// When it was measured, in microseconds since 1970.
    pub at: i64,
    /// At which step.
    pub step: i64,
    /// The bits of the value, a double.
    pub bits: u64,
}

impl Point {
    /// The value.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from_bits(self.bits)
    }

    /// What histories are ordered by: timestamp, step and value, the last as IEEE 754 totalOrder.
    pub(crate) fn order(self) -> (i64, i64, i64) {
        (self.at, self.step, total_order(self.bits))
    }

    pub(crate) fn metric(self, key: &str) -> Metric {
        Metric { key: key.to_owned(), value: self.value(), timestamp: Timestamp::from_micros(self.at), step: self.step }
    }
}

impl From<&Metric> for Point {
    fn from(metric: &Metric) -> Self {
        Self { at: metric.timestamp.as_micros(), step: metric.step, bits: metric.value.to_bits() }
    }
}

/// The usual mapping of doubles to integers of the same order, its own inverse.
fn total_order(bits: u64) -> i64 {
    let bits = bits.cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

/// Sorts points and drops repeated ones, as [`encode`] needs them.
pub(crate) fn normalize(points: &mut Vec<Point>) {
    // Stable, because it is fast on what consists of a few ascending stretches.
    points.sort_by_key(|point| point.order());
    points.dedup();
}

/// Writes points.
///
/// # Errors
/// `InvalidArgument` when there are none or more than [`POINTS_MAX`], or they do not ascend strictly by (timestamp,
/// step, value).
///
/// ```
/// use mlops_registry::tracking::segment::{Point, decode, encode};
///
/// let points: Vec<Point> = (0..1_000).map(|i| Point { at: 5_000 * i, step: i, bits: f64::NAN.to_bits() }).collect();
/// let bytes = encode(&points)?;
/// assert!(bytes.len() < 8 * points.len() + 40);
/// assert_eq!(decode(&bytes)?, points);
/// # Ok::<(), mlops_core::Error>(())
/// ```
pub fn encode(points: &[Point]) -> Result<Vec<u8>> {
    let count = u32::try_from(points.len()).ok().filter(|_| (1..=POINTS_MAX).contains(&points.len()));
    let Some(count) = count.filter(|_| points.is_sorted_by(|a, b| a.order() < b.order())) else {
        return Err(Error::invalid_argument(format!(
            "a metric segment needs from 1 to {POINTS_MAX} points that ascend by (timestamp, step, value), found {}",
            points.len()
        )));
    };
    let mut bytes = Vec::with_capacity(HEAD + 12 * points.len() + CHECKSUM);
    bytes.push(VERSION);
    bytes.extend_from_slice(&count.to_le_bytes());
    write_integers(&mut bytes, points.iter().map(|point| point.at));
    write_integers(&mut bytes, points.iter().map(|point| point.step));
    points.iter().for_each(|point| bytes.extend_from_slice(&point.bits.to_le_bytes()));
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    Ok(bytes)
}

/// Reads what [`encode`] wrote. Memory is asked for only after the bytes have been found to be long enough for it.
///
/// # Errors
/// `DataLoss` when the bytes are no segment or are damaged, `FailedPrecondition` when a newer program wrote them.
pub fn decode(bytes: &[u8]) -> Result<Vec<Point>> {
    match bytes.first() {
        Some(&version) if version > VERSION => Err(Error::failed_precondition(format!(
            "metric segment has format version {version}, this program knows up to {VERSION}; upgrade mlops"
        ))),
        _ => read(bytes).ok_or_else(|| Error::data_loss("a stored segment of metric points is damaged")),
    }
}

fn read(bytes: &[u8]) -> Option<Vec<Point>> {
    let (body, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM)?)?;
    let (head, mut rest) = body.split_at_checked(HEAD)?;
    let (version, count) = head.split_first()?;
    let count = usize::try_from(u32::from_le_bytes(count.try_into().ok()?)).ok()?;
    let intact = *version == VERSION && u32::from_le_bytes(checksum.try_into().ok()?) == crc32fast::hash(body);
    if !intact || !(1..=POINTS_MAX).contains(&count) || rest.len() / 8 < count {
        return None;
    }
    let mut points = vec![Point { at: 0, step: 0, bits: 0 }; count];
    read_integers(&mut rest, &mut points, |point, at| point.at = at)?;
    read_integers(&mut rest, &mut points, |point, step| point.step = step)?;
    let (values, none) = rest.as_chunks::<8>();
    if values.len() != count || !none.is_empty() {
        return None;
    }
    for (point, value) in points.iter_mut().zip(values) {
        point.bits = u64::from_le_bytes(*value);
    }
    points.is_sorted_by(|a, b| a.order() < b.order()).then_some(points)
}

/// Writes the difference of each difference to the one before, zigzag, as base-128 numbers; a zero is followed by how many
/// more zeros come. Everything wraps, so that the extremes need no care.
fn write_integers(bytes: &mut Vec<u8>, integers: impl Iterator<Item = i64>) {
    let (mut last, mut last_step, mut zeros) = (0_i64, 0_i64, 0_u64);
    for integer in integers {
        let step = integer.wrapping_sub(last);
        let change = step.wrapping_sub(last_step);
        (last, last_step) = (integer, step);
        if change == 0 {
            zeros += 1;
            continue;
        }
        write_zeros(bytes, &mut zeros);
        write_number(bytes, ((change << 1) ^ (change >> 63)).cast_unsigned());
    }
    write_zeros(bytes, &mut zeros);
}

fn write_zeros(bytes: &mut Vec<u8>, zeros: &mut u64) {
    if let Some(more) = std::mem::take(zeros).checked_sub(1) {
        bytes.push(0);
        write_number(bytes, more);
    }
}

fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_integers(rest: &mut &[u8], points: &mut [Point], set: impl Fn(&mut Point, i64)) -> Option<()> {
    let (mut last, mut last_step, mut zeros) = (0_i64, 0_i64, 0_u64);
    for point in points {
        if zeros > 0 {
            zeros -= 1;
        } else {
            let number = read_number(rest)?;
            last_step = last_step.wrapping_add((number >> 1).cast_signed() ^ -((number & 1).cast_signed()));
            if number == 0 {
                zeros = read_number(rest)?;
            }
        }
        last = last.wrapping_add(last_step);
        set(point, last);
    }
    (zeros == 0).then_some(())
}

fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use mlops_core::ErrorKind;
    use proptest::prelude::*;

    use super::*;

    fn points() -> impl Strategy<Value = Vec<Point>> {
        let integer = || prop_oneof![-20_i64..20, any::<i64>(), Just(i64::MIN), Just(i64::MAX)];
        let value = prop_oneof![any::<u64>(), Just(f64::NAN.to_bits()), Just((-0.0_f64).to_bits()), Just(0)];
        let point = (integer(), integer(), value).prop_map(|(at, step, bits)| Point { at, step, bits });
        proptest::collection::vec(point, 1..200)
    }

    proptest! {
        #[test]
        fn points_come_back_bit_for_bit(mut points in points()) {
            normalize(&mut points);
            prop_assert_eq!(decode(&encode(&points).unwrap()).unwrap(), points);
        }

        #[test]
        fn one_wrong_bit_is_found(mut points in points(), at in any::<prop::sample::Index>(), bit in 0..8) {
            normalize(&mut points);
            let mut bytes = encode(&points).unwrap();
            bytes[at.index(points.len())] ^= 1_u8 << bit;
            let kind = decode(&bytes).unwrap_err().kind();
            prop_assert!(matches!(kind, ErrorKind::DataLoss | ErrorKind::FailedPrecondition), "{kind:?}");
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), sealed: bool) {
            if sealed && bytes.len() > HEAD {
                bytes[..HEAD].copy_from_slice(&[VERSION, 3, 0, 0, 0]);
                bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
            }
            if let Ok(points) = decode(&bytes) {
                prop_assert_eq!(decode(&encode(&points).unwrap()).unwrap(), points);
            }
        }
    }

    #[test]
    fn a_count_without_bytes_asks_for_no_memory() {
        let mut bytes = vec![VERSION, 0xff, 0xff, 0, 0, 0, 0];
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        assert_eq!(decode(&bytes).unwrap_err().kind(), ErrorKind::DataLoss);
        assert_eq!(decode(&[2, 0]).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    }

    /// The bytes of version 1, so that a later program is known to read them.
    #[test]
    fn version_1_stays_readable() {
        let point = |at, step, value: f64| Point { at, step, bits: value.to_bits() };
        let points = [point(1_000, 0, 1.0), point(2_000, 1, -2.5), point(3_000, 2, 0.5)];
        let mut bytes = vec![1, 3, 0, 0, 0];
        // Times: first 1000, first difference 1000 (no change of 1000 - 0), then no change twice: 2000 zigzag, 0 0 1.
        bytes.extend([0xd0, 0x0f, 0, 1]);
        // Steps: 0, then +1, then no change.
        bytes.extend([0, 0, 2, 0, 0]);
        for value in [1.0_f64, -2.5, 0.5] {
            bytes.extend(value.to_bits().to_le_bytes());
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        assert_eq!(encode(&points).unwrap(), bytes);
        assert_eq!(decode(&bytes).unwrap(), points);
        assert!(encode(&[]).is_err() && encode(&[points[1], points[0]]).is_err());
    }
}
