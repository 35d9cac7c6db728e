//! The running whole: observations in, notifications delivered, nothing lost in between.
//!
//! Invariant: what [`AlertCenter::observe`] acknowledged survives `kill -9`, and every notification
//! that follows from it reaches each sink at least once or becomes a dead letter. One task lets
//! time pass, one more delivers for each sink, so that a slow receiver keeps no other waiting; all
//! belong to the center and stop with it. The files are specified in `journal` and `dead_letters`.

mod dead_letters;
mod delivery;
mod journal;
mod ledger;
mod settings;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use mlops_core::{Clock, Error, EventBus, Meter, NoMeter, Result, SystemClock};
use tokio::{
    sync::Notify,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

pub use dead_letters::DeadLetter;
pub use settings::{CenterSettings, RetrySettings};

use self::{delivery::Worker, ledger::Ledger};
use super::{
    matcher::Matcher,
    notification::Alert,
    observation::Observation,
    router::{AlertRouter, Observed},
    router_settings::RouterSettings,
    silence::Silence,
    sink::AlertSink,
};
use crate::stats::{count_of, float};

/// Puts an [`AlertCenter`] together.
#[derive(Debug)]
pub struct AlertCenterBuilder {
    directory: PathBuf,
    routing: RouterSettings,
    settings: CenterSettings,
    sinks: Vec<Arc<dyn AlertSink>>,
    bus: Option<Arc<dyn EventBus>>,
    clock: Arc<dyn Clock>,
    meter: Arc<dyn Meter>,
    seed: u64,
}

impl AlertCenterBuilder {
    /// Replaces the default routing.
    #[must_use]
    pub fn with_routing(mut self, routing: RouterSettings) -> Self {
        self.routing = routing;
        self
    }

    /// Replaces the default settings.
    #[must_use]
    pub fn with_settings(mut self, settings: CenterSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds a sink; each gets every notification.
    #[must_use]
    pub fn with_sink(mut self, sink: impl AlertSink) -> Self {
        self.sinks.push(Arc::new(sink));
        self
    }

    /// Publishes an [`mlops_core::Fact::AlertRaised`] for every alert that begins to fire.
    #[must_use]
    pub fn with_bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Replaces the clock of the operating system.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Counts deliveries: `mlops_alert_notifications_total{sink,outcome}` with the outcomes
    /// `delivered`, `failed` (to be repeated) and `dead`, and the gauge `mlops_alert_pending`.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// Seed of the chance in waits between attempts; give each process its own.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Opens the directory, replays what is there, and starts to deliver. Must be called within a
    /// tokio runtime with time enabled.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting out of range, without a sink, or when two sinks have
    /// one name; `FailedPrecondition` when another process uses the directory or a later version
    /// wrote it; `DataLoss` when its journal is damaged; `Unavailable` when it cannot be read or
    /// written.
    pub async fn start(self) -> Result<AlertCenter> {
        self.settings.validate()?;
        let router = AlertRouter::new(self.routing)?;
        let names = sink_names(&self.sinks)?;
        let (directory, settings, now) = (self.directory, self.settings.clone(), self.clock.now());
        let ledger = blocking(move || Ledger::open(&directory, router, &settings, names, now)).await?;
        let wakes = self.sinks.iter().map(|_| Notify::new()).collect();
        let shared = Arc::new(Shared {
            ledger: Mutex::new(ledger),
            settings: self.settings,
            sinks: self.sinks,
            bus: self.bus,
            clock: self.clock,
            meter: self.meter,
            seed: self.seed,
            stop: AtomicBool::new(false),
            ticker: Notify::new(),
            wakes,
            idle: Notify::new(),
        });
        let mut tasks = vec![tokio::spawn(Arc::clone(&shared).keep_ticking())];
        tasks.extend(Worker::all(&shared).map(|worker| tokio::spawn(worker.run())));
        Ok(AlertCenter { shared, tasks })
    }
}

fn sink_names(sinks: &[Arc<dyn AlertSink>]) -> Result<Vec<String>> {
    let names: BTreeSet<&str> = sinks.iter().map(|sink| sink.name()).collect();
    if sinks.is_empty() || names.len() < sinks.len() {
        let found: Vec<&str> = sinks.iter().map(|sink| sink.name()).collect();
        return Err(Error::invalid_argument(format!(
            "an alert center needs at least one sink, and a name of its own for each; found {found:?}"
        )));
    }
    Ok(sinks.iter().map(|sink| sink.name().to_owned()).collect())
}

/// Runs file work where it does not hold the runtime up.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Error::internal("file work of the alert center was cut short").with_source(error)),
    }
}

#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    settings: CenterSettings,
    sinks: Vec<Arc<dyn AlertSink>>,
    bus: Option<Arc<dyn EventBus>>,
    clock: Arc<dyn Clock>,
    meter: Arc<dyn Meter>,
    seed: u64,
    stop: AtomicBool,
    ticker: Notify,
    /// One for each sink: something is pending, or it is time to stop.
    wakes: Vec<Notify>,
    /// Nothing is pending any more.
    idle: Notify,
}

impl Shared {
    /// Works on the ledger, away from the runtime, and publishes what came of it.
    async fn with_ledger<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Ledger) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(self);
        let (outcome, events) = blocking(move || {
            let mut ledger = shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let before = ledger.pending();
            let outcome = work(&mut ledger);
            shared.tell_pending(before, ledger.pending());
            Ok((outcome, ledger.take_events()))
        })
        .await?;
        // Events are notices of what is durable; one that cannot be published undoes nothing.
        if outcome.is_ok()
            && let Some(bus) = &self.bus
        {
            for event in events {
                if let Err(error) = bus.publish(event).await {
                    tracing::warn!(error = %error.chain(), "an alert event could not be published");
                }
            }
        }
        outcome
    }

    fn tell_pending(&self, before: usize, after: usize) {
        if after > before {
            self.wakes.iter().for_each(Notify::notify_one);
        }
        if after == 0 {
            self.idle.notify_waiters();
        }
        if after != before {
            self.meter.gauge("mlops_alert_pending", &[], float(count_of(after)));
        }
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    async fn tick(self: &Arc<Self>) -> Result<usize> {
        let now = self.clock.now();
        self.with_ledger(move |ledger| ledger.tick(now)).await
    }

    async fn keep_ticking(self: Arc<Self>) {
        while !self.stopping() {
            if let Err(error) = self.tick().await {
                tracing::error!(error = %error.chain(), "the alert center could not look at its alerts");
            }
            // Either the time is over or somebody asked to stop; both lead on.
            drop(timeout(Duration::from_millis(self.settings.tick_ms), self.ticker.notified()).await);
        }
    }
}

/// How a center is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CenterHealth {
    /// Notifications that some sink still has to take.
    pub pending: usize,
    /// Size of the journal in bytes.
    pub journal_bytes: u64,
    /// Whether the journal can be written. When not, nothing more is acknowledged or told: mend the
    /// disk, and start the center anew.
    pub writable: bool,
    /// Whether all its tasks run. When not, a defect ended one: shut it down and start it anew.
    pub running: bool,
}

/// Turns observations into notifications and delivers them.
///
/// Dropping it stops its tasks at once; what is pending is delivered after the next start.
/// [`AlertCenter::shutdown`] delivers first.
///
/// ```
/// use std::time::Duration;
///
/// use mlops_core::Timestamp;
/// use mlops_monitor::alert::{AlertCenter, AlertRule, Labels, Observation, RouterSettings, TracingSink};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// # let home = tempfile::tempdir()?;
/// let routing = RouterSettings { default_rule: AlertRule::immediate(), ..RouterSettings::default() };
/// let center = AlertCenter::builder(home.path())
///     .with_routing(routing.without_delay())
///     .with_sink(TracingSink)
///     .start()
///     .await?;
/// let labels = Labels::new([("alertname", "Drift"), ("model", "fraud")])?;
/// let outcomes = center.observe(vec![Observation::new(labels, Timestamp::from_millis(0), 0.3, 0.1)]).await?;
/// assert!(outcomes[0].as_ref().is_ok_and(|observed| observed.step.fired));
/// center.shutdown(Duration::from_secs(10)).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AlertCenter {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl AlertCenter {
    /// Keeps its state in `directory`, which belongs to this center alone.
    #[must_use]
    pub fn builder(directory: impl AsRef<Path>) -> AlertCenterBuilder {
        AlertCenterBuilder {
            directory: directory.as_ref().to_owned(),
            routing: RouterSettings::default(),
            settings: CenterSettings::default(),
            sinks: Vec::new(),
            bus: None,
            clock: Arc::new(SystemClock::new()),
            meter: Arc::new(NoMeter),
            seed: 0,
        }
    }

    /// Takes observations, in order; each has its own outcome, see [`AlertRouter::observe`]. Those
    /// that were taken are durable when this returns. Safe to cancel: they may be taken all the
    /// same, and reporting a window twice does nothing.
    ///
    /// # Errors
    /// `Unavailable`, `ResourceExhausted` or `FailedPrecondition` when the journal cannot be
    /// written; then none is acknowledged.
    pub async fn observe(&self, observations: Vec<Observation>) -> Result<Vec<Result<Observed>>> {
        let now = self.shared.clock.now();
        self.shared.with_ledger(move |ledger| ledger.observe(&observations, now)).await
    }

    /// Adds a silence, durably; gives its id.
    ///
    /// # Errors
    /// As [`AlertRouter::silence`], and those of the journal.
    pub async fn silence(&self, silence: Silence) -> Result<String> {
        self.shared.with_ledger(move |ledger| ledger.silence(silence)).await
    }

    /// Ends a silence, durably.
    ///
    /// # Errors
    /// As [`AlertRouter::expire_silence`], and those of the journal.
    pub async fn expire_silence(&self, id: impl Into<String>) -> Result<()> {
        let (id, now) = (id.into(), self.shared.clock.now());
        self.shared.with_ledger(move |ledger| ledger.expire_silence(&id, now)).await
    }

    /// Ends and forgets every alert that all matchers match, durably; gives how many.
    ///
    /// # Errors
    /// As [`AlertRouter::retire`], and those of the journal.
    pub async fn retire(&self, matchers: Vec<Matcher>) -> Result<usize> {
        let now = self.shared.clock.now();
        self.shared.with_ledger(move |ledger| ledger.retire(matchers, now)).await
    }

    /// The alerts that fire, in order of groups.
    ///
    /// # Errors
    /// `Internal` when the runtime is shutting down.
    pub async fn firing(&self) -> Result<Vec<Alert>> {
        self.shared.with_ledger(|ledger| Ok(ledger.router().firing().cloned().collect())).await
    }

    /// Looks at the router now instead of at the next tick; gives how many notifications came of it.
    ///
    /// # Errors
    /// Those of the journal.
    pub async fn tick(&self) -> Result<usize> {
        self.shared.tick().await
    }

    /// What could not be delivered, oldest first.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be read.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        self.shared.with_ledger(|ledger| ledger.dead_letters()).await
    }

    /// Tries to deliver all dead letters again; gives how many there were.
    ///
    /// # Errors
    /// `Unavailable` when the file cannot be read or removed, and those of the journal.
    pub async fn resend_dead_letters(&self) -> Result<usize> {
        self.shared.with_ledger(|ledger| ledger.revive()).await
    }

    /// Waits until nothing is pending: each notification so far was delivered or is a dead letter.
    ///
    /// # Errors
    /// `DeadlineExceeded` when that takes longer than `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Result<()> {
        let drained = async {
            loop {
                let idle = self.shared.idle.notified();
                if self.shared.with_ledger(|ledger| Ok(ledger.pending())).await? == 0 {
                    return Ok(());
                }
                idle.await;
            }
        };
        timeout(deadline, drained).await.unwrap_or_else(|_| {
            Err(Error::deadline_exceeded(format!("notifications are still pending after {deadline:?}; they are kept")))
        })
    }

    /// How it is doing.
    ///
    /// # Errors
    /// `Internal` when the runtime is shutting down.
    pub async fn health(&self) -> Result<CenterHealth> {
        let running = !self.tasks.iter().any(JoinHandle::is_finished);
        self.shared
            .with_ledger(move |ledger| {
                let (pending, journal_bytes, writable) =
                    (ledger.pending(), ledger.journal_bytes(), ledger.is_writable());
                Ok(CenterHealth { pending, journal_bytes, writable, running })
            })
            .await
    }

    /// Delivers what is due and pending, for at most `deadline`, and stops.
    ///
    /// # Errors
    /// `DeadlineExceeded` when something is still pending: it is delivered after the next start.
    /// `Internal` when one of its tasks had died.
    pub async fn shutdown(mut self, deadline: Duration) -> Result<()> {
        let drained = match self.tick().await {
            Ok(_) => self.drain(deadline).await,
            Err(error) => Err(error),
        };
        self.stop();
        for task in &mut self.tasks {
            // Aborted tasks end with an error of their own kind; only a panic is news.
            if let Ok(Err(error)) = timeout(deadline, task).await
                && error.is_panic()
            {
                return Err(Error::internal("a task of the alert center had died").with_source(error));
            }
        }
        drained
    }

    fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.ticker.notify_one();
        self.shared.wakes.iter().for_each(Notify::notify_one);
    }
}

impl Drop for AlertCenter {
    fn drop(&mut self) {
        self.stop();
        self.tasks.iter().for_each(JoinHandle::abort);
        // File work on its way ends first; then the directory is free for the next center.
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner).close();
    }
}

#[cfg(test)]
mod tests;
