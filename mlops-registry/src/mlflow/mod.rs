//! MLflow's REST API over a tracking store, a model registry and an artifact store.
//!
//! [`MlflowServer::router`] is an axum router: serve it alone, or merge it into the router of your own service. Clients
//! of MLflow 3 (Python, R, Java, the command line) set it as their tracking and registry URI and work unchanged.
//!
//! Invariant: a handler only translates; what a call means is decided by the stores, so that a program that uses them
//! directly and a client over HTTP see the same.
//!
//! # Who may ask
//!
//! As it is made, the server asks nobody who they are and answers to the names of this machine alone: right for a
//! program on a workstation. To let others in, give it users ([`MlflowServer::with_auth`]) and the names it is called
//! by ([`MlflowServer::with_allowed_hosts`]), and put TLS in front.
//!
//! A service that signs people in itself merges the router below its own layer, which puts a
//! [`Principal`](mlops_core::Principal) into the extensions of each request; its own
//! [`Authorizer`](mlops_core::Authorizer) decides. A request without principal is answered 401.
//!
//! ```
//! use std::sync::Arc;
//! use axum::{Router, extract::Request, middleware::{self, Next}};
//! use mlops_core::{Authorizer, Principal};
//! use mlops_registry::{MlflowServer, mlflow::Auth};
//!
//! fn merged(server: MlflowServer, policy: Arc<dyn Authorizer>) -> mlops_core::Result<Router> {
//!     let auth = Auth::behind(policy).build()?;
//!     let mlflow = server.with_auth(auth).with_allowed_hosts(["ml.example.com"]).router();
//!     Ok(Router::new().nest("/mlflow", mlflow).layer(middleware::from_fn(async |mut request: Request, next: Next| {
//!         // Your session cookie, your OpenID Connect token...
//!         request.extensions_mut().insert(Principal::new("ann").with_role("data-science"));
//!         next.run(request).await
//!     })))
//! }
//! ```

mod answer;
mod auth;
mod batch_body;
mod evaluation;
mod experiments;
mod failure;
mod file_type;
mod files;
mod gateway;
mod graphql;
mod history;
mod issues;
mod json_list;
mod kept;
mod lineage;
mod logged_models;
mod models;
mod origin;
mod place;
mod presign;
mod promptlab;
mod protect;
mod request;
mod run_answer;
mod run_search;
mod runs;
mod scorers;
mod source;
mod stage;
mod tail;
mod traces;
mod ui;
mod ui_files;
mod versions;
mod webhooks;

use std::{future::Future, path::Path, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    middleware,
    routing::{self, MethodFilter, MethodRouter},
};
use mlops_core::{Clock, Error, Result, SystemClock};
use regex::Regex;
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use self::{auth::Files, files::disposition};
pub use self::{
    auth::{Auth, AuthBuilder, AuthSettings},
    protect::ServerLimits,
};
use self::{
    auth::{
        Caller, Guard, GuardedEvaluation, GuardedGateway, GuardedLoggedModels, GuardedRegistry, GuardedTraces,
        GuardedTracking,
    },
    failure::Failure,
    protect::Gate,
    request::Params,
};
use crate::{
    ArtifactStore, EvaluationStore, LoggedModelStore, ModelRegistry, Packages, TraceStore, TrackingStore,
    gateway::GatewayStore, tracking::tail::LiveTail, webhooks::WebhookWorker,
};

/// The release of MLflow whose API is spoken; clients choose features by it.
pub const MLFLOW_VERSION: &str = "3.17.2";

/// Everything a handler needs.
#[derive(Debug, Clone)]
struct Inner {
    tracking: Arc<dyn TrackingStore>,
    registry: Arc<dyn ModelRegistry>,
    artifacts: Files,
    logged_models: Option<Arc<dyn LoggedModelStore>>,
    traces: Option<Arc<dyn TraceStore>>,
    evaluation: Option<Arc<dyn EvaluationStore>>,
    gateway: Option<Arc<dyn GatewayStore>>,
    webhooks: Option<Arc<WebhookWorker>>,
    packages: Option<Arc<dyn Packages>>,
    ui: bool,
    /// Asks nobody: its handler asks the tracking store first.
    tail: Option<Arc<LiveTail>>,
    /// Asks for the principal of the request; none where everybody may everything.
    guard: Option<Arc<Guard>>,
    limits: ServerLimits,
    /// What sources of versions must match.
    sources: Option<Regex>,
    clock: Arc<dyn Clock>,
}

impl Inner {
    /// The same stores for whom the guard allows it.
    fn guarded(&self, guard: Arc<Guard>) -> Self {
        let tracking = Arc::clone(&self.tracking);
        let registry = GuardedRegistry { inner: Arc::clone(&self.registry), guard: Arc::clone(&guard) };
        let logged_models = self.logged_models.clone().map(|inner| {
            let (tracking, guard) = (Arc::clone(&tracking), Arc::clone(&guard));
            Arc::new(GuardedLoggedModels { inner, tracking, guard }) as Arc<dyn LoggedModelStore>
        });
        let traces = self.traces.clone().map(|inner| {
            let (tracking, guard) = (Arc::clone(&tracking), Arc::clone(&guard));
            Arc::new(GuardedTraces { inner, tracking, guard }) as Arc<dyn TraceStore>
        });
        let evaluation = self
            .evaluation
            .clone()
            .map(|inner| Arc::new(GuardedEvaluation { inner, guard: Arc::clone(&guard) }) as Arc<dyn EvaluationStore>);
        let gateway = self
            .gateway
            .clone()
            .map(|inner| Arc::new(GuardedGateway { inner, guard: Arc::clone(&guard) }) as Arc<dyn GatewayStore>);
        Self {
            artifacts: self.artifacts.guarded(Arc::clone(&guard), Arc::clone(&tracking)),
            tracking: Arc::new(GuardedTracking {
                inner: tracking,
                models: self.logged_models.clone(),
                guard: Arc::clone(&guard),
            }),
            registry: Arc::new(registry),
            logged_models,
            traces,
            evaluation,
            gateway,
            // Their routes are for administrators.
            webhooks: self.webhooks.clone(),
            // Manifests of versions that the registry has allowed to be read.
            packages: self.packages.clone(),
            ui: self.ui,
            tail: self.tail.clone(),
            guard: Some(guard),
            limits: self.limits.clone(),
            sources: self.sources.clone(),
            clock: Arc::clone(&self.clock),
        }
    }
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
    inner: Inner,
    auth: Option<Auth>,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl MlflowServer {
    /// Serves these stores.
    #[must_use]
    pub fn new(tracking: Arc<dyn TrackingStore>, registry: Arc<dyn ModelRegistry>, artifacts: ArtifactStore) -> Self {
        let inner = Inner {
            tracking,
            registry,
            artifacts: Files::open(artifacts),
            logged_models: None,
            traces: None,
            evaluation: None,
            gateway: None,
            webhooks: None,
            packages: None,
            ui: false,
            tail: None,
            guard: None,
            limits: ServerLimits::default(),
            sources: None,
            clock: Arc::new(SystemClock::new()),
        };
        Self { inner, auth: None, hosts: Vec::new(), origins: Vec::new() }
    }

    /// Serves logged models too, which clients of MLflow 3 make of every model they log. It must keep its rows in the
    /// database of the tracking store.
    #[must_use]
    pub fn with_logged_models(mut self, store: Arc<dyn LoggedModelStore>) -> Self {
        self.inner.logged_models = Some(store);
        self
    }

    /// Keeps traces and their assessments, and takes spans at `/v1/traces`. Default: those routes answer 501.
    #[must_use]
    pub fn with_traces(mut self, traces: Arc<dyn TraceStore>) -> Self {
        self.inner.traces = Some(traces);
        self
    }

    /// Keeps evaluation datasets, scorers and issues. Default: their routes answer 501.
    #[must_use]
    pub fn with_evaluation(mut self, evaluation: Arc<dyn EvaluationStore>) -> Self {
        self.inner.evaluation = Some(evaluation);
        self
    }

    /// Keeps what an AI gateway is configured by; requests to models are not forwarded. Default: its routes answer 501.
    #[must_use]
    pub fn with_gateway(mut self, gateway: Arc<dyn GatewayStore>) -> Self {
        self.inner.gateway = Some(gateway);
        self
    }

    /// Manages webhooks through a worker, which somebody else has to run. Default: their routes answer 501.
    #[must_use]
    pub fn with_webhooks(mut self, webhooks: Arc<WebhookWorker>) -> Self {
        self.inner.webhooks = Some(webhooks);
        self
    }

    /// Asks everybody who they are, and the authorizer whether they may. Default: everybody may everything.
    ///
    /// Serve the router with `into_make_service_with_connect_info::<SocketAddr>()`, so that wrong passwords are counted
    /// by address as well.
    #[must_use]
    pub fn with_auth(mut self, auth: Auth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Names by which this server may be asked besides those of this machine: `ml.example.com`, `*.example.com`, or
    /// `*` for any where something in front checks it. Ports do not matter. `/health` and `/version` are answered by
    /// any name.
    #[must_use]
    pub fn with_allowed_hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hosts.extend(hosts.into_iter().map(Into::into));
        self
    }

    /// Origins, such as `https://app.example.com`, whose pages may read and write here. Default: none.
    #[must_use]
    pub fn with_allowed_origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origins.extend(origins.into_iter().map(Into::into));
        self
    }

    /// Tells when runs end that the server ends itself. Default: the clock of the operating system.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.inner.clock = clock;
        self
    }

    /// Replaces the bounds.
    ///
    /// # Errors
    /// `InvalidArgument` when one is out of range.
    pub fn with_limits(mut self, limits: ServerLimits) -> Result<Self> {
        limits.check()?;
        self.inner.limits = limits;
        Ok(self)
    }

    /// Takes only those sources of model versions in which this regular expression is found; write `^` and `$` to mean the
    /// whole. Default: none is asked for.
    ///
    /// # Errors
    /// `InvalidArgument` for what is no regular expression, or a huge one; they have no look-around.
    pub fn with_source_pattern(mut self, pattern: &str) -> Result<Self> {
        let wrong = |error: regex::Error| {
            Error::invalid_argument(format!("pattern {pattern:?} of model version sources: {error}"))
        };
        self.inner.sources = Some(Regex::new(pattern).map_err(wrong)?);
        Ok(self)
    }

    /// Reads the files of experiments that lie in this directory too, as clients give it by `artifact_location` and write
    /// to it themselves; it is created when absent. Where users are asked who they are, such files are for administrators.
    /// Default: only what is in the artifact store is read, whatever location an experiment has.
    ///
    /// Whoever can write to the directory can make this server read and write whatever its user can: a link may be put in
    /// its way between the check of a path and the opening of the file. Name only directories of people you trust with that.
    ///
    /// # Errors
    /// `Unavailable` naming the directory when it cannot be created.
    pub fn with_local_directory(mut self, directory: &Path) -> Result<Self> {
        self.inner.artifacts.add_directory(ArtifactStore::local(directory)?);
        Ok(self)
    }

    /// Serves pages for people too, at `/` and below `/ui`; see [`crate::ui`]. Default: none.
    #[must_use]
    pub fn with_ui(mut self) -> Self {
        self.inner.ui = true;
        self
    }

    /// Lets the pages of model versions read manifests without the packages; it must be the registry itself. Default: they
    /// fetch the package.
    #[must_use]
    pub fn with_packages(mut self, packages: Arc<dyn Packages>) -> Self {
        self.inner.packages = Some(packages);
        self
    }

    /// The routes, from `/health` to `/api/2.0/mlflow/...`, each of the API also below `/ajax-api`.
    ///
    /// A write that a page of another origin makes, and a request by another host name, are refused with 403.
    pub fn router(&self) -> Router {
        let routes = Router::new()
            .nest("/2.0/mlflow", second_routes().merge(auth::routes()))
            .nest("/3.0/mlflow", third_routes())
            // Clients of MLflow 3.17 leave a slash out.
            .route("/2.0mlflow/experiments/search-datasets", on(POST, lineage::search_datasets))
            .nest("/2.0/mlflow-artifacts", file_routes())
            .nest("/3.0/mlops", tail::routes().route("/runs/append-tag", on(POST, runs::append_tag)))
            .route("/3.0/mlflow/server-info", routing::get(server_info));
        let routes = Router::new()
            .nest("/api", routes.clone())
            .nest("/ajax-api", routes.merge(ui_files::upload_routes()).merge(page_routes()))
            .route("/graphql", on(GET.or(POST), graphql::execute))
            .merge(ui_files::routes())
            .merge(auth::page_routes())
            .merge(traces::otlp_routes())
            .merge(gateway::invocation_routes())
            .merge(if self.inner.ui { crate::ui::routes() } else { Router::new() })
            .route("/health", routing::get(async || "OK"))
            .route("/version", routing::get(async || MLFLOW_VERSION))
            .fallback(unknown_route);
        let routes = match &self.auth {
            None => routes.with_state(Arc::new(self.inner.clone())),
            Some(auth) => {
                let open: Api = Arc::new(self.inner.clone());
                let nobody = open.guarded(Arc::new(Guard::new(auth, None)));
                let door = middleware::from_fn_with_state((auth.clone(), open), auth::sign_in);
                routes.layer(door).with_state(Arc::new(nobody))
            }
        };
        let origins: Arc<[String]> = self.origins.clone().into();
        let gate = Arc::new(Gate::new(&self.hosts, &self.inner.limits));
        routes
            .layer(middleware::from_fn_with_state(origins, origin::check_origin))
            .layer(middleware::from_fn_with_state(gate, protect::protect))
    }
}

/// The route of a handler at these methods.
fn on<F, Fut, T>(methods: MethodFilter, handler: F) -> MethodRouter<Api>
where
    F: Fn(Api, Params) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<T>> + Send,
    T: Serialize,
{
    routing::on(methods, async move |Caller(api): Caller, params: Params| {
        handler(api, params).await.map(Json).map_err(Failure)
    })
}

fn second_routes() -> Router<Api> {
    let parts = logged_models::routes().merge(traces::second_routes()).merge(webhooks::routes());
    tracking_routes().merge(registry_routes()).merge(parts)
}

fn third_routes() -> Router<Api> {
    traces::routes()
        .merge(evaluation::routes())
        .merge(scorers::routes())
        .merge(issues::routes())
        .merge(gateway::routes())
        .merge(auth::routes_3())
}

/// What only pages ask for.
fn page_routes() -> Router<Api> {
    gateway::page_routes()
        .route("/2.0/mlflow/runs/create-promptlab-run", on(POST, promptlab::create))
        .route("/2.0/mlflow/get-trace-artifact", routing::get(traces::artifact))
        .route("/3.0/mlflow/get-trace-artifact", routing::get(traces::artifact))
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
        .route("/runs/search", routing::post(run_search::search))
        .route("/runs/update", on(POST, r::update))
        .route("/runs/delete", on(POST, r::delete))
        .route("/runs/restore", on(POST, r::restore))
        .route("/runs/log-metric", on(POST, r::log_metric))
        .route("/runs/log-parameter", on(POST, r::log_parameter))
        .route("/runs/log-batch", routing::post(r::log_batch))
        .route("/runs/set-tag", on(POST, r::set_tag))
        .route("/runs/delete-tag", on(POST, r::delete_tag))
        .route("/runs/log-inputs", on(POST, lineage::log_inputs))
        .route("/runs/outputs", on(POST, lineage::log_outputs))
        .route("/runs/log-model", on(POST, lineage::log_model))
        .route("/experiments/search-datasets", on(POST, lineage::search_datasets))
        .route("/metrics/get-history", routing::get(history::of_metric))
        .route("/metrics/get-history-bulk", on(GET, history::of_runs))
        .route("/metrics/get-history-bulk-interval", on(GET, history::sampled))
        .route("/artifacts/list", on(GET, list_of_run))
        .route("/artifacts/presigned-upload-url", on(POST, presign::upload))
        .route("/artifacts/presigned-download-url", on(POST, presign::download))
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
        // Named apart from the `path` of the body, which the file has with the client.
        .route("/mpu/create/{*directory}", routing::post(files::begin_parts))
        .route("/mpu/complete/{*directory}", routing::post(files::complete_parts))
        .route("/mpu/abort/{*directory}", routing::post(files::abort_parts))
        .route("/presigned/{*path}", routing::get(files::signed_download))
}

async fn server_info(State(api): State<Api>) -> Json<Value> {
    let can = api.artifacts.capabilities();
    Json(json!({
        "store_type": "SqlStore",
        "workspaces_enabled": false,
        "trace_archival_enabled": false,
        "multipart_uploads_enabled": can.signed_parts,
        "multipart_downloads_enabled": can.signed_downloads,
        "presigned_upload_run_id_supported": false,
        "presigned_upload_model_id_supported": false,
        "features_enabled": { "gateway": api.gateway.is_some() },
    }))
}

async fn unknown_route() -> Failure {
    Error::not_found("no such route; MLflow's API is below /api/2.0/mlflow").into()
}
