//! What a version did since it was loaded: counts, times, batch sizes.
//!
//! Counters only grow, are read without stopping anyone, and are exact one by one but not as a set.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mlops_core::Timestamp;

use crate::executor::Close;

/// A count with the time it took.
#[derive(Debug, Default)]
pub(crate) struct Duty {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Duty {
    /// How often, and nanoseconds in all.
    pub(crate) fn read(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn add(&self, took: Duration) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Batches larger than this are counted under the next power of two, so that the histogram stays small.
const EXACT_BATCH_ROWS: u64 = 64;

/// What a version did since it was loaded.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) success: Duty,
    pub(crate) fail: Duty,
    pub(crate) queue: Duty,
    pub(crate) compute_input: Duty,
    pub(crate) compute_infer: Duty,
    pub(crate) compute_output: Duty,
    pub(crate) rows: AtomicU64,
    pub(crate) last_ms: AtomicU64,
    /// Slow-decaying maximum of the time of small calls, nanoseconds; the maximum value when unknown.
    small_call_nanos: AtomicU64,
    /// Predictions by rows and the reason why the batch was closed.
    batches: Mutex<BTreeMap<(u64, Close), BatchDuty>>,
}

/// Predictions of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct BatchDuty {
    pub(crate) count: u64,
    pub(crate) nanos: u64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            success: Duty::default(),
            fail: Duty::default(),
            queue: Duty::default(),
            compute_input: Duty::default(),
            compute_infer: Duty::default(),
            compute_output: Duty::default(),
            rows: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
            small_call_nanos: AtomicU64::new(u64::MAX),
            batches: Mutex::default(),
        }
    }
}

impl Counters {
    /// Notes an answered request.
    pub(crate) fn answered(&self, rows: usize, took: Duration, at: Timestamp) {
        self.success.add(took);
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.last_ms.store(u64::try_from(at.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }

    /// Notes a prediction of `rows` rows, whoever shared it.
    pub(crate) fn executed(&self, rows: usize, took: Duration, closed_by: Close) {
        let rows = rows as u64;
        let size = if rows <= EXACT_BATCH_ROWS { rows } else { rows.checked_next_power_of_two().unwrap_or(u64::MAX) };
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let duty = batches.entry((size, closed_by)).or_default();
        duty.count += 1;
        duty.nanos = duty.nanos.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Predictions by rows (above 64: the next power of two) and the reason why the batch was closed.
    pub(crate) fn batches(&self) -> BTreeMap<(u64, Close), BatchDuty> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how long a small call took. The estimate follows a slower call at once and forgets it by 1/16
    /// per call.
    pub(crate) fn small_call(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let old = self.small_call_nanos.load(Ordering::Relaxed);
        let new = if old == u64::MAX { took } else { took.max(old - old / 16) };
        self.small_call_nanos.store(new, Ordering::Relaxed);
    }

    /// Whether every recent small call stayed below `limit`.
    pub(crate) fn is_cheap(&self, limit: Duration) -> bool {
        u128::from(self.small_call_nanos.load(Ordering::Relaxed)) < limit.as_nanos()
    }
}
