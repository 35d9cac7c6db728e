//! The search itself, on integers: which source row wins for each slot of the spine.
//!
//! A source row becomes visible at `max(event, created)` when only known rows count, else at `event`. It is offered to
//! the first slot that sees it; each slot keeps the best offer, and what is best for a slot and all before it is its
//! winner. Taking the best is commutative, so rows may be offered in any order, from any thread.
#![allow(clippy::indexing_slicing, reason = "there is one candidate for every slot of the timeline")]

use super::timeline::Timeline;

/// The order of rule 3: event time, then creation time (none loses), then the place in order of ingestion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    event: i64,
    created: i64,
    /// The row's number plus one, and above all rows a bit for those that have a creation time.
    place: u64,
}

const HAS_CREATED: u64 = 1 << 63;

impl Rank {
    /// Loses against every row.
    const NONE: Self = Self { event: i64::MIN, created: i64::MIN, place: 0 };

    /// Of source row number `row`, which is below 2^63 - 1.
    pub(crate) fn new(event: i64, created: Option<i64>, row: u64) -> Self {
        match created {
            Some(created) => Self { event, created, place: HAS_CREATED | (row + 1) },
            None => Self { event, created: i64::MIN, place: row + 1 },
        }
    }

    fn row(self) -> Option<u64> {
        (self.place & !HAS_CREATED).checked_sub(1)
    }
}

/// The best offer for each slot.
pub(crate) struct Candidates(Vec<Rank>);

impl Candidates {
    pub(crate) fn new(slots: usize) -> Self {
        Self(vec![Rank::NONE; slots])
    }

    /// Every offer is one slot and the row that becomes visible to it.
    pub(crate) fn offer(&mut self, offers: &[(u32, Rank)]) {
        for (slot, rank) in offers {
            if let Some(best) = self.0.get_mut(*slot as usize) {
                *best = (*best).max(*rank);
            }
        }
    }

    /// Each slot that has a winner, with the row that wins it; a winner older than `ttl` is none.
    pub(crate) fn winners(&self, timeline: &Timeline, ttl: Option<i64>) -> Vec<(u64, u32)> {
        // As many as there can be: a list that doubles would take more.
        let mut winners = Vec::with_capacity(self.0.len());
        for slots in timeline.groups() {
            let mut best = Rank::NONE;
            for slot in slots {
                best = best.max(self.0[slot]);
                let alive = ttl.is_none_or(|ttl| best.event >= timeline.time(slot).saturating_sub(ttl));
                winners.extend(best.row().filter(|_| alive).map(|row| (row, slot as u32)));
            }
        }
        winners
    }
}
