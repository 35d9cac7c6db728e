//! MLflow's REST API over a tracking store, a model registry and an artifact store.
//!
//! [`MlflowServer::router`] is an axum router: serve it alone, or merge it into the router of your own service. Clients
//! of MLflow 3 (Python, R, Java, the command line) set it as their tracking and registry URI and work unchanged.
//!
//! Invariant: a handler only translates; what a call means is decided by the stores, so that a program that uses them
//! directly and a client over HTTP see the same.

mod answer;
mod evaluation;
mod experiments;
mod failure;
mod files;
mod history;
mod kept;
mod lineage;
mod logged_models;
mod models;
mod origin;
mod place;
mod request;
mod run_answer;
mod runs;
mod source;
mod stage;
mod traces;
mod ui;
mod ui_files;
mod versions;
mod webhooks;

use std::{future::Future, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    middleware,
    routing::{self, MethodFilter, MethodRouter},
};
use mlops_core::{Error, Result};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::files::disposition;
use self::{failure::Failure, request::Params};
use crate::{
    ArtifactStore, EvaluationStore, LoggedModelStore, ModelRegistry, Packages, TraceStore, TrackingStore,
    webhooks::WebhookWorker,
};

/// The release of MLflow whose API is spoken; clients choose features by it.
pub const MLFLOW_VERSION: &str = "3.17.2";

/// Everything a handler needs.
#[derive(Debug, Clone)]
struct Inner {
    tracking: Arc<dyn TrackingStore>,
    registry: Arc<dyn ModelRegistry>,
    artifacts: ArtifactStore,
    logged_models: Option<Arc<dyn LoggedModelStore>>,
    traces: Option<Arc<dyn TraceStore>>,
    evaluation: Option<Arc<dyn EvaluationStore>>,
    webhooks: Option<Arc<WebhookWorker>>,
    packages: Option<Arc<dyn Packages>>,
    ui: bool,
}

type Api = Arc<Inner>;

const GET: MethodFilter = MethodFilter::GET;
const POST: MethodFilter = MethodFilter::POST;
const PATCH: MethodFilter = MethodFilter::PATCH;
const DELETE: MethodFilter = MethodFilter::DELETE;

/// MLflow's REST API over your stores.
///
/// ```no_run
/// use std::sync::Arc;
/// use mlops_registry::{ArtifactStore, MlflowServer, SqlLoggedModelStore, SqlModelRegistry, SqlTrackingStore};
/// use mlops_store::{BlobStore, SqliteMetaStore, SqliteSettings};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let meta = Arc::new(SqliteMetaStore::open("mlops.db".as_ref(), SqliteSettings::default()).await?);
/// let tracking = SqlTrackingStore::builder(meta.clone()).build().await?;
/// let models = SqlLoggedModelStore::builder(meta.clone(), Arc::new(tracking.clone())).build().await?;
/// let registry = SqlModelRegistry::builder(meta, BlobStore::local("blobs".as_ref())?).build().await?;
/// let files = ArtifactStore::local("artifacts".as_ref())?;
/// let router =
///     MlflowServer::new(Arc::new(tracking), Arc::new(registry), files).with_logged_models(Arc::new(models)).router();
///
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:5000").await.unwrap();
/// axum::serve(listener, router).await.unwrap();
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MlflowServer {
    api: Api,
}

impl MlflowServer {
    /// Serves these stores.
    #[must_use]
    pub fn new(tracking: Arc<dyn TrackingStore>, registry: Arc<dyn ModelRegistry>, artifacts: ArtifactStore) -> Self {
        let parts = Inner {
            tracking,
            registry,
            artifacts,
            logged_models: None,
            traces: None,
            evaluation: None,
            webhooks: None,
            packages: None,
            ui: false,
        };
        Self { api: Arc::new(parts) }
    }

    /// Serves logged models too, which clients of MLflow 3 make of every model they log. It must keep its rows in the
    /// database of the tracking store.
    #[must_use]
    pub fn with_logged_models(mut self, store: Arc<dyn LoggedModelStore>) -> Self {
        Arc::make_mut(&mut self.api).logged_models = Some(store);
        self
    }

    /// Keeps traces and their assessments, and takes spans at `/v1/traces`. Default: those routes answer 501.
    #[must_use]
    pub fn with_traces(mut self, traces: Arc<dyn TraceStore>) -> Self {
        Arc::make_mut(&mut self.api).traces = Some(traces);
        self
    }

    /// Keeps evaluation datasets. Default: their routes answer 501.
    #[must_use]
    pub fn with_evaluation(mut self, evaluation: Arc<dyn EvaluationStore>) -> Self {
        Arc::make_mut(&mut self.api).evaluation = Some(evaluation);
        self
    }

    /// Manages webhooks through a worker, which somebody else has to run. Default: their routes answer 501.
    #[must_use]
    pub fn with_webhooks(mut self, webhooks: Arc<WebhookWorker>) -> Self {
        Arc::make_mut(&mut self.api).webhooks = Some(webhooks);
        self
    }

    /// Serves pages for people too, at `/` and below `/ui`; see [`crate::ui`]. Default: none.
    #[must_use]
    pub fn with_ui(mut self) -> Self {
        Arc::make_mut(&mut self.api).ui = true;
        self
    }

    /// Lets the pages of model versions read manifests without the packages; it must be the registry itself. Default: they
    /// fetch the package.
    #[must_use]
    pub fn with_packages(mut self, packages: Arc<dyn Packages>) -> Self {
        Arc::make_mut(&mut self.api).packages = Some(packages);
        self
    }

    /// The routes, from `/health` to `/api/2.0/mlflow/...`, each of the API also below `/ajax-api`.
    ///
    /// A write that a page of another origin makes is refused with 403. There is no authentication: put the router
    /// behind your own layer before it listens beyond this machine.
    pub fn router(&self) -> Router {
        let routes = Router::new()
            .nest("/2.0/mlflow", second_routes())
            .nest("/3.0/mlflow", traces::routes().merge(evaluation::routes()))
            // Clients of MLflow 3.17 leave a slash out.
            .route("/2.0mlflow/experiments/search-datasets", on(POST, lineage::search_datasets))
            .nest("/2.0/mlflow-artifacts", file_routes())
            .route("/3.0/mlflow/server-info", routing::get(server_info));
        Router::new()
            .nest("/api", routes.clone())
            .nest("/ajax-api", routes.merge(ui_files::upload_routes()))
            .merge(ui_files::routes())
            .merge(traces::otlp_routes())
            .merge(if self.api.ui { crate::ui::routes() } else { Router::new() })
            .route("/health", routing::get(async || "OK"))
            .route("/version", routing::get(async || MLFLOW_VERSION))
            .fallback(unknown_route)
            .layer(middleware::from_fn(origin::refuse_foreign))
            .with_state(Arc::clone(&self.api))
    }
}

/// The route of a handler at these methods.
fn on<F, Fut, T>(methods: MethodFilter, handler: F) -> MethodRouter<Api>
where
    F: Fn(Api, Params) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<T>> + Send,
    T: Serialize,
{
    routing::on(methods, async move |State(api): State<Api>, params: Params| {
        handler(api, params).await.map(Json).map_err(Failure)
    })
}

fn second_routes() -> Router<Api> {
    let parts = logged_models::routes().merge(traces::second_routes()).merge(webhooks::routes());
    tracking_routes().merge(registry_routes()).merge(parts)
}

fn tracking_routes() -> Router<Api> {
    use self::{experiments as e, files::list_of_run, runs as r};
    Router::new()
        .route("/experiments/create", on(POST, e::create))
        .route("/experiments/get", on(GET, e::get))
        .route("/experiments/get-by-name", on(GET, e::get_by_name))
        .route("/experiments/search", on(GET.or(POST), e::search))
        .route("/experiments/update", on(POST, e::update))
        .route("/experiments/delete", on(POST, e::delete))
        .route("/experiments/restore", on(POST, e::restore))
        .route("/experiments/set-experiment-tag", on(POST, e::set_tag))
        .route("/experiments/delete-experiment-tag", on(POST, e::delete_tag))
        .route("/runs/create", on(POST, r::create))
        .route("/runs/get", on(GET, r::get))
        .route("/runs/search", on(POST, r::search))
        .route("/runs/update", on(POST, r::update))
        .route("/runs/delete", on(POST, r::delete))
        .route("/runs/restore", on(POST, r::restore))
        .route("/runs/log-metric", on(POST, r::log_metric))
        .route("/runs/log-parameter", on(POST, r::log_parameter))
        .route("/runs/log-batch", on(POST, r::log_batch))
        .route("/runs/set-tag", on(POST, r::set_tag))
        .route("/runs/delete-tag", on(POST, r::delete_tag))
        .route("/runs/log-inputs", on(POST, lineage::log_inputs))
        .route("/runs/outputs", on(POST, lineage::log_outputs))
        .route("/runs/log-model", on(POST, lineage::log_model))
        .route("/experiments/search-datasets", on(POST, lineage::search_datasets))
        .route("/metrics/get-history", on(GET, history::of_metric))
        .route("/metrics/get-history-bulk", on(GET, history::of_runs))
        .route("/metrics/get-history-bulk-interval", on(GET, history::sampled))
        .route("/artifacts/list", on(GET, list_of_run))
}

fn registry_routes() -> Router<Api> {
    use self::{models as m, versions as v};
    Router::new()
        .route("/registered-models/create", on(POST, m::create))
        .route("/registered-models/rename", on(POST, m::rename))
        .route("/registered-models/update", on(PATCH, m::update))
        .route("/registered-models/delete", on(DELETE, m::delete))
        .route("/registered-models/get", on(GET, m::get))
        .route("/registered-models/search", on(GET, m::search))
        .route("/registered-models/get-latest-versions", on(GET.or(POST), m::latest_versions))
        .route("/registered-models/set-tag", on(POST, m::set_tag))
        .route("/registered-models/delete-tag", on(DELETE, m::delete_tag))
        .route(
            "/registered-models/alias",
            on(GET, m::get_alias).merge(on(POST, m::set_alias)).merge(on(DELETE, m::delete_alias)),
        )
        .route("/model-versions/create", on(POST, v::create))
        .route("/model-versions/get", on(GET, v::get))
        .route("/model-versions/update", on(PATCH, v::update))
        .route("/model-versions/delete", on(DELETE, v::delete))
        .route("/model-versions/transition-stage", on(POST, v::transition_stage))
        .route("/model-versions/search", on(GET, v::search))
        .route("/model-versions/get-download-uri", on(GET, v::download_uri))
        .route("/model-versions/set-tag", on(POST, v::set_tag))
        .route("/model-versions/delete-tag", on(DELETE, v::delete_tag))
}

fn file_routes() -> Router<Api> {
    let file = routing::get(files::download).put(files::upload).delete(files::delete);
    Router::new()
        .route("/artifacts", routing::get(files::list))
        // An upload is written as it comes; its size is the store's matter.
        .route("/artifacts/{*path}", file.layer(DefaultBodyLimit::disable()))
        .route("/mpu/{*path}", routing::post(files::not_offered))
        .route("/presigned/{*path}", routing::get(files::not_offered))
}

async fn server_info() -> Json<Value> {
    Json(json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": false,
        "multipart_downloads_enabled": false,
        "presigned_upload_run_id_supported": false,
        "presigned_upload_model_id_supported": false,
        "features_enabled": { "gateway": false },
    }))
}

async fn unknown_route() -> Failure {
    Error::not_found("no such route; MLflow's API is below /api/2.0/mlflow").into()
}
