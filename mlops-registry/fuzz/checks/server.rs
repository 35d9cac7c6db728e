//! A server over a database in memory with one run, for the targets that speak HTTP.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use mlops_registry::{
    ArtifactStore, IdSource, MlflowServer, RandomIds, SqlEvaluationStore, SqlLoggedModelStore, SqlModelRegistry,
    SqlTraceStore, SqlTrackingStore,
    gateway::{LocalKeys, SqlGatewayStore},
};
use mlops_store::{BlobStore, MetaStore, SqliteMetaStore};
use serde_json::{Value, json};
use tower::ServiceExt as _;

/// After how many requests it begins anew, so that memory is bounded and what was found is found again.
const REQUESTS_MAX: u32 = 2_000;

pub(crate) struct Server {
    runtime: tokio::runtime::Runtime,
    router: Router,
    /// Id of the run.
    pub(crate) run: String,
    requests: u32,
}

impl Server {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let router = runtime.block_on(router()).expect("an empty database");
        let mut server = Self { runtime, router, run: String::new(), requests: 0 };
        let create = json!({ "experiment_id": "0", "run_name": "first", "start_time": 1 });
        let (_, answer) = server.send("POST", "/api/2.0/mlflow/runs/create", create.to_string().into_bytes());
        server.run = answer["run"]["info"]["run_id"].as_str().expect("a run").to_owned();
        server
    }

    /// Begins anew when it has answered much.
    pub(crate) fn renew(&mut self) {
        if REQUESTS_MAX <= self.requests {
            *self = Self::new();
        }
    }

    /// The status and the answer, which must be JSON and no fault of the server.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: Vec<u8>) -> (StatusCode, Value) {
        self.requests += 1;
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let request = request.body(Body::from(body)).expect("a request");
        let router = self.router.clone();
        let (status, bytes) = self.runtime.block_on(async {
            let response = router.oneshot(request).await.expect("routers answer");
            let status = response.status();
            (status, to_bytes(response.into_body(), usize::MAX).await.expect("a whole answer"))
        });
        let text = String::from_utf8_lossy(&bytes);
        assert!(!status.is_server_error(), "{path}: {status} {text}");
        let answer = serde_json::from_slice(&bytes);
        (status, answer.unwrap_or_else(|error| panic!("{path}: {error} in {text:?}")))
    }
}

async fn router() -> mlops_core::Result<Router> {
    let meta: Arc<dyn MetaStore> = Arc::new(SqliteMetaStore::in_memory().await?);
    let ids: Arc<dyn IdSource> = Arc::new(RandomIds::from_seed(7));
    let tracking = SqlTrackingStore::builder(Arc::clone(&meta)).with_ids(Arc::clone(&ids)).build().await?;
    let models =
        SqlLoggedModelStore::builder(Arc::clone(&meta), Arc::new(tracking.clone())).with_ids(ids).build().await?;
    let traces = SqlTraceStore::builder(Arc::clone(&meta)).build().await?;
    let evaluation = SqlEvaluationStore::builder(Arc::clone(&meta)).build().await?;
    let keys = LocalKeys::from_passphrase("correct horse battery staple", 1)?;
    let gateway = SqlGatewayStore::builder(Arc::clone(&meta), keys).build().await?;
    let registry = SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await?;
    let server = MlflowServer::new(Arc::new(tracking), Arc::new(registry), ArtifactStore::in_memory());
    let server = server.with_logged_models(Arc::new(models)).with_traces(Arc::new(traces));
    Ok(server.with_evaluation(Arc::new(evaluation)).with_gateway(Arc::new(gateway)).router())
}
