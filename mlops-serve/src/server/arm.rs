//! A rollout in progress: the plan with the counts of its current step.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::rollout::{ArmStats, Rollout, RolloutStats, Variant};

#[derive(Debug, Default)]
struct ArmCounters {
    requests: AtomicU64,
    errors: AtomicU64,
    slow: AtomicU64,
    latency_us_sum: AtomicU64,
}

impl ArmCounters {
    fn add(&self, took: Duration, failed: bool, slow_above_us: u64) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(failed), Ordering::Relaxed);
        self.slow.fetch_add(u64::from(micros > slow_above_us), Ordering::Relaxed);
        self.latency_us_sum.fetch_add(micros, Ordering::Relaxed);
    }

    fn read(&self) -> ArmStats {
        ArmStats {
            requests: self.requests.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            slow: self.slow.load(Ordering::Relaxed),
            latency_us_sum: self.latency_us_sum.load(Ordering::Relaxed),
        }
    }
}

/// A rollout and what both arms did since its current step began.
#[derive(Debug)]
pub(crate) struct ActiveRollout {
    pub(crate) rollout: Rollout,
    champion: ArmCounters,
    canary: ArmCounters,
}

impl ActiveRollout {
    pub(crate) fn new(rollout: Rollout) -> Self {
        Self { rollout, champion: ArmCounters::default(), canary: ArmCounters::default() }
    }

    /// Counts a prediction of one arm; pinned requests belong to neither.
    pub(crate) fn count(&self, variant: Variant, took: Duration, failed: bool) {
        let arm = match variant {
            Variant::Champion => &self.champion,
            Variant::Canary => &self.canary,
            Variant::Pinned => return,
        };
        arm.add(took, failed, self.rollout.settings.slow_above_us);
    }

    pub(crate) fn stats(&self) -> RolloutStats {
        RolloutStats { champion: self.champion.read(), canary: self.canary.read() }
    }
}
