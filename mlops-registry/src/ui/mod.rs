//! Pages for people over the stores: experiments, runs, charts, comparisons, registered models and their lineage.
//!
//! Rendered on the server; one script file draws charts and nothing is fetched from elsewhere. Invariants: no page changes
//! anything; every text from outside is escaped, because `html::Html` has no way to write it otherwise; every page is
//! bounded, whatever the stores hold. Not an API: programs use MLflow's.

mod ask;
mod chart;
mod compare;
mod experiments;
mod files;
mod format;
mod graph;
mod html;
mod models;
mod page;
mod parallel;
mod run;
mod runs;
#[cfg(test)]
mod tests;
mod version;

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    extract::FromRequestParts,
    http::{header, request::Parts},
    response::{IntoResponse, Redirect},
    routing::get,
};

use crate::{ArtifactStore, LoggedModelStore, ModelRegistry, Packages, TrackingStore, mlflow::Files};

/// What the pages show. Handlers take it from the state of their router, so that a server can hand each request stores
/// that admit what its caller may see.
///
/// ```
/// use std::sync::Arc;
/// use mlops_registry::{ArtifactStore, SqlModelRegistry, SqlTrackingStore, ui::{self, UiStores}};
/// use mlops_store::{BlobStore, SqliteMetaStore};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let meta = Arc::new(SqliteMetaStore::in_memory().await?);
/// let tracking = SqlTrackingStore::builder(meta.clone()).build().await?;
/// let registry = SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await?;
/// let stores = UiStores::new(Arc::new(tracking), Arc::new(registry), ArtifactStore::in_memory());
/// let router: axum::Router = ui::router(stores);
/// # Ok::<(), mlops_core::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct UiStores {
    pub(crate) tracking: Arc<dyn TrackingStore>,
    pub(crate) registry: Arc<dyn ModelRegistry>,
    pub(crate) artifacts: Files,
    pub(crate) logged_models: Option<Arc<dyn LoggedModelStore>>,
    pub(crate) packages: Option<Arc<dyn Packages>>,
}

impl UiStores {
    /// Pages about these stores.
    #[must_use]
    pub fn new(tracking: Arc<dyn TrackingStore>, registry: Arc<dyn ModelRegistry>, artifacts: ArtifactStore) -> Self {
        Self { tracking, registry, artifacts: Files::open(artifacts), logged_models: None, packages: None }
    }

    /// Shows logged models on the pages of runs.
    #[must_use]
    pub fn with_logged_models(mut self, store: Arc<dyn LoggedModelStore>) -> Self {
        self.logged_models = Some(store);
        self
    }

    /// Reads the manifests of packages here, which must be the registry's own. Default: a version's page fetches the whole
    /// package for its manifest.
    #[must_use]
    pub fn with_packages(mut self, packages: Arc<dyn Packages>) -> Self {
        self.packages = Some(packages);
        self
    }
}

impl FromRequestParts<Self> for UiStores {
    type Rejection = Infallible;
    async fn from_request_parts(_: &mut Parts, state: &Self) -> Result<Self, Infallible> {
        Ok(state.clone())
    }
}

/// The pages at `/` and below `/ui`, without authentication. `MlflowServer::with_ui` serves them beside MLflow's API.
pub fn router(stores: UiStores) -> Router {
    routes::<UiStores>().with_state(stores)
}

/// The routes for any state that stores can be had from.
pub(crate) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    UiStores: FromRequestParts<S>,
{
    Router::new()
        .route("/", get(async || Redirect::temporary("/ui")))
        .route("/ui", get(experiments::list))
        .route("/ui/experiments/{id}", get(runs::table))
        .route("/ui/runs/{id}", get(run::page))
        .route("/ui/runs/{id}/file", get(files::file))
        .route("/ui/compare", get(compare::page))
        .route("/ui/chart.json", get(chart::points))
        .route("/ui/models", get(models::list))
        .route("/ui/models/{name}", get(models::page))
        .route("/ui/models/{name}/{version}", get(version::page))
        .route("/ui/models/{name}/{version}/card.md", get(version::card))
        .route("/ui/style.css", get(async || asset("text/css; charset=utf-8", page::STYLE)))
        .route("/ui/app.js", get(async || asset("text/javascript; charset=utf-8", page::SCRIPT)))
}

/// A file of the pages; its address names its contents, so it may be kept.
fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, text)
}
