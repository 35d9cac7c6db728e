//! The server: one object that answers requests in process and over protocols.
//!
//! It owns the worker pool and the traffic; what is loaded belongs to the [`ModelRepository`], which it shares with
//! the application. Cloning is cheap and gives the same server.

mod arm;
mod builder;
mod connections;
mod explain;
mod infer;
mod readiness;
mod rollouts;
mod service;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use axum::Router;
use mlops_core::{AuditSink, Clock, EventBus, LabelSink, Meter, ModelName, PredictionSink, PrometheusMeter};
use tokio::sync::Semaphore;

pub(crate) use arm::ActiveRollout;
pub use builder::ServerBuilder;
pub use connections::ConnectionSettings;
pub(crate) use explain::Explained;
pub use infer::{InferOptions, InferReply};
pub(crate) use infer::{TensorReply, Wanted, context_of};
pub use service::InferCall;

use crate::{
    access::Access, executor::Executor, limits::Tenants, metrics::Traffic, observe::SpanIds,
    repository::ModelRepository, rollout::RolloutStore, settings::ServerSettings,
};

/// A model server.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{DataType, Signature, TensorSpec, Version, arrow_array::record_batch};
/// use mlops_serve::{ClosureModel, InferOptions, ModelRepository, Server};
///
/// # #[tokio::main] async fn main() -> mlops_core::Result<()> {
/// let column = TensorSpec::column("x", DataType::Int64);
/// let model = ClosureModel::new(Signature::new([column.clone()], [column])?, |batch| Ok(batch.clone()));
/// let repository = Arc::new(ModelRepository::new());
/// repository.register(&"echo".parse()?, Version(1), Arc::new(model))?;
///
/// let server = Server::builder(repository).build()?;
/// let batch = record_batch!(("x", Int64, [1, 2, 3]))?;
/// let reply = server.infer(&"echo".parse()?, batch, InferOptions::default()).await?;
/// assert_eq!((reply.outputs.num_rows(), reply.version), (3, Version(1)));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Server {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) settings: ServerSettings,
    pub(crate) repository: Arc<ModelRepository>,
    pub(crate) executor: Executor,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meter: Arc<dyn Meter>,
    /// The application's own meter, told of every request.
    measured: Option<Arc<dyn Meter>>,
    pub(crate) access: Option<Access>,
    pub(crate) tenants: Tenants,
    pub(crate) traffic: Traffic,
    pub(crate) span_ids: SpanIds,
    pub(crate) prometheus: Option<Arc<PrometheusMeter>>,
    pub(crate) predictions: Option<Arc<dyn PredictionSink>>,
    pub(crate) labels: Option<Arc<dyn LabelSink>>,
    pub(crate) events: Option<Arc<dyn EventBus>>,
    rollouts: Rollouts,
    instance: String,
    requests: AtomicU64,
    /// Closed when a shutdown has begun: every request looks, and looking takes no lock.
    draining: Semaphore,
    /// What the last check of readiness said.
    healthy: AtomicBool,
}

/// What makes rollouts durable.
#[derive(Debug)]
struct Rollouts {
    store: Option<Arc<dyn RolloutStore>>,
    audit: Option<Arc<dyn AuditSink>>,
    /// One step at a time; it awaits the store, so the lock is an async one.
    steps: tokio::sync::Mutex<()>,
    /// Models of which the store has a rollout that is under way here.
    kept: Mutex<BTreeSet<ModelName>>,
}

impl Rollouts {
    fn new(store: Option<Arc<dyn RolloutStore>>, audit: Option<Arc<dyn AuditSink>>) -> Self {
        Self { store, audit, steps: tokio::sync::Mutex::default(), kept: Mutex::default() }
    }

    fn keep(&self, model: &ModelName) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(model.clone());
    }

    fn forget(&self, model: &ModelName) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(model);
    }

    fn is_kept(&self, model: &ModelName) -> bool {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).contains(model)
    }
}

impl Server {
    /// A server of the models in `repository`.
    pub fn builder(repository: Arc<ModelRepository>) -> ServerBuilder {
        ServerBuilder::new(repository)
    }

    /// The models.
    #[must_use]
    pub fn repository(&self) -> &Arc<ModelRepository> {
        &self.inner.repository
    }

    /// The routes of Open Inference v2, of the other protocols that the settings turn on, and `/metrics`; binds nothing.
    pub fn into_router(self) -> Router {
        crate::router::router(self)
    }

    /// Whether every model is in service, predicted when it was last tried out, and no shutdown has begun.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let inner = &self.inner;
        !inner.is_draining() && inner.healthy.load(Ordering::Relaxed) && inner.repository.is_ready()
    }
}

impl Inner {
    /// Whether a shutdown has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_closed()
    }

    /// Completes when a shutdown has begun: streams without an end of their own would hold it up.
    #[cfg(feature = "grpc")]
    pub(crate) async fn until_draining(&self) {
        // Nothing is ever given to it; its end is the message.
        let _ = self.draining.acquire().await;
    }

    /// An id that this process never gave before.
    pub(crate) fn next_request_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        // The formatter takes longer than everything else about an id.
        [self.instance.as_str(), "-", &number.to_string()].concat()
    }
}
