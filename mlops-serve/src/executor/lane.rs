//! Calls that may share a prediction, in the order in which they are served: by priority, then by arrival.
//!
//! Invariant: every call of a lane has the same version, types and dimensions behind the rows.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{
    batch::{Call, Payload},
    pace::Pace,
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

/// Calls that wait.
pub(super) struct Lane {
    pub(super) version: Arc<LoadedVersion>,
    pub(super) policy: BatchPolicy,
    pub(super) calls: VecDeque<Call>,
    /// Whose turn it is among lanes of the same priority: the lowest first.
    pub(super) turn: u64,
    rows: usize,
    pace: Pace,
}

impl Lane {
    pub(super) fn new(version: Arc<LoadedVersion>, policy: BatchPolicy, turn: u64) -> Self {
        Self { version, policy, calls: VecDeque::new(), turn, rows: 0, pace: Pace::default() }
    }

    /// Adds a call behind those of its priority.
    pub(super) fn push(&mut self, call: Call) {
        self.rows = self.rows.saturating_add(call.rows);
        self.pace = call.pace;
        let place = self.calls.partition_point(|other| other.priority <= call.priority);
        self.calls.insert(place, call);
    }

    /// When it may be taken: at once, or when company has been waited for long enough.
    pub(super) fn ripe_at(&self, in_flight: bool) -> Duration {
        if self.policy.delay.is_zero() || !in_flight || self.rows >= self.policy.rows_max {
            return Duration::ZERO;
        }
        let oldest = self.calls.iter().map(|call| call.queued_at).min().unwrap_or_default();
        oldest.saturating_add(self.policy.delay)
    }

    /// What its calls will take one worker, nanoseconds.
    pub(super) fn backlog_nanos(&self) -> u64 {
        let predictions =
            if self.policy.rows_max <= 1 { self.calls.len() } else { self.rows.div_ceil(self.policy.rows_max) };
        self.pace.expected(predictions, self.rows)
    }

    /// Takes the last of the least urgent calls out.
    pub(super) fn pop_last(&mut self) -> Option<Call> {
        let call = self.calls.pop_back()?;
        self.rows = self.rows.saturating_sub(call.rows);
        Some(call)
    }

    /// Takes every call out that is not live.
    pub(super) fn take_dead(&mut self, mut is_live: impl FnMut(&Call) -> bool) -> Vec<Call> {
        if self.calls.iter().all(&mut is_live) {
            return Vec::new();
        }
        let (live, dead) = std::mem::take(&mut self.calls).into_iter().partition::<Vec<_>, _>(is_live);
        self.rows = live.iter().map(|call| call.rows).fold(0, usize::saturating_add);
        self.calls = live.into();
        dead
    }

    /// As many calls as fit together, in order, and whether the next did not fit.
    pub(super) fn take(&mut self, mut is_live: impl FnMut(&Call) -> bool) -> Taken {
        let mut taken = Taken { calls: Vec::new(), dead: Vec::new(), full: false };
        let mut rows = 0_usize;
        while let Some(next) = self.calls.front() {
            let live = is_live(next);
            let full = self.policy.rows_max <= 1 || rows.saturating_add(next.rows) > self.policy.rows_max;
            if live && full && !taken.calls.is_empty() {
                taken.full = true;
                break;
            }
            let Some(call) = self.calls.pop_front() else { break };
            self.rows = self.rows.saturating_sub(call.rows);
            if live {
                rows = rows.saturating_add(call.rows);
                taken.calls.push(call);
            } else {
                taken.dead.push(call);
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
    pub(super) dead: Vec<Call>,
    pub(super) full: bool,
}
