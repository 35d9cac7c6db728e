//! Bit masks over rows: one bit per row, made 64 at a time.
//!
//! Invariant: masks of one batch have one length, so that combining them cannot fail.

use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};

/// The rows whose value passes.
pub(super) fn of<T>(values: &[T], passes: impl Fn(&T) -> bool) -> BooleanBuffer {
    let word =
        |chunk: &[T]| chunk.iter().enumerate().fold(0_u64, |word, (bit, value)| word | u64::from(passes(value)) << bit);
    let words: Vec<u64> = values.chunks(64).map(word).collect();
    BooleanBuffer::new(Buffer::from_vec(words), 0, values.len())
}

/// The rows whose pair of values passes.
pub(super) fn of_pairs<T, U>(a: &[T], b: &[U], passes: impl Fn(&T, &U) -> bool) -> BooleanBuffer {
    let mut pairs = a.iter().zip(b);
    BooleanBuffer::collect_bool(a.len(), |_| pairs.next().is_some_and(|(a, b)| passes(a, b)))
}

/// Both, where the second may be "all".
pub(super) fn and(mask: &BooleanBuffer, other: Option<&BooleanBuffer>) -> BooleanBuffer {
    match other {
        Some(other) => mask & other,
        None => mask.clone(),
    }
}

/// Rows with a value that a filter keeps; `None` when that is every row.
pub(super) fn counted(valid: Option<&NullBuffer>, filter: Option<&BooleanBuffer>) -> Option<BooleanBuffer> {
    match (valid, filter) {
        (None, None) => None,
        (Some(valid), filter) => Some(and(valid.inner(), filter)),
        (None, Some(filter)) => Some(filter.clone()),
    }
}

/// The values at the rows of a mask; all without one.
pub(super) fn selected<'a, T>(
    values: &'a [T],
    mask: Option<&'a BooleanBuffer>,
) -> Box<dyn Iterator<Item = &'a T> + 'a> {
    match mask {
        None => Box::new(values.iter()),
        Some(mask) => Box::new(mask.set_slices().flat_map(|(from, to)| values.get(from..to).unwrap_or_default())),
    }
}

/// The rows of a mask; all `rows` without one.
pub(super) fn rows(mask: Option<&BooleanBuffer>, rows: usize) -> Box<dyn Iterator<Item = usize> + '_> {
    match mask {
        None => Box::new(0..rows),
        Some(mask) => Box::new(mask.set_indices()),
    }
}
