//! The sink that a server is given, and the owner of the thread behind it.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use async_trait::async_trait;
use mlops_core::{
    Clock, Delivery, Error, EventBus, Meter, ModelName, NoMeter, PredictionBatch, PredictionSink, Result, Timestamp,
    Version,
};
use tokio::sync::{mpsc, watch};

use super::{
    handler::ReportHandler,
    settings::LiveSettings,
    stats::{Counters, LiveStats},
    worker::{Message, Worker},
};
use crate::monitor::Monitor;

/// What the sink and its thread share.
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) meter: Arc<dyn Meter>,
    pub(super) handlers: Vec<Arc<dyn ReportHandler>>,
    pub(super) bus: Option<Arc<dyn EventBus>>,
    pub(super) counters: Counters,
    pub(super) queued_rows: AtomicU64,
    monitors: RwLock<HashMap<(ModelName, Version), Arc<Monitor>>>,
    first_error: Mutex<Option<Error>>,
}

impl Shared {
    pub(super) fn watched(&self, key: &(ModelName, Version)) -> Option<Arc<Monitor>> {
        self.monitors.read().unwrap_or_else(PoisonError::into_inner).get(key).map(Arc::clone)
    }

    pub(super) fn fail(&self, error: Error) {
        self.counters.count_failure();
        self.meter.count("mlops_monitor_live_failures_total", &[], 1);
        self.first_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Puts a [`LiveMonitor`] together.
#[derive(Debug)]
pub struct LiveMonitorBuilder {
    clock: Arc<dyn Clock>,
    settings: LiveSettings,
    monitors: HashMap<(ModelName, Version), Arc<Monitor>>,
    handlers: Vec<Arc<dyn ReportHandler>>,
    bus: Option<Arc<dyn EventBus>>,
    meter: Arc<dyn Meter>,
}

impl LiveMonitorBuilder {
    /// Replaces the default settings.
    #[must_use]
    pub fn with_settings(mut self, settings: LiveSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Watches a model version. More can be added while the monitor runs.
    #[must_use]
    pub fn with_monitor(mut self, model: ModelName, version: Version, monitor: Monitor) -> Self {
        self.monitors.insert((model, version), Arc::new(monitor));
        self
    }

    /// Hands each report to `handler` too.
    #[must_use]
    pub fn with_handler(mut self, handler: impl ReportHandler) -> Self {
        self.handlers.push(Arc::new(handler));
        self
    }

    /// Publishes `DriftDetected` for each window that drifted.
    #[must_use]
    pub fn with_bus(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// Counts into `meter`.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// Checks the settings and starts the thread. Handlers and the bus run on the Tokio runtime that this is called in.
    ///
    /// # Errors
    /// `InvalidArgument` naming every setting out of range; `FailedPrecondition` outside a Tokio runtime;
    /// `ResourceExhausted` when no thread can be started.
    pub fn start(self) -> Result<LiveMonitor> {
        self.settings.validate()?;
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::failed_precondition("a live monitor must be started within a Tokio runtime").with_source(error)
        })?;
        let shared = Arc::new(Shared {
            clock: self.clock,
            meter: self.meter,
            handlers: self.handlers,
            bus: self.bus,
            counters: Counters::default(),
            queued_rows: AtomicU64::new(0),
            monitors: RwLock::new(self.monitors),
            first_error: Mutex::new(None),
        });
        let (sender, queue) = mpsc::channel(self.settings.queue_batches_max);
        let (progress, processed) = watch::channel(0);
        let queue_rows_max = self.settings.queue_rows_max;
        let worker = Worker::new(Arc::clone(&shared), self.settings, runtime, progress);
        let thread = thread::Builder::new().name("mlops-live-monitor".to_owned());
        thread.spawn(move || worker.run(queue)).map_err(|error| {
            Error::resource_exhausted("the thread of a live monitor cannot be started").with_source(error)
        })?;
        Ok(LiveMonitor { shared, sender, processed, sent: AtomicU64::new(0), queue_rows_max })
    }
}

/// Watches what a server answers: give it to the server as its `PredictionSink`.
///
/// ```
/// # use std::sync::{Arc, Mutex};
/// use async_trait::async_trait;
/// use mlops_core::{
///     ModelName, PredictionBatch, PredictionSink, Result, SystemClock, Timestamp, Version,
///     arrow_array::{ArrayRef, Float64Array, RecordBatch},
/// };
/// use mlops_monitor::{
///     Headline, Monitor, ProfileSettings, ReferenceProfile,
///     live::{LiveMonitor, LiveSettings, ReportHandler, WindowKind, WindowReport},
/// };
///
/// #[derive(Debug, Default)]
/// struct Verdicts(Mutex<Vec<Headline>>);
///
/// #[async_trait]
/// impl ReportHandler for Verdicts {
///     async fn handle(&self, window: &WindowReport) -> Result<()> {
///         self.0.lock().expect("no holder panics").push(window.report.verdict());
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let rows = |name: &str, from: u32| {
///     let values: ArrayRef = Arc::new(Float64Array::from_iter_values((from..from + 500).map(f64::from)));
///     RecordBatch::try_from_iter([(name, values)])
/// };
/// let (model, version) = (ModelName::new("rides")?, Version(3));
/// let reference = ReferenceProfile::from_batch(&rows("minutes", 0)?, &ProfileSettings::default())?;
/// let verdicts = Arc::new(Verdicts::default());
/// let live = LiveMonitor::builder(Arc::new(SystemClock::new()))
///     .with_settings(LiveSettings { window: WindowKind::Count { rows: 500, step: 500 }, ..LiveSettings::default() })
///     .with_monitor(model.clone(), version, Monitor::builder(reference).build()?)
///     .with_handler(Arc::clone(&verdicts))
///     .start()?;
///
/// for from in [0, 300] {
///     let (inputs, outputs) = (rows("minutes", from)?, rows("price", 0)?);
///     let _ = live.append(PredictionBatch {
///         request_id: "r".into(), model: model.clone(), version, variant: "champion".into(), propensity: None,
///         at: Timestamp::default(), inputs, outputs,
///     });
/// }
/// live.flush().await?;
/// assert_eq!(*verdicts.0.lock().expect("no holder panics"), [Headline::Ok, Headline::Drift]);
/// # Ok(()) }
/// ```
pub struct LiveMonitor {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Message>,
    processed: watch::Receiver<u64>,
    /// Messages that the thread was sent.
    sent: AtomicU64,
    queue_rows_max: u64,
}

impl fmt::Debug for LiveMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveMonitor").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl LiveMonitor {
    /// Starts from the clock that dates in the future are measured by.
    #[must_use]
    pub fn builder(clock: Arc<dyn Clock>) -> LiveMonitorBuilder {
        LiveMonitorBuilder {
            clock,
            settings: LiveSettings::default(),
            monitors: HashMap::new(),
            handlers: Vec::new(),
            bus: None,
            meter: Arc::new(NoMeter),
        }
    }

    /// Watches one more model version, or compares its next windows with another reference once [`LiveMonitor::finish`]
    /// has closed the open ones.
    pub fn watch(&self, model: ModelName, version: Version, monitor: Monitor) {
        let mut monitors = self.shared.monitors.write().unwrap_or_else(PoisonError::into_inner);
        monitors.insert((model, version), Arc::new(monitor));
    }

    /// What became of everything so far.
    #[must_use]
    pub fn stats(&self) -> LiveStats {
        self.shared.counters.read()
    }

    /// Closes the windows that end at `time` or before, less the allowed lateness: for streams that have fallen silent.
    /// Waits for room in the queue.
    ///
    /// # Errors
    /// `Unavailable` when the thread has died.
    pub async fn advance_to(&self, time: Timestamp) -> Result<()> {
        self.send(Message::Advance(time)).await
    }

    /// Closes and reports every open window, full or not, and waits until that is done.
    ///
    /// # Errors
    /// As [`PredictionSink::flush`].
    pub async fn finish(&self) -> Result<()> {
        self.send(Message::Finish).await?;
        self.flush().await
    }

    async fn send(&self, message: Message) -> Result<()> {
        let place = self.sender.reserve().await.map_err(|_| gone())?;
        self.sent.fetch_add(1, Ordering::SeqCst);
        place.send(message);
        Ok(())
    }
}

fn gone() -> Error {
    Error::unavailable("the thread of the live monitor has died; start another one")
}

#[async_trait]
impl PredictionSink for LiveMonitor {
    fn append(&self, batch: PredictionBatch) -> Delivery {
        let rows = batch.inputs.num_rows() as u64;
        let queued = self.shared.queued_rows.fetch_add(rows, Ordering::Relaxed);
        // A batch larger than the bound is taken when nothing else waits.
        let fits = queued == 0 || queued.saturating_add(rows) <= self.queue_rows_max;
        if fits && let Ok(place) = self.sender.try_reserve() {
            self.sent.fetch_add(1, Ordering::SeqCst);
            place.send(Message::Batch(batch));
            self.shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
            return Delivery::Accepted;
        }
        self.shared.queued_rows.fetch_sub(rows, Ordering::Relaxed);
        self.shared.counters.shed.fetch_add(1, Ordering::Relaxed);
        Delivery::Dropped
    }

    async fn flush(&self) -> Result<()> {
        let sent = self.sent.load(Ordering::SeqCst);
        let mut processed = self.processed.clone();
        let reached = processed.wait_for(|processed| *processed >= sent).await.is_ok();
        let first_error = self.shared.first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
        match first_error {
            Some(error) => Err(error),
            None if reached => Ok(()),
            None => Err(gone()),
        }
    }

    fn dropped(&self) -> u64 {
        self.stats().shed_batches
    }
}
