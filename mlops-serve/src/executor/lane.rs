//! Calls that may share a prediction, in the order in which they are served: by priority, then by arrival.
//!
//! Invariant: every call of a lane has the same version, types and dimensions behind the rows.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    batch::{Call, Outlook, Payload},
    pace::Pace,
    priority::Priority,
};
use crate::{repository::LoadedVersion, tensor::TensorType};

/// Which calls may share a prediction: same loaded version, same types and dimensions behind the rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    version: usize,
    tensors: Vec<(String, TensorType, Vec<usize>)>,
}

impl LaneKey {
    /// The key of a call; the address names the version, which the lane keeps alive.
    pub(super) fn new(version: &Arc<LoadedVersion>, payload: &Payload) -> Self {
        let tensors = match payload {
            Payload::Rows(_) => Vec::new(),
            Payload::Tensors(tensors) => tensors
                .iter()
                .map(|tensor| {
                    let dims = tensor.shape().iter().skip(1).copied().collect();
                    (tensor.name().to_owned(), tensor.data_type(), dims)
                })
                .collect(),
        };
        Self { version: address(version), tensors }
    }

    /// The address of the version.
    pub(super) fn version(&self) -> usize {
        self.version
    }
}

/// What tells loaded versions apart while they are alive.
pub(super) fn address(version: &Arc<LoadedVersion>) -> usize {
    Arc::as_ptr(version).addr()
}

/// How calls of one version are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchPolicy {
    /// Most rows that share a prediction; a larger call goes alone. 1 and less: every call goes alone.
    pub(crate) rows_max: usize,
    /// How long a call may wait for company, and only while another batch of the version is being predicted.
    pub(crate) delay: Duration,
}

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) calls: usize,
    pub(super) rows: usize,
}

impl Load {
    /// Both together.
    pub(super) fn and(self, other: Self) -> Self {
        Self { calls: self.calls.saturating_add(other.calls), rows: self.rows.saturating_add(other.rows) }
    }
}

/// Calls that wait.
pub(super) struct Lane {
    pub(super) version: Arc<LoadedVersion>,
    pub(super) policy: BatchPolicy,
    pub(super) calls: VecDeque<Call>,
    /// Whose turn it is among lanes of the same priority: the lowest first.
    pub(super) turn: u64,
    /// By priority.
    loads: [Load; Priority::ALL.len()],
    pace: Pace,
}

impl Lane {
    pub(super) fn new(version: Arc<LoadedVersion>, policy: BatchPolicy, turn: u64) -> Self {
        Self { version, policy, calls: VecDeque::new(), turn, loads: Default::default(), pace: Pace::default() }
    }

    fn entered(&mut self, call: &Call) {
        if let Some(load) = self.loads.get_mut(call.priority as usize) {
            *load = load.and(Load { calls: 1, rows: call.rows });
        }
    }

    fn left(&mut self, call: &Call) {
        if let Some(load) = self.loads.get_mut(call.priority as usize) {
            load.calls = load.calls.saturating_sub(1);
            load.rows = load.rows.saturating_sub(call.rows);
        }
    }

    /// What is of these priorities.
    fn load(&self, counts: impl Fn(Priority) -> bool) -> Load {
        let counted = Priority::ALL.into_iter().zip(self.loads).filter(|(priority, _)| counts(*priority));
        counted.fold(Load::default(), |sum, (_, load)| sum.and(load))
    }

    fn rows(&self) -> usize {
        self.load(|_| true).rows
    }

    /// What is less urgent than `priority`.
    pub(super) fn below(&self, priority: Priority) -> Load {
        self.load(|other| other > priority)
    }

    /// Adds a call behind those of its priority.
    pub(super) fn push(&mut self, call: Call) {
        self.entered(&call);
        self.pace = call.pace;
        let place = self.calls.partition_point(|other| other.priority <= call.priority);
        self.calls.insert(place, call);
    }

    /// When it may be taken: at once, or when company has been waited for long enough.
    pub(super) fn ripe_at(&self, in_flight: bool) -> Duration {
        if self.policy.delay.is_zero() || !in_flight || self.rows() >= self.policy.rows_max {
            return Duration::ZERO;
        }
        let oldest = self.calls.iter().map(|call| call.queued_at).min().unwrap_or_default();
        oldest.saturating_add(self.policy.delay)
    }

    /// What its calls that are not less urgent than `priority` will take one worker, nanoseconds.
    pub(super) fn backlog_nanos(&self, priority: Priority) -> u64 {
        let Load { calls, rows } = self.load(|other| other <= priority);
        let predictions = if self.policy.rows_max <= 1 { calls } else { rows.div_ceil(self.policy.rows_max) };
        self.pace.expected(predictions, rows)
    }

    /// Takes the last of the least urgent calls out.
    pub(super) fn pop_last(&mut self) -> Option<Call> {
        let call = self.calls.pop_back()?;
        self.left(&call);
        Some(call)
    }

    /// Takes every call out that is not live.
    pub(super) fn take_dead(&mut self, mut is_live: impl FnMut(&Call) -> bool) -> Vec<Call> {
        if self.calls.iter().all(&mut is_live) {
            return Vec::new();
        }
        let (live, dead) = std::mem::take(&mut self.calls).into_iter().partition::<Vec<_>, _>(is_live);
        dead.iter().for_each(|call| self.left(call));
        self.calls = live.into();
        dead
    }

    /// What one prediction of so many rows is expected to take.
    pub(super) fn expected(&self, rows: usize) -> Duration {
        Duration::from_nanos(self.pace.expected(1, rows))
    }

    /// What becomes of the first call if a worker takes it now. Only while another waits is it given up for what it is
    /// expected to take: what runs is what corrects an estimate that was too high.
    fn outlook(&self, call: &Call, now: Duration) -> Outlook {
        match call.outlook(now) {
            Outlook::Live if self.calls.len() > 1 && now.saturating_add(self.expected(call.rows)) > call.deadline => {
                Outlook::TooLate
            }
            outlook => outlook,
        }
    }

    /// As many calls as fit together, in order, and whether the next did not fit.
    pub(super) fn take(&mut self, now: Duration) -> Taken {
        let mut taken = Taken { calls: Vec::new(), dead: Vec::new(), full: false };
        let mut rows = 0_usize;
        while let Some(next) = self.calls.front() {
            let outlook = self.outlook(next, now);
            let live = outlook == Outlook::Live;
            let full = self.policy.rows_max <= 1 || rows.saturating_add(next.rows) > self.policy.rows_max;
            if live && full && !taken.calls.is_empty() {
                taken.full = true;
                break;
            }
            let Some(call) = self.calls.pop_front() else { break };
            self.left(&call);
            if live {
                rows = rows.saturating_add(call.rows);
                taken.calls.push(call);
            } else {
                taken.dead.push((call, outlook));
            }
        }
        taken.full |= self.policy.rows_max > 1 && rows >= self.policy.rows_max;
        taken
    }
}

/// What was taken of a lane.
pub(super) struct Taken {
    pub(super) calls: Vec<Call>,
    /// Calls that nobody waits for any more, or not for long enough.
    pub(super) dead: Vec<(Call, Outlook)>,
    pub(super) full: bool,
}
