//! The search itself, on integers: which source row wins for each spine row.
//!
//! A source row becomes visible at `max(event, created)` when only known rows count, else at `event`. Within one
//! key, sort by that moment and remember the best row so far: then every question is one binary search, in both
//! modes.
#![allow(
    clippy::indexing_slicing,
    reason = "group numbers are below `groups` by construction, offsets ascend and end at the number of entries, \
              and a partition point of a slice is at most its length"
)]

use super::Knowledge;

/// Times of one side in one unit, and the key number of each row.
pub(crate) struct Side {
    pub(crate) group: Vec<Option<u32>>,
    pub(crate) time: Vec<Option<i64>>,
}

#[derive(Clone, Copy)]
struct Entry {
    visible: i64,
    /// Event time, creation time (none first), row: the order of rule 3.
    rank: (i64, Option<i64>, u32),
}

/// For each spine row the winning source row. `created` is as long as the source or empty, which is all null.
pub(crate) fn winners(
    spine: &Side,
    source: &Side,
    created: &[Option<i64>],
    groups: usize,
    knowledge: Knowledge,
    ttl: Option<i64>,
) -> Vec<Option<u32>> {
    let (offsets, entries) = grouped(source, created, groups, knowledge);
    let find = |(group, time): (&Option<u32>, &Option<i64>)| {
        let ((group, time), entries) = ((group.as_ref()?, time.as_ref()?), &entries);
        let slice = &entries[offsets[*group as usize]..offsets[*group as usize + 1]];
        let seen = slice.partition_point(|entry| entry.visible <= *time);
        let (event, _, row) = slice[..seen].last()?.rank;
        let alive = ttl.is_none_or(|ttl| event >= time.saturating_sub(ttl));
        alive.then_some(row)
    };
    spine.group.iter().zip(&spine.time).map(find).collect()
}

/// The entries of every key side by side, each key's in order of visibility and carrying the best rank so far.
fn grouped(source: &Side, created: &[Option<i64>], groups: usize, knowledge: Knowledge) -> (Vec<usize>, Vec<Entry>) {
    let entry = |row: usize| {
        let (group, event) = (source.group[row]? as usize, source.time[row]?);
        let created = created.get(row).copied().flatten();
        let visible = match knowledge {
            Knowledge::Event => event,
            Knowledge::Known => event.max(created?),
        };
        Some((group, Entry { visible, rank: (event, created, row as u32) }))
    };
    let mut offsets = vec![0_usize; groups + 1];
    for (group, _) in (0..source.time.len()).filter_map(entry) {
        offsets[group + 1] += 1;
    }
    for group in 0..groups {
        offsets[group + 1] += offsets[group];
    }
    let mut next = offsets.clone();
    let mut entries = vec![Entry { visible: 0, rank: (0, None, 0) }; offsets[groups]];
    for (group, entry) in (0..source.time.len()).filter_map(entry) {
        entries[next[group]] = entry;
        next[group] += 1;
    }
    for group in 0..groups {
        order(&mut entries[offsets[group]..offsets[group + 1]]);
    }
    (offsets, entries)
}

fn order(entries: &mut [Entry]) {
    if !entries.is_sorted_by_key(|entry| (entry.visible, entry.rank)) {
        entries.sort_unstable_by_key(|entry| (entry.visible, entry.rank));
    }
    let mut best: Option<(i64, Option<i64>, u32)> = None;
    for entry in entries {
        entry.rank = best.map_or(entry.rank, |best| best.max(entry.rank));
        best = Some(entry.rank);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = (Option<u32>, Option<i64>, Option<i64>);

    /// The rules read aloud, in O(n m).
    fn oracle(spine: &[Row], source: &[Row], knowledge: Knowledge, ttl: Option<i64>) -> Vec<Option<u32>> {
        let one = |&(group, time, _): &Row| {
            let (group, time) = (group?, time?);
            let mut best: Option<((i64, bool, i64, usize), u32)> = None;
            for (index, &(key, event, created)) in source.iter().enumerate() {
                let Some(event) = event else { continue };
                let known = knowledge == Knowledge::Event || created.is_some_and(|created| created <= time);
                if key != Some(group) || event > time || !known {
                    continue;
                }
                let rank = (event, created.is_some(), created.unwrap_or(0), index);
                if best.is_none_or(|(best, _)| rank > best) {
                    best = Some((rank, index as u32));
                }
            }
            best.filter(|((event, ..), _)| ttl.is_none_or(|ttl| *event >= time - ttl)).map(|(_, index)| index)
        };
        spine.iter().map(one).collect()
    }

    fn rows(n: usize) -> impl Strategy<Value = Vec<Row>> {
        let time = || proptest::option::weighted(0.9, -5_i64..12);
        proptest::collection::vec((proptest::option::weighted(0.9, 0_u32..3), time(), time()), 0..n)
    }

    fn side(rows: &[Row]) -> Side {
        Side { group: rows.iter().map(|row| row.0).collect(), time: rows.iter().map(|row| row.1).collect() }
    }

    proptest! {
        #[test]
        fn agrees_with_brute_force(
            spine in rows(30), source in rows(60), known: bool, ttl in proptest::option::of(1_i64..6),
        ) {
            let knowledge = if known { Knowledge::Known } else { Knowledge::Event };
            let created: Vec<_> = source.iter().map(|row| row.2).collect();
            let got = winners(&side(&spine), &side(&source), &created, 3, knowledge, ttl);
            prop_assert_eq!(got, oracle(&spine, &source, knowledge, ttl));
        }

        #[test]
        fn shuffling_the_spine_shuffles_the_answer(spine in rows(20), source in rows(40)) {
            let created = Vec::new();
            let ask = |spine: &[Row]| winners(&side(spine), &side(&source), &created, 3, Knowledge::Event, None);
            let mut forward = ask(&spine);
            let reversed: Vec<_> = spine.iter().rev().copied().collect();
            forward.reverse();
            prop_assert_eq!(ask(&reversed), forward);
        }
    }
}
