//! What is kept of one run for those who watch it.
//!
//! Invariant: numbers of changes ascend, and every change after [`Kept::from`] is kept; who has seen less begins anew.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    TailSettings,
    change::{RunChange, is_over},
};
use crate::tracking::RunRecord;

#[derive(Debug)]
pub(super) struct Feed {
    kept: Mutex<Kept>,
    /// Tells the number of the last change.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Kept {
    changes: VecDeque<(u64, Arc<RunChange>)>,
    bytes: usize,
    from: u64,
    last: u64,
    /// The run as it was read last, with the changes since.
    known: Option<RunRecord>,
    read: Option<Instant>,
}

/// What comes behind a number.
#[derive(Debug)]
pub(super) enum Next {
    Change(u64, Arc<RunChange>),
    /// Nothing yet.
    Wait,
    /// Nothing ever.
    Over,
    /// What came next is kept no longer.
    Missed,
}

impl Feed {
    /// Nothing is kept of what came up to that number.
    pub(super) fn new(from: u64) -> Self {
        let kept = Kept { changes: VecDeque::new(), bytes: 0, from, last: from, known: None, read: None };
        Self { kept: Mutex::new(kept), changed: watch::Sender::new(from) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The number of the last change.
    pub(super) fn last(&self) -> u64 {
        self.kept().last
    }

    pub(super) fn next(&self, seen: u64) -> Next {
        let kept = self.kept();
        if !(kept.from..=kept.last).contains(&seen) {
            return Next::Missed;
        }
        let at = kept.changes.partition_point(|(number, _)| *number <= seen);
        match kept.changes.get(at) {
            Some((number, change)) => Next::Change(*number, Arc::clone(change)),
            None if kept.known.as_ref().is_some_and(is_over) => Next::Over,
            None => Next::Wait,
        }
    }

    /// Adds a change; the oldest ones make room for it.
    pub(super) fn push(&self, change: RunChange, numbers: &AtomicU64, settings: &TailSettings) {
        if !change.is_empty() {
            self.kept().push(change, numbers, settings);
            self.wake();
        }
    }

    /// Takes a reading of the run that began after change `at`, and tells what is new in it.
    pub(super) fn compare(&self, at: u64, mut record: RunRecord, numbers: &AtomicU64, settings: &TailSettings) {
        let mut kept = self.kept();
        if at < kept.from {
            // It may lack changes that are kept no longer.
            return;
        }
        for (_, change) in kept.changes.iter().filter(|(number, _)| *number > at) {
            change.apply(&mut record);
        }
        let change = kept.known.as_ref().map(|known| RunChange::between(known, &record)).unwrap_or_default();
        if !change.is_empty() {
            kept.push(change, numbers, settings);
        }
        kept.known = Some(record);
        drop(kept);
        self.wake();
    }

    /// Whether it is time to read the run, and if so behind which change.
    pub(super) fn begin_reading(&self, every: Duration) -> Option<u64> {
        let (mut kept, now) = (self.kept(), Instant::now());
        // Of several that watch, one reads; their clocks tick a little apart.
        if kept.read.is_some_and(|read| now.saturating_duration_since(read) < every / 2) {
            return None;
        }
        kept.read = Some(now);
        Some(kept.last)
    }

    fn wake(&self) {
        self.changed.send_replace(self.last());
    }
}

impl Kept {
    fn push(&mut self, change: RunChange, numbers: &AtomicU64, settings: &TailSettings) {
        if let Some(known) = &mut self.known {
            change.apply(known);
        }
        self.last = numbers.fetch_add(1, Ordering::SeqCst) + 1;
        self.bytes += change.bytes();
        self.changes.push_back((self.last, Arc::new(change)));
        while self.changes.len() > settings.changes_max || self.bytes > settings.bytes_max {
            let Some((number, change)) = self.changes.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(change.bytes());
            self.from = number;
        }
    }
}
