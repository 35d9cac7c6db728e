//! Two ascending samples, value by value.

use super::count_of;

/// How often one value occurs on either side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Group {
    pub(super) value: f64,
    pub(super) reference: u64,
    pub(super) current: u64,
}

/// The distinct values of two ascending samples in order.
#[derive(Debug, Clone)]
pub(super) struct Groups<'a> {
    reference: &'a [f64],
    current: &'a [f64],
}

impl<'a> Groups<'a> {
    pub(super) fn new(reference: &'a [f64], current: &'a [f64]) -> Self {
        Self { reference, current }
    }
}

impl Iterator for Groups<'_> {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        let value = match (self.reference.first(), self.current.first()) {
            (Some(a), Some(b)) => a.min(*b),
            (Some(a), None) => *a,
            (None, Some(b)) => *b,
            (None, None) => return None,
        };
        Some(Group {
            value,
            reference: count_of(skip(&mut self.reference, value)),
            current: count_of(skip(&mut self.current, value)),
        })
    }
}

/// Drops the values up to and including `value` and says how many they were.
pub(super) fn skip(values: &mut &[f64], value: f64) -> usize {
    let mut count = 0;
    while let Some((&first, rest)) = values.split_first() {
        if first > value {
            break;
        }
        *values = rest;
        count += 1;
    }
    count
}
