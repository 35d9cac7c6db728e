//! Putting a server together: settings are data, components are handed in, `build` checks all of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use mlops_core::{
    AuditSink, Clock, EventBus, LabelSink, Meter, NoMeter, PredictionSink, PrometheusMeter, Result, SystemClock,
};
use tokio::sync::Semaphore;

use super::{Inner, Rollouts, Server};
use crate::{
    access::Access,
    executor::{Executor, QueueLimits},
    limits::Tenants,
    metrics::Traffic,
    observe::SpanIds,
    repository::ModelRepository,
    rollout::RolloutStore,
    settings::ServerSettings,
};

/// The parts of a [`Server`].
#[derive(Debug)]
#[must_use]
pub struct ServerBuilder {
    repository: Arc<ModelRepository>,
    settings: ServerSettings,
    clock: Arc<dyn Clock>,
    meter: Option<Arc<dyn Meter>>,
    access: Option<Access>,
    prometheus: Option<Arc<PrometheusMeter>>,
    predictions: Option<Arc<dyn PredictionSink>>,
    labels: Option<Arc<dyn LabelSink>>,
    events: Option<Arc<dyn EventBus>>,
    rollout_store: Option<Arc<dyn RolloutStore>>,
    audit: Option<Arc<dyn AuditSink>>,
}

impl ServerBuilder {
    pub(super) fn new(repository: Arc<ModelRepository>) -> Self {
        Self {
            repository,
            settings: ServerSettings::default(),
            clock: Arc::new(SystemClock::new()),
            meter: None,
            access: None,
            prometheus: None,
            predictions: None,
            labels: None,
            events: None,
            rollout_store: None,
            audit: None,
        }
    }

    /// Bounds and switches; safe defaults otherwise.
    pub fn with_settings(mut self, settings: ServerSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The clock; the operating system's otherwise.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where measurements go.
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Who may do what over protocols; everybody everything otherwise. In-process calls are the application's own.
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// Shows this meter at `GET /metrics`, behind the server's own measurements; rare events go there unless [`ServerBuilder::with_meter`] says otherwise.
    pub fn with_prometheus(mut self, meter: Arc<PrometheusMeter>) -> Self {
        self.prometheus = Some(meter);
        self
    }

    /// Where answered predictions go.
    pub fn with_predictions(mut self, sink: Arc<dyn PredictionSink>) -> Self {
        self.predictions = Some(sink);
        self
    }

    /// Where labels go that come after their predictions. With it there is `POST /v2/models/{model}/feedback`, which
    /// takes `{"labels": [{"id": .., "row": 0, "label": .., "time": ..}]}`: the id that the client gave its request, the
    /// row within it, what happened, and when that was known (RFC 3339 or microseconds; now when left out). Whoever may
    /// ask a model may tell labels of it.
    pub fn with_labels(mut self, sink: Arc<dyn LabelSink>) -> Self {
        self.labels = Some(sink);
        self
    }

    /// Where changes of rollouts are announced.
    pub fn with_events(mut self, bus: Arc<dyn EventBus>) -> Self {
        self.events = Some(bus);
        self
    }

    /// Where rollouts are kept before traffic moves, for [`Server::recover_rollouts`]; a restart forgets them otherwise.
    pub fn with_rollout_store(mut self, store: Arc<dyn RolloutStore>) -> Self {
        self.rollout_store = Some(store);
        self
    }

    /// Where every step of a rollout is recorded. Without an entry no candidate gets more traffic.
    pub fn with_audit(mut self, sink: Arc<dyn AuditSink>) -> Self {
        self.audit = Some(sink);
        self
    }

    /// Checks the settings and starts the workers.
    ///
    /// # Errors
    /// `InvalidArgument` naming all settings at fault; `ResourceExhausted` when threads cannot be started.
    pub fn build(self) -> Result<Server> {
        let settings = self.settings;
        settings.validate()?;
        let queue_timeout = Duration::from_millis(settings.queue_timeout_ms);
        let limits = QueueLimits { entries: settings.queue_max, rows: settings.queue_rows_max };
        let executor = Executor::start(settings.workers, limits, queue_timeout, Arc::clone(&self.clock))?;
        let prometheus = self.prometheus;
        let shown = prometheus.as_ref().map(|meter| Arc::<PrometheusMeter>::clone(meter) as Arc<dyn Meter>);
        let meter = self.meter.clone().or(shown).unwrap_or_else(|| Arc::new(NoMeter));
        let instance = if settings.instance.is_empty() {
            format!("{:x}", self.clock.now().as_micros())
        } else {
            settings.instance.clone()
        };
        let inner = Inner {
            measured: self.meter,
            access: self.access,
            tenants: Tenants::new(&settings.limits),
            traffic: Traffic::default(),
            span_ids: SpanIds::new(&instance),
            settings,
            repository: self.repository,
            executor,
            clock: self.clock,
            meter,
            prometheus,
            predictions: self.predictions,
            labels: self.labels,
            events: self.events,
            rollouts: Rollouts::new(self.rollout_store, self.audit),
            instance,
            requests: AtomicU64::new(0),
            draining: Semaphore::new(0),
            healthy: AtomicBool::new(true),
        };
        let server = Server { inner: Arc::new(inner) };
        crate::router::check(&server)?;
        Ok(server)
    }
}
