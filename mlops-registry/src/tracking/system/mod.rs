//! What the machine does while a run trains, logged under the names that MLflow uses.
//!
//! Invariant: what cannot be read here is said once and left out; training never fails because of it. Figures are read
//! from the files below `/proc`, so only Linux has them; the disk is asked wherever there is `statvfs`.

#[cfg(feature = "nvml")]
mod gpu;
mod read;
mod sampler;

use std::{path::PathBuf, sync::Arc, time::Duration};

use mlops_core::{Clock, Error, Result, RunLogger};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::oneshot,
    task::{JoinError, JoinHandle, spawn_blocking},
    time::MissedTickBehavior,
};

use self::sampler::Sampler;

/// Shortest time between two samples.
pub const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// What is watched, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SystemSettings {
    /// Time between two samples in milliseconds, at least [`INTERVAL_MIN`]. Default: 10 s.
    pub interval_ms: u64,
    /// A path on the disk that is watched. Default: `/`.
    pub disk: PathBuf,
    /// Where the kernel shows its counters. Default: `/proc`.
    pub proc: PathBuf,
}

impl Default for SystemSettings {
    fn default() -> Self {
        Self { interval_ms: 10_000, disk: "/".into(), proc: "/proc".into() }
    }
}

/// What was logged until now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemReport {
    /// Samples that the run has; the next one has this number as its step.
    pub samples: u64,
    /// Samples that could not be logged.
    pub lost: u64,
}

/// A task that logs the machine's figures into a run until it is stopped or dropped.
///
/// Logged are `system/cpu_utilization_percentage`, `system/system_memory_usage_megabytes` and `..._percentage`,
/// `system/disk_usage_megabytes`, `..._percentage` and `system/disk_available_megabytes`, and
/// `system/network_receive_megabytes` and `system/network_transmit_megabytes` since the task began. With feature `nvml`
/// also `system/gpu_N_utilization_percentage`, `..._memory_usage_megabytes`, `..._memory_usage_percentage`,
/// `..._power_usage_watts` and `..._power_usage_percentage` of NVIDIA's processors. A megabyte is 1,000,000 bytes. The step
/// is the number of the sample.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::SystemClock;
/// use mlops_registry::{ArtifactStore, SqlTrackingStore, Tracker, tracking::system::{SystemMetrics, SystemSettings}};
/// use mlops_store::SqliteMetaStore;
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let store = SqlTrackingStore::builder(Arc::new(SqliteMetaStore::in_memory().await?)).build().await?;
/// let run = Tracker::new(Arc::new(store), ArtifactStore::in_memory()).start("fraud", "first").await?;
/// let watch =
///     SystemMetrics::start(Arc::new(run), SystemSettings::default(), Arc::new(SystemClock::new()))?;
/// // Train.
/// let report = watch.stop().await?;
/// assert_eq!(report.lost, 0);
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct SystemMetrics {
    stop: oneshot::Sender<()>,
    task: Guard,
}

/// Ends the task with its owner.
#[derive(Debug)]
struct Guard(JoinHandle<Result<SystemReport>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SystemMetrics {
    /// Begins to log into `run`; the first sample is taken at once. Must be called within a runtime.
    ///
    /// # Errors
    /// `InvalidArgument` when the interval is too short.
    pub fn start(run: Arc<dyn RunLogger>, settings: SystemSettings, clock: Arc<dyn Clock>) -> Result<Self> {
        let interval = Duration::from_millis(settings.interval_ms);
        if interval < INTERVAL_MIN {
            return Err(Error::invalid_argument(format!(
                "interval_ms of system metrics is {}; choose at least {}",
                settings.interval_ms,
                INTERVAL_MIN.as_millis()
            )));
        }
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(watch(run, settings, clock, interval, stopped));
        Ok(Self { stop, task: Guard(task) })
    }

    /// Ends the task after the sample at hand.
    ///
    /// # Errors
    /// `Internal` when the task has died.
    pub async fn stop(mut self) -> Result<SystemReport> {
        // A task that is gone has dropped its end; joining tells why.
        drop(self.stop);
        (&mut self.task.0).await.map_err(died)?
    }
}

fn died(error: JoinError) -> Error {
    Error::internal("system metrics died").with_source(error)
}

async fn watch(
    run: Arc<dyn RunLogger>,
    settings: SystemSettings,
    clock: Arc<dyn Clock>,
    interval: Duration,
    mut stopped: oneshot::Receiver<()>,
) -> Result<SystemReport> {
    // Neither a library nor a disk that does not answer may hold up the runtime.
    let mut sampler = spawn_blocking(|| Sampler::new(settings)).await.map_err(died)?;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut report = SystemReport::default();
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => return Ok(report),
            _ = ticks.tick() => {}
        }
        let (at, step) = (clock.now(), report.samples);
        let sampled = spawn_blocking(move || (sampler.sample(at, step), sampler)).await;
        let sample;
        (sample, sampler) = sampled.map_err(died)?;
        match run.log_metrics(&sample).await {
            Ok(()) if sample.is_empty() => {}
            Ok(()) => report.samples += 1,
            Err(error) => {
                if report.lost == 0 {
                    tracing::warn!(run = %run.run_id(), %error, "system metrics are not logged");
                }
                report.lost += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    use async_trait::async_trait;
    use bytes::Bytes;
    use mlops_core::{ErrorKind, Metric, RunId, RunStatus, SystemClock};
    use tokio::sync::mpsc;

    use super::*;

    /// Tells what it is given, but for the first calls, which fail.
    #[derive(Debug)]
    struct Heard {
        id: RunId,
        samples: mpsc::UnboundedSender<Vec<Metric>>,
        refused: AtomicU64,
    }

    #[async_trait]
    impl RunLogger for Heard {
        fn run_id(&self) -> &RunId {
            &self.id
        }
        async fn log_params(&self, _: &[(String, String)]) -> Result<()> {
            Ok(())
        }
        async fn log_metrics(&self, metrics: &[Metric]) -> Result<()> {
            if self.refused.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                return Err(Error::unavailable("not yet"));
            }
            self.samples.send(metrics.to_vec()).map_err(|_| Error::unavailable("nobody listens"))
        }
        async fn set_tags(&self, _: &[(String, String)]) -> Result<()> {
            Ok(())
        }
        async fn log_artifact(&self, _: &str, _: Bytes) -> Result<()> {
            Ok(())
        }
        async fn finish(&self, _: RunStatus) -> Result<()> {
            Ok(())
        }
    }

    fn start(interval_ms: u64, refused: u64) -> (Result<SystemMetrics>, mpsc::UnboundedReceiver<Vec<Metric>>) {
        let (samples, receiver) = mpsc::unbounded_channel();
        let run = Heard { id: RunId::new("r").unwrap(), samples, refused: AtomicU64::new(refused) };
        let settings = SystemSettings { interval_ms, ..SystemSettings::default() };
        (SystemMetrics::start(Arc::new(run), settings, Arc::new(SystemClock::new())), receiver)
    }

    #[tokio::test]
    async fn samples_have_steps_until_the_owner_stops() {
        let (watch, mut samples) = start(10, 0);
        for step in 0..3 {
            let sample = samples.recv().await.unwrap();
            assert!(!sample.is_empty(), "there is a disk everywhere");
            assert!(sample.iter().all(|metric| metric.step == step && metric.key.starts_with("system/")));
        }
        let report = watch.unwrap().stop().await.unwrap();
        let mut heard = 3;
        while samples.recv().await.is_some() {
            heard += 1;
        }
        assert_eq!(report, SystemReport { samples: heard, lost: 0 });
    }

    #[tokio::test]
    async fn a_dropped_owner_ends_the_task_and_a_lost_sample_does_not() {
        let (watch, mut samples) = start(10, 0);
        samples.recv().await.unwrap();
        drop(watch);
        while samples.recv().await.is_some() {}
        let (watch, mut samples) = start(10, 2);
        let first = samples.recv().await.expect("the task lives on");
        assert!(first.iter().all(|metric| metric.step == 0), "lost samples leave no gap");
        assert_eq!(watch.unwrap().stop().await.unwrap().lost, 2);
        assert_eq!(start(1, 0).0.unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
}
