//! The one queue in front of the workers: jobs of their own, and lanes of calls that may share a prediction.
//!
//! Invariant: at most `waiting_max` admitted entries wait; what waits longest is served first, and a lane that still
//! has calls after its turn goes to the back, so no model starves another.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use super::batch::{Batch, Call, Close, LaneKey};
use crate::repository::LoadedVersion;

/// A closure that runs or reports why it does not.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// What an idle worker gets.
pub(super) enum Work {
    Job(Job),
    Batch(Batch),
}

enum Turn {
    Job(Job),
    Lane(LaneKey),
}

struct Lane {
    version: Arc<LoadedVersion>,
    rows_max: usize,
    calls: VecDeque<Call>,
}

struct State {
    turns: VecDeque<Turn>,
    lanes: HashMap<LaneKey, Lane>,
    waiting: usize,
    open: bool,
}

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Full,
    Closed,
}

pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    waiting_max: usize,
}

impl Queue {
    pub(super) fn new(waiting_max: usize) -> Self {
        let state = State { turns: VecDeque::new(), lanes: HashMap::new(), waiting: 0, open: true };
        Self { state: Mutex::new(state), changed: Condvar::new(), waiting_max }
    }

    pub(super) fn waiting_max(&self) -> usize {
        self.waiting_max
    }

    pub(super) fn waiting(&self) -> usize {
        self.with(|state| state.waiting)
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn admit(&self, enter: impl FnOnce(&mut State)) -> Result<(), Refused> {
        self.with(|state| {
            if !state.open {
                return Err(Refused::Closed);
            }
            if state.waiting >= self.waiting_max {
                return Err(Refused::Full);
            }
            state.waiting += 1;
            enter(state);
            Ok(())
        })?;
        self.changed.notify_one();
        Ok(())
    }

    /// Adds a job behind what waits.
    pub(super) fn push(&self, job: Job) -> Result<(), Refused> {
        self.admit(|state| state.turns.push_back(Turn::Job(job)))
    }

    /// Adds the last step of a request that was admitted before: ahead of what waits, whatever waits. There is at most
    /// one for each request in flight.
    pub(super) fn push_front(&self, job: Job) -> Result<(), Refused> {
        self.with(|state| {
            if !state.open {
                return Err(Refused::Closed);
            }
            state.waiting += 1;
            state.turns.push_front(Turn::Job(job));
            Ok(())
        })?;
        self.changed.notify_one();
        Ok(())
    }

    /// Adds a call to the lane of its kind.
    pub(super) fn push_call(
        &self,
        key: LaneKey,
        version: Arc<LoadedVersion>,
        rows_max: usize,
        call: Call,
    ) -> Result<(), Refused> {
        self.admit(|state| {
            let lane = state.lanes.entry(key.clone()).or_insert_with(|| {
                state.turns.push_back(Turn::Lane(key));
                Lane { version, rows_max, calls: VecDeque::new() }
            });
            lane.calls.push_back(call);
        })
    }

    /// Waits for work; none once the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Work> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match state.turns.pop_front() {
                Some(Turn::Job(job)) => {
                    state.waiting = state.waiting.saturating_sub(1);
                    return Some(Work::Job(job));
                }
                Some(Turn::Lane(key)) => {
                    if let Some(batch) = state.take_batch(key) {
                        return Some(Work::Batch(batch));
                    }
                }
                None if !state.open => return None,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Takes nothing more; workers end when what waits is done.
    pub(super) fn close(&self) {
        self.with(|state| state.open = false);
        self.changed.notify_all();
    }
}

impl State {
    /// As many calls of one lane as fit together, the oldest first; a call larger than the limit goes alone.
    fn take_batch(&mut self, key: LaneKey) -> Option<Batch> {
        let lane = self.lanes.get_mut(&key)?;
        let (mut calls, mut rows, mut closed_by) = (Vec::new(), 0_usize, Close::QueueEmpty);
        while let Some(next) = lane.calls.front() {
            let full = lane.rows_max <= 1 || rows.saturating_add(next.rows) > lane.rows_max;
            if !calls.is_empty() && full {
                closed_by = Close::Full;
                break;
            }
            let Some(call) = lane.calls.pop_front() else { break };
            self.waiting = self.waiting.saturating_sub(1);
            rows = rows.saturating_add(call.rows);
            calls.push(call);
        }
        let version = Arc::clone(&lane.version);
        if lane.calls.is_empty() {
            self.lanes.remove(&key);
        } else {
            self.turns.push_back(Turn::Lane(key));
        }
        Some(Batch { version, calls, closed_by }).filter(|batch| !batch.calls.is_empty())
    }
}
