//! The spine turned round: the distinct moments of every key, in order.
//!
//! The spine is the small side, so the join keeps it and lets the sources stream past. A moment of a key is a *slot*:
//! a source row falls to the first slot that may see it, in one binary search, and every later slot of the key sees
//! it too.
#![allow(
    clippy::indexing_slicing,
    reason = "group numbers are below `groups` by construction, and offsets ascend and end at the number of slots"
)]

use std::sync::Arc;

use arrow_array::RecordBatch;
use mlops_core::Result;

use super::{Bound, KeyIndex};
use crate::time::{Ticks, column, ticks};

/// Slots of a spine, grouped by key, ascending in time and distinct within a key.
pub(crate) struct Timeline {
    index: KeyIndex,
    /// Where each key's slots begin; one more for the end.
    offsets: Vec<u32>,
    times: Vec<i64>,
    /// The slot of each spine row; none where the time or a key is null.
    slots: Vec<Option<u32>>,
    /// The first and the last moment of all.
    span: Option<(i64, i64)>,
}

impl Timeline {
    /// The moments of `spine`, at most `u32::MAX` rows, by the columns `keys` and in `unit`.
    pub(crate) fn build(spine: &RecordBatch, keys: &[Arc<str>], timestamp: &str, unit: Ticks) -> Result<Self> {
        let (index, groups) = KeyIndex::build(spine, keys)?;
        let rows_at = ticks(timestamp, column(spine, timestamp)?.as_ref(), unit)?;
        let (starts, mut order) = grouped(&groups, &rows_at, index.len());
        let mut slots = vec![None; groups.len()];
        let (mut offsets, mut times) = (Vec::with_capacity(index.len() + 1), Vec::with_capacity(order.len()));
        offsets.push(0);
        for bounds in starts.windows(2) {
            let (begin, rows) = (times.len(), &mut order[bounds[0] as usize..bounds[1] as usize]);
            rows.sort_unstable();
            for (time, row) in rows {
                if times.len() == begin || times[times.len() - 1] != *time {
                    times.push(*time);
                }
                slots[*row as usize] = Some((times.len() - 1) as u32);
            }
            offsets.push(times.len() as u32);
        }
        let span = times.iter().min().copied().zip(times.iter().max().copied());
        Ok(Self { index, offsets, times, slots, span })
    }

    /// The key number of each row of a source batch whose keys are the columns `names`.
    pub(crate) fn lookup(&self, batch: &RecordBatch, names: &[Arc<str>]) -> Result<Vec<Option<u32>>> {
        self.index.lookup(batch, names)
    }

    /// The first slot of key `group` that sees what is visible from `moment` on.
    pub(crate) fn first_seeing(&self, group: u32, moment: i64, bound: Bound) -> Option<u32> {
        let (begin, end) = self.bounds(group as usize);
        let slots = &self.times[begin..end];
        let before = match bound {
            Bound::Inclusive => slots.partition_point(|time| *time < moment),
            Bound::Exclusive => slots.partition_point(|time| *time <= moment),
        };
        (before < slots.len()).then_some((begin + before) as u32)
    }

    /// The slots of every key.
    pub(crate) fn groups(&self) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        (0..self.offsets.len() - 1).map(|group| {
            let (begin, end) = self.bounds(group);
            begin..end
        })
    }

    pub(crate) fn time(&self, slot: usize) -> i64 {
        self.times[slot]
    }

    /// How many slots there are.
    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// The slot of each spine row.
    pub(crate) fn slots(&self) -> &[Option<u32>] {
        &self.slots
    }

    /// The first and the last moment of all keys; none without any.
    pub(crate) fn span(&self) -> Option<(i64, i64)> {
        self.span
    }

    fn bounds(&self, group: usize) -> (usize, usize) {
        (self.offsets[group] as usize, self.offsets[group + 1] as usize)
    }
}

/// Time and row of all rows that have a group and a time, side by side by group, and where each group begins.
fn grouped(groups: &[Option<u32>], times: &[Option<i64>], count: usize) -> (Vec<u32>, Vec<(i64, u32)>) {
    let present =
        || (0_u32..).zip(groups).zip(times).filter_map(|((row, group), time)| Some((row, (*group)?, (*time)?)));
    let mut starts = vec![0_u32; count + 1];
    for (_, group, _) in present() {
        starts[group as usize + 1] += 1;
    }
    for group in 0..count {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut order = vec![(0, 0); starts[count] as usize];
    for (row, group, time) in present() {
        let place = &mut next[group as usize];
        order[*place as usize] = (time, row);
        *place += 1;
    }
    (starts, order)
}
