//! The one queue in front of the workers: jobs of their own, and lanes of calls that may share a prediction.
//!
//! Invariant: at most `limits.entries` admitted entries with `limits.rows` rows wait. The most urgent is served first;
//! among equals lanes and jobs take turns, so no model starves another. A worker that asks gets what is there: it
//! waits for company only where a policy says so, and only while another batch of the same version is in flight. A call
//! is admitted only if, behind what waits and what runs, its answer is expected within its deadline; jobs count nothing,
//! because nobody knows what they take.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mlops_core::{Clock, Error};

use super::{
    batch::{Batch, Call, Close, Outlook, Removed},
    lane::{BatchPolicy, Lane, LaneKey, Load, address},
    priority::Priority,
};
use crate::repository::LoadedVersion;

/// A closure that runs when it may, and otherwise reports why not.
pub(super) type Job = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// What an idle worker gets.
pub(super) enum Work {
    Job(Job),
    Batch(Batch),
}

/// Most that may wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    /// Jobs and calls together.
    pub(crate) entries: usize,
    /// Rows of all calls; one call is admitted to an empty queue whatever its size.
    pub(crate) rows: usize,
}

/// Why an entry was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// As many entries wait as may.
    Entries,
    /// As many rows wait as may.
    Rows,
    /// What waits takes longer than the caller would wait; how long, as recent predictions went.
    TooLate(Duration),
    Closed,
}

#[derive(Default)]
struct State {
    /// Last steps of admitted requests: before everything else.
    finishing: VecDeque<Job>,
    jobs: VecDeque<(u64, Job)>,
    lanes: HashMap<LaneKey, Lane>,
    /// Batches being predicted, by version; only of versions whose policy has a delay.
    in_flight: HashMap<usize, usize>,
    /// When the batches that workers have are expected to end; at most one for each worker.
    running: Vec<Duration>,
    turn: u64,
    entries: usize,
    rows: usize,
    closed: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limits: QueueLimits,
    workers: u64,
    clock: Arc<dyn Clock>,
}

/// What a worker finds when it looks.
enum Next {
    Lane(LaneKey),
    Job,
    /// Nothing before that time.
    Wait(Duration),
    Nothing,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits, workers: usize, clock: Arc<dyn Clock>) -> Self {
        let workers = u64::try_from(workers.max(1)).unwrap_or(u64::MAX);
        Self { state: Mutex::default(), changed: Condvar::new(), limits, workers, clock }
    }

    pub(super) fn limits(&self) -> QueueLimits {
        self.limits
    }

    /// Entries and rows that wait.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.entries, state.rows)
    }

    /// Calls of one version that wait.
    pub(super) fn waiting_for(&self, version: &Arc<LoadedVersion>) -> usize {
        let version = address(version);
        let state = self.lock();
        state.lanes.iter().filter(|(key, _)| key.version() == version).map(|(_, lane)| lane.calls.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job behind what waits.
    pub(super) fn push(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.entries >= self.limits.entries {
            return Err(Refused::Entries);
        }
        state.entries += 1;
        let turn = state.next_turn();
        state.jobs.push_back((turn, job));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Adds the last step of a request that was admitted before: ahead of what waits, whatever waits. There is at most
    /// one for each request in flight.
    pub(super) fn push_front(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refused::Closed);
        }
        state.entries += 1;
        state.finishing.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Adds a call to the lane of its kind. When there is no room, calls that nobody waits for make way first, then the
    /// last calls of lower priorities, if that is enough. The caller of this method has to refuse those that made way,
    /// whether or not the call was taken.
    pub(super) fn push_call(
        &self,
        version: &Arc<LoadedVersion>,
        policy: BatchPolicy,
        call: Call,
    ) -> (Vec<Removed>, Result<(), Refused>) {
        let key = LaneKey::new(version, &call.inputs);
        let now = self.clock.monotonic();
        let mut state = self.lock();
        let mut removed = Vec::new();
        if let Err(refused) = self.make_room(&mut state, &call, now, &mut removed) {
            return (removed, Err(refused));
        }
        state.entries += 1;
        state.rows = state.rows.saturating_add(call.rows);
        if !state.lanes.contains_key(&key) {
            let turn = state.next_turn();
            state.lanes.insert(key.clone(), Lane::new(Arc::clone(version), policy, turn));
        }
        if let Some(lane) = state.lanes.get_mut(&key) {
            // The settings may have changed since the first of them came.
            lane.policy = policy;
            lane.push(call);
        }
        drop(state);
        self.changed.notify_one();
        (removed, Ok(()))
    }

    /// Nobody is evicted for a call that is refused all the same.
    fn make_room(
        &self,
        state: &mut State,
        call: &Call,
        now: Duration,
        removed: &mut Vec<Removed>,
    ) -> Result<(), Refused> {
        if state.closed {
            return Err(Refused::Closed);
        }
        if self.fits(state, Load::default(), call).and_then(|()| self.in_time(state, call, now)).is_ok() {
            return Ok(());
        }
        removed.extend(state.remove_dead(now));
        self.in_time(state, call, now)?;
        let below = state.lanes.values().map(|lane| lane.below(call.priority)).fold(Load::default(), Load::and);
        self.fits(state, below, call)?;
        while self.fits(state, Load::default(), call).is_err() {
            let Some(evicted) = state.evict_below(call.priority) else { break };
            removed.push(evicted);
        }
        Ok(())
    }

    /// Whether there is room once as much as `evicted` has left.
    fn fits(&self, state: &State, evicted: Load, call: &Call) -> Result<(), Refused> {
        if state.entries.saturating_sub(evicted.calls) >= self.limits.entries {
            return Err(Refused::Entries);
        }
        let rows = state.rows.saturating_sub(evicted.rows);
        if rows > 0 && rows.saturating_add(call.rows) > self.limits.rows {
            return Err(Refused::Rows);
        }
        Ok(())
    }

    /// Whether the answer can be there in time behind what is not less urgent.
    fn in_time(&self, state: &State, call: &Call, now: Duration) -> Result<(), Refused> {
        // An empty queue takes every call: its time is what corrects an estimate that was too high. Calls that are
        // more urgent do not wait for what is there.
        if call.priority == Priority::High || state.lanes.is_empty() {
            return Ok(());
        }
        let backlog = state.lanes.values().map(|lane| lane.backlog_nanos(call.priority)).fold(0, u64::saturating_add);
        let rests =
            state.running.iter().map(|ends| ends.saturating_sub(now)).fold(Duration::ZERO, Duration::saturating_add);
        let busy = u64::try_from(rests.as_nanos()).unwrap_or(u64::MAX);
        let wait = Duration::from_nanos(backlog.saturating_add(busy) / self.workers);
        let own = Duration::from_nanos(call.pace.expected(1, call.rows));
        // The estimate is a mean: without a margin half of what is admitted at the edge comes too late.
        let ends = now.saturating_add(wait).saturating_add(own).saturating_add(own / 2);
        if ends > call.deadline {
            return Err(Refused::TooLate(wait));
        }
        Ok(())
    }

    /// Waits for work; none once the queue is closed and empty.
    pub(super) fn next(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.finishing.pop_front() {
                state.entries = state.entries.saturating_sub(1);
                return Some(Work::Job(job));
            }
            let now = self.clock.monotonic();
            match state.choose(now) {
                Next::Job => {
                    if let Some((_, job)) = state.jobs.pop_front() {
                        state.entries = state.entries.saturating_sub(1);
                        return Some(Work::Job(job));
                    }
                }
                Next::Lane(key) => {
                    if let Some(batch) = state.take_batch(&key, now) {
                        return Some(Work::Batch(batch));
                    }
                }
                Next::Wait(until) => {
                    let rest = until.saturating_sub(now);
                    state = self.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
                }
                Next::Nothing if state.closed => return None,
                Next::Nothing => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Notes that a batch, which was expected to end at `ends`, is predicted; those that waited for company because of it
    /// wait no longer. The version is told by its address, as it may be gone.
    pub(super) fn finished(&self, version: usize, policy: BatchPolicy, ends: Duration) {
        let mut state = self.lock();
        if let Some(place) = state.running.iter().position(|running| *running == ends) {
            state.running.swap_remove(place);
        }
        if policy.delay.is_zero() {
            return;
        }
        if let Some(count) = state.in_flight.get_mut(&version) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.in_flight.remove(&version);
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Takes everything out that waits, but for last steps: jobs, and calls that the caller of this method has to refuse.
    pub(super) fn drain(&self) -> (Vec<Job>, Vec<Removed>) {
        let mut state = self.lock();
        let jobs: Vec<Job> = std::mem::take(&mut state.jobs).into_iter().map(|(_, job)| job).collect();
        state.entries = state.entries.saturating_sub(jobs.len());
        let calls = state.remove(|_| false);
        (jobs, calls)
    }

    /// Takes nothing more; workers end when what waits is done.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

impl State {
    fn next_turn(&mut self) -> u64 {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    fn left(&mut self, call: &Call) {
        self.entries = self.entries.saturating_sub(1);
        self.rows = self.rows.saturating_sub(call.rows);
    }

    /// The most urgent ripe entry, among equals the one whose turn came first.
    fn choose(&self, now: Duration) -> Next {
        let mut best = self.jobs.front().map(|(turn, _)| (Priority::Normal, *turn));
        let (mut key, mut earliest) = (None, None);
        for (candidate, lane) in &self.lanes {
            let Some(first) = lane.calls.front() else { continue };
            let ripe_at = lane.ripe_at(self.in_flight.contains_key(&candidate.version()));
            if ripe_at > now && !self.closed {
                earliest = Some(earliest.map_or(ripe_at, |at: Duration| at.min(ripe_at)));
                continue;
            }
            let rank = (first.priority, lane.turn);
            if best.is_none_or(|best| rank < best) {
                (best, key) = (Some(rank), Some(candidate));
            }
        }
        match (key, best, earliest) {
            (Some(key), ..) => Next::Lane(key.clone()),
            (None, Some(_), _) => Next::Job,
            (None, None, Some(until)) => Next::Wait(until),
            (None, None, None) => Next::Nothing,
        }
    }

    /// As many calls of one lane as fit together; a call larger than the limit goes alone.
    fn take_batch(&mut self, key: &LaneKey, now: Duration) -> Option<Batch> {
        let turn = self.next_turn();
        let in_flight = self.in_flight.contains_key(&key.version());
        let lane = self.lanes.get_mut(key)?;
        let taken = lane.take(now);
        let ends = now.saturating_add(lane.expected(taken.calls.iter().map(|call| call.rows).sum()));
        let (version, policy, emptied) = (Arc::clone(&lane.version), lane.policy, lane.calls.is_empty());
        lane.turn = turn;
        for call in taken.calls.iter().chain(taken.dead.iter().map(|(call, _)| call)) {
            self.left(call);
        }
        if emptied {
            self.lanes.remove(key);
        }
        let other_shape = || self.lanes.keys().any(|other| other.version() == key.version() && other != key);
        let closed_by = match (taken.full, policy.delay.is_zero()) {
            (true, _) => Close::Full,
            (false, false) if in_flight => Close::Delay,
            _ if other_shape() => Close::Shape,
            _ => Close::Idle,
        };
        if !policy.delay.is_zero() {
            *self.in_flight.entry(key.version()).or_insert(0) += 1;
        }
        self.running.push(ends);
        Some(Batch { version, policy, calls: taken.calls, dead: taken.dead, closed_by, ends })
    }

    /// Calls whose callers have gone or will have.
    fn remove_dead(&mut self, now: Duration) -> Vec<Removed> {
        self.remove(|call| call.outlook(now) == Outlook::Live)
    }

    /// Calls that may not stay.
    fn remove(&mut self, stays: impl Fn(&Call) -> bool) -> Vec<Removed> {
        let mut gone = Vec::new();
        for lane in self.lanes.values_mut() {
            let version = Arc::clone(&lane.version);
            let calls = lane.take_dead(&stays);
            gone.extend(calls.into_iter().map(|call| Removed { version: Arc::clone(&version), call }));
        }
        self.lanes.retain(|_, lane| !lane.calls.is_empty());
        for removed in &gone {
            self.left(&removed.call);
        }
        gone
    }

    /// The last of the least urgent calls, if it is less urgent than `priority`.
    fn evict_below(&mut self, priority: Priority) -> Option<Removed> {
        let last = |lane: &Lane| lane.calls.back().map(|call| (call.priority, call.queued_at));
        let (key, lane) = self.lanes.iter_mut().max_by_key(|(_, lane)| last(lane))?;
        if last(lane)?.0 <= priority {
            return None;
        }
        let (key, version, call) = (key.clone(), Arc::clone(&lane.version), lane.pop_last()?);
        if lane.calls.is_empty() {
            self.lanes.remove(&key);
        }
        self.left(&call);
        Some(Removed { version, call })
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
