//! Signing in, permissions and what stands before the routes, on the wire.

mod families;
mod gateway;
mod reach;
mod sign_up;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request},
};
use mlops_core::{
    Action, AuditEntry, AuditSink, Authorizer, Clock, Error, Principal, Resource, Result, Timestamp,
    testing::ManualClock,
};
use mlops_registry::{
    ArtifactStore, CreateRun, ExperimentId, MlflowServer, ModelRegistry, PageRequest, RandomIds, SqlEvaluationStore,
    SqlLoggedModelStore, SqlTraceStore, TrackingStore as _,
    access::{Permission, SqlAccessStore, conformance},
    mlflow::{Auth, AuthBuilder, AuthSettings, ServerLimits},
    tracking::tail::{LiveTail, TailSettings},
};
use mlops_store::{Dialect, MetaStore, Row, Transaction, Value as SqlValue};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::{in_file, in_memory, registry, tracking};

const PASSWORD: &str = "correct horse";
const FILES: &str = "/api/2.0/mlflow-artifacts/artifacts";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn access_stores_keep_the_promises() {
    let open = async |meta: Arc<dyn MetaStore>| SqlAccessStore::open(meta).await.unwrap();
    conformance::access_store(async || open(in_memory().await).await).await;
    let (dir, counter) = (tempfile::tempdir().unwrap(), std::sync::atomic::AtomicU32::new(0));
    conformance::access_store(async || open(in_file(dir.path(), &counter).await).await).await;
}

/// Keeps what it is told, until it is out of order.
#[derive(Debug, Default)]
struct Log {
    entries: Mutex<Vec<AuditEntry>>,
    broken: AtomicBool,
}

#[async_trait]
impl AuditSink for Log {
    async fn append(&self, entry: AuditEntry) -> Result<()> {
        if self.broken.load(SeqCst) {
            return Err(Error::unavailable("the audit log is out of order"));
        }
        self.entries.lock().unwrap().push(entry);
        Ok(())
    }
}

/// Counts how often the users and grants are read, and the rest.
#[derive(Debug)]
struct Counted {
    meta: Arc<dyn MetaStore>,
    access: AtomicU64,
    other: AtomicU64,
}

#[async_trait]
impl MetaStore for Counted {
    async fn begin(&self) -> Result<Box<dyn Transaction>> {
        self.meta.begin().await
    }

    async fn query(&self, sql: &str, params: &[SqlValue]) -> Result<Vec<Row>> {
        let count = if sql.contains("access_") { &self.access } else { &self.other };
        count.fetch_add(1, SeqCst);
        self.meta.query(sql, params).await
    }

    fn dialect(&self) -> Dialect {
        self.meta.dialect()
    }
}

struct Server {
    router: Router,
    meta: Arc<Counted>,
    registry: Arc<dyn ModelRegistry>,
    clock: Arc<ManualClock>,
    log: Arc<Log>,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn settings() -> AuthSettings {
    AuthSettings { hash_memory_kib: 8_192, hash_passes: 1, failures_max: 3, ..AuthSettings::default() }
}

impl Server {
    async fn with(settings: AuthSettings) -> Self {
        let counted =
            Arc::new(Counted { meta: in_memory().await, access: AtomicU64::default(), other: AtomicU64::default() });
        let meta: Arc<dyn MetaStore> = Arc::<Counted>::clone(&counted);
        let users = Arc::new(SqlAccessStore::open(Arc::clone(&meta)).await.unwrap());
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
        let log = Arc::new(Log::default());
        let auth = Auth::with_users(users)
            .with_settings(settings)
            .with_clock(Arc::clone(&clock) as Arc<dyn Clock>)
            .with_ids(Arc::new(RandomIds::from_seed(5)))
            .with_audit(Arc::clone(&log) as Arc<dyn AuditSink>)
            .build()
            .unwrap();
        assert!(auth.ensure_admin("root", PASSWORD).await.unwrap());
        assert!(!auth.ensure_admin("other", PASSWORD).await.unwrap(), "there is a user already");
        let tracking = tracking(Arc::clone(&meta)).await;
        let models = SqlLoggedModelStore::builder(Arc::clone(&meta), Arc::new(tracking.clone())).build().await.unwrap();
        let traces = SqlTraceStore::builder(Arc::clone(&meta)).build().await.unwrap();
        let evaluation = SqlEvaluationStore::builder(Arc::clone(&meta)).build().await.unwrap();
        let gateway = crate::gateway::store(Arc::clone(&meta)).await;
        let registry: Arc<dyn ModelRegistry> = Arc::new(registry(meta).await);
        let live = LiveTail::new(Arc::new(tracking), TailSettings::default()).unwrap();
        let server = MlflowServer::new(Arc::new(live.clone()), Arc::clone(&registry), ArtifactStore::in_memory())
            .with_tail(live)
            .with_logged_models(Arc::new(models))
            .with_traces(Arc::new(traces))
            .with_evaluation(Arc::new(evaluation))
            .with_gateway(Arc::new(gateway))
            .with_ui();
        let this = Self { router: server.with_auth(auth).router(), meta: counted, registry, clock, log };
        for name in ["ann", "bob"] {
            let user = json!({ "username": name, "password": PASSWORD });
            this.call("root", Method::POST, "2.0/mlflow/users/create", user).await.ok();
        }
        this
    }

    async fn new() -> Self {
        Self::with(settings()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let body =
            serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into()));
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    /// A request with the header by which somebody signs in.
    async fn signed(&self, header: &str, method: Method, uri: &str, body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        if !header.is_empty() {
            request = request.header("authorization", header);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn raw(&self, user: &str, method: Method, uri: &str, body: &[u8]) -> Answer {
        self.signed(&basic(user, PASSWORD), method, uri, body.to_vec()).await
    }

    async fn call(&self, user: &str, method: Method, path: &str, body: Value) -> Answer {
        self.raw(user, method, &format!("/api/{path}"), body.to_string().as_bytes()).await
    }

    async fn get(&self, user: &str, path: &str) -> Answer {
        self.raw(user, Method::GET, &format!("/api/{path}"), b"").await
    }

    async fn post(&self, user: &str, path: &str, body: Value) -> Answer {
        self.call(user, Method::POST, &format!("2.0/mlflow/{path}"), body).await
    }

    /// An experiment and a run in it, both made by this user.
    async fn run_of(&self, user: &str, experiment: &str) -> (String, String) {
        let made = self.post(user, "experiments/create", json!({ "name": experiment })).await.ok();
        let id = made["experiment_id"].as_str().unwrap().to_owned();
        let run = self.post(user, "runs/create", json!({ "experiment_id": id })).await.ok();
        (id, run["run"]["info"]["run_id"].as_str().unwrap().to_owned())
    }

    async fn grant(&self, by: &str, user: &str, kind: &str, resource: &str, permission: &str) -> Answer {
        let grant =
            json!({ "username": user, "resource_type": kind, "resource_id": resource, "permission": permission });
        self.call(by, Method::POST, "3.0/mlflow/users/permissions/grant", grant).await
    }
}

fn basic(user: &str, password: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[tokio::test]
async fn nobody_gets_in_unknown() {
    let server = Server::new().await;
    for header in ["", "Basic ???", "Bearer nothing", &basic("ann", "wrong horse"), &basic("nobody", PASSWORD)] {
        for path in
            ["/api/2.0/mlflow/experiments/search?max_results=1", &format!("{FILES}/0/x"), "/api/2.0/mlflow/none"]
        {
            let answer = server.signed(header, Method::GET, path, Vec::new()).await;
            assert_eq!((answer.status, answer.body["error_code"].as_str()), (401, Some("UNAUTHENTICATED")), "{path}");
            assert!(answer.header("www-authenticate").starts_with("Basic realm="));
        }
    }
    for open in ["/health", "/version"] {
        assert_eq!(server.signed("", Method::GET, open, Vec::new()).await.status, 200);
    }
    server.get("bob", "2.0/mlflow/experiments/search?max_results=1").await.ok();
}

#[tokio::test]
async fn guessing_is_bounded_and_whoever_is_known_keeps_working() {
    let server = Server::new().await;
    let path = "/api/2.0/mlflow/experiments/get?experiment_id=0";
    server.raw("ann", Method::GET, path, b"").await.ok();
    for _ in 0..3 {
        assert_eq!(server.signed(&basic("ann", "wrong horse"), Method::GET, path, Vec::new()).await.status, 401);
    }
    let spent = server.signed(&basic("ann", "wrong horse 2"), Method::GET, path, Vec::new()).await;
    assert_eq!((spent.status, spent.header("retry-after")), (429, "60"));
    server.raw("ann", Method::GET, path, b"").await.ok();
    server.raw("bob", Method::GET, path, b"").await.ok();
    server.clock.advance(std::time::Duration::from_secs(301));
    server.raw("ann", Method::GET, path, b"").await.ok();
}

#[tokio::test]
async fn a_burst_of_guesses_is_bounded_and_one_of_right_passwords_is_let_in() {
    let server = Server::new().await;
    let path = "/api/2.0/mlflow/experiments/get?experiment_id=0";
    let burst = async |password: &str| {
        let header = basic("ann", password);
        let tries = (0..12).map(|_| server.signed(&header, Method::GET, path, Vec::new()));
        let mut found: Vec<u16> = futures::future::join_all(tries).await.iter().map(|answer| answer.status).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(burst(PASSWORD).await, [200; 12]);
    assert_eq!(burst("wrong horse").await, [[401; 3].as_slice(), &[429; 9]].concat());
}

#[tokio::test]
async fn an_address_is_counted_where_it_is_one_clients() {
    let proxies = vec!["10.0.0.1".parse().unwrap()];
    let server = Server::with(AuthSettings { trusted_proxies: proxies, ..settings() }).await;
    let ask = async |peer: &str, forwarded: &str, user: &str, password: &str| {
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        let request = Request::get("/api/2.0/mlflow/experiments/get?experiment_id=0")
            .header("authorization", basic(user, password))
            .header("x-forwarded-for", forwarded)
            .extension(axum::extract::ConnectInfo(peer));
        server.send(request.body(Body::empty()).unwrap()).await.status
    };
    // Three wrong passwords, and then a right one of somebody else: at the address itself, behind a proxy that is
    // known, and behind another on this machine, whose header anybody could have written.
    // Each user who is let in is remembered, and so proves it once.
    for (row, (peer, forwarded, other, user, want)) in [
        ("192.0.2.7:1", "", "", "ann", 429),
        ("10.0.0.1:1", "198.51.100.1, 203.0.113.5", "198.51.100.1, 203.0.113.5", "ann", 429),
        ("10.0.0.1:1", "203.0.113.6", "203.0.113.7", "ann", 200),
        ("127.0.0.1:1", "203.0.113.8", "203.0.113.8", "bob", 200),
    ]
    .into_iter()
    .enumerate()
    {
        for guess in 0..3 {
            assert_eq!(ask(peer, forwarded, &format!("nobody {row} {guess}"), PASSWORD).await, 401, "{peer}");
        }
        assert_eq!(ask(peer, other, user, PASSWORD).await, want, "{peer} {other}");
    }
}

#[tokio::test]
async fn an_experiment_opens_level_by_level() {
    let server = Server::with(AuthSettings { default_permission: Permission::NoPermissions, ..settings() }).await;
    let (id, run) = server.run_of("ann", "secret").await;
    let file = format!("{FILES}/{id}/{run}/artifacts/f.txt");
    server.raw("ann", Method::PUT, &file, b"x").await.ok();

    let param = json!({ "run_id": run, "key": "k", "value": "1" });
    let query = format!("2.0/mlflow/runs/get?run_id={run}");
    // Status of: read the run, read the file, list, write a param, write the file, delete the run.
    let tries = async || {
        [
            server.get("bob", &query).await.status,
            server.raw("bob", Method::GET, &file, b"").await.status,
            server.get("bob", &format!("2.0/mlflow/artifacts/list?run_id={run}")).await.status,
            server.post("bob", "runs/log-parameter", param.clone()).await.status,
            server.raw("bob", Method::PUT, &file, b"y").await.status,
            server.post("bob", "runs/delete", json!({ "run_id": run })).await.status,
        ]
    };
    assert_eq!(tries().await, [403; 6]);
    assert_eq!(server.grant("bob", "bob", "experiment", &id, "MANAGE").await.status, 403, "nobody lets himself in");
    for (level, want) in [
        ("READ", [200, 200, 200, 403, 403, 403]),
        ("EDIT", [200, 200, 200, 200, 200, 403]),
        ("DENY", [403; 6]),
        ("MANAGE", [200; 6]),
    ] {
        server.grant("ann", "bob", "experiment", &id, level).await.ok();
        assert_eq!(tries().await, want, "{level}");
    }
    assert_eq!(server.raw("bob", Method::DELETE, &file, b"").await.status, 200);
}

#[tokio::test]
async fn a_run_is_watched_by_those_who_may_read_it() {
    let server = Server::with(AuthSettings { default_permission: Permission::NoPermissions, ..settings() }).await;
    let (id, run) = server.run_of("ann", "secret").await;
    let tail = format!("3.0/mlops/runs/{run}/tail");
    server.post("ann", "runs/update", json!({ "run_id": run, "status": "FINISHED" })).await.ok();
    assert_eq!(server.get("bob", &tail).await.status, 403);
    assert_eq!(server.signed("", Method::GET, &format!("/api/{tail}"), Vec::new()).await.status, 401);
    server.grant("ann", "bob", "experiment", &id, "READ").await.ok();
    for user in ["ann", "bob"] {
        let events = server.get(user, &tail).await.ok();
        let events = events.as_str().unwrap();
        assert!(events.contains("event: state\n") && events.contains("event: end\n"), "{events}");
    }
    assert_eq!(server.get("bob", "3.0/mlops/none").await.status, 403, "a new family is for administrators");
}

#[tokio::test]
async fn searches_and_listings_show_what_may_be_read() {
    let server = Server::with(AuthSettings { default_permission: Permission::NoPermissions, ..settings() }).await;
    let mut own = Vec::new();
    for n in 0..6 {
        let user = if n % 2 == 0 { "ann" } else { "bob" };
        let (id, run) = server.run_of(user, &format!("e{n}")).await;
        server.raw(user, Method::PUT, &format!("{FILES}/{id}/{run}/artifacts/f"), b"x").await.ok();
        let model = json!({ "name": format!("m{n}") });
        server.post(user, "registered-models/create", model).await.ok();
        own.push(id);
    }
    let search = json!({ "max_results": 2, "order_by": ["name ASC"] });
    let first = server.post("ann", "experiments/search", search.clone()).await.ok();
    let names = |page: &Value, list: &str| -> Vec<String> {
        let items = page[list].as_array().cloned().unwrap_or_default();
        items.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&first, "experiments"), ["e0", "e2"], "a page is filled with what may be read");
    let next = json!({ "max_results": 2, "order_by": ["name ASC"], "page_token": first["next_page_token"] });
    assert_eq!(names(&server.post("ann", "experiments/search", next).await.ok(), "experiments"), ["e4"]);
    let runs = server.post("ann", "runs/search", json!({ "experiment_ids": own })).await.ok();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 3);
    let none = server.post("ann", "runs/search", json!({ "experiment_ids": [own[1]] })).await.ok();
    assert_eq!(none.get("runs"), None);
    let models = server.get("ann", "2.0/mlflow/registered-models/search").await.ok();
    assert_eq!(names(&models, "registered_models"), ["m0", "m2", "m4"]);
    let roots = server.raw("ann", Method::GET, FILES, b"").await.ok();
    let roots: Vec<&str> = roots["files"].as_array().unwrap().iter().map(|f| f["path"].as_str().unwrap()).collect();
    assert_eq!(roots, [&own[0], &own[2], &own[4]]);
}

#[tokio::test]
async fn files_of_nobody_and_borrowed_directories_stay_closed() {
    let server = Server::with(AuthSettings { default_permission: Permission::NoPermissions, ..settings() }).await;
    let (id, run) = server.run_of("ann", "victim").await;
    server.raw("ann", Method::PUT, &format!("{FILES}/{id}/{run}/artifacts/f"), b"x").await.ok();
    // An experiment whose files are said to lie in those of another.
    let location = format!("mlflow-artifacts:/{id}/{run}/artifacts");
    let made = json!({ "name": "thief", "artifact_location": location });
    let made = server.post("bob", "experiments/create", made).await.ok();
    let made = server.post("bob", "runs/create", json!({ "experiment_id": made["experiment_id"] })).await.ok();
    let thief = made["run"]["info"]["run_id"].as_str().unwrap();
    for path in [
        format!("{id}/{run}/artifacts/f"),
        format!("{id}/{run}/artifacts/{thief}/artifacts/f"),
        id.clone(),
        "custom/f".to_owned(),
        "9999/x/artifacts/f".to_owned(),
    ] {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = server.raw("bob", method.clone(), &format!("{FILES}/{path}"), b"y").await;
            assert_eq!(answer.status, 403, "{method} {path}");
        }
    }
    for climb in ["..%2fx", "%2e%2e/x", "%252e%252e%252fx", "a%00", "a%5c..%5cx"] {
        for (method, family) in [(Method::PUT, "artifacts"), (Method::GET, "presigned")] {
            let uri = format!("/api/2.0/mlflow-artifacts/{family}/{climb}");
            assert_eq!(server.raw("bob", method, &uri, b"").await.status, 400, "{family} {climb}");
        }
    }
    let part = json!({ "path": "/home/bob/f", "num_parts": 2 });
    let uri = format!("2.0/mlflow-artifacts/mpu/create/{id}/{run}/artifacts");
    assert_eq!(server.call("bob", Method::POST, &uri, part.clone()).await.status, 403);
    let refused = server.call("ann", Method::POST, &uri, part).await;
    assert_eq!(refused.status, 501);
    assert!(refused.body["message"].as_str().unwrap().starts_with("Multipart upload is not supported"));
}

#[tokio::test]
async fn the_history_names_who_moved_an_alias_and_grants_follow_a_model() {
    let server = Server::new().await;
    let uri = json!({ "name": "m", "source": "s3://b/m" });
    server.post("ann", "registered-models/create", json!({ "name": "m" })).await.ok();
    let version = server.post("ann", "model-versions/create", uri.clone()).await.ok();
    assert_eq!(version["model_version"]["user_id"], "ann");
    let alias = json!({ "name": "m", "alias": "champion", "version": "1" });
    assert_eq!(server.post("bob", "registered-models/alias", alias.clone()).await.status, 403);
    server.post("ann", "registered-models/alias", alias).await.ok();
    let moves = server.registry.alias_history(&"m".parse().unwrap(), &PageRequest::default()).await.unwrap();
    assert_eq!(moves.items[0].actor, "ann");

    server.post("ann", "registered-models/rename", json!({ "name": "m", "new_name": "n" })).await.ok();
    let uri = json!({ "name": "n", "source": "s3://b/m" });
    server.post("ann", "model-versions/create", uri.clone()).await.ok();
    server.call("ann", Method::DELETE, "2.0/mlflow/registered-models/delete", json!({ "name": "n" })).await.ok();
    server.post("bob", "registered-models/create", json!({ "name": "n" })).await.ok();
    assert_eq!(server.post("ann", "model-versions/create", uri).await.status, 403, "the name has another owner now");
}

#[tokio::test]
async fn nothing_recorded_happens_without_its_record() {
    let server = Server::new().await;
    let (id, run) = server.run_of("ann", "e").await;
    let delete = json!({ "run_id": run });
    server.log.broken.store(true, SeqCst);
    assert_eq!(server.post("ann", "runs/delete", delete.clone()).await.status, 503);
    assert_eq!(server.post("ann", "experiments/delete", json!({ "experiment_id": id })).await.status, 503);
    assert_eq!(server.grant("ann", "bob", "experiment", &id, "EDIT").await.status, 503);
    let stage = async || {
        let run = server.get("ann", &format!("2.0/mlflow/runs/get?run_id={run}")).await.ok();
        run["run"]["info"]["lifecycle_stage"].as_str().unwrap().to_owned()
    };
    assert_eq!(stage().await, "active");
    server.log.broken.store(false, SeqCst);
    server.post("ann", "runs/delete", delete).await.ok();
    assert_eq!(stage().await, "deleted");
    let entry = server.log.entries.lock().unwrap().last().unwrap().clone();
    assert_eq!((entry.principal.name.as_str(), entry.action), ("ann", Action::Delete));
    assert_eq!((entry.resource, entry.details["run_id"].as_str()), (Resource::new("experiment", id), run.as_str()));
}

#[tokio::test]
async fn accounts_are_managed_by_administrators_and_passwords_by_their_owners() {
    let server = Server::new().await;
    let create = json!({ "username": "eve", "password": PASSWORD });
    assert_eq!(server.post("ann", "users/create", create.clone()).await.status, 403);
    let user = server.post("root", "users/create", create.clone()).await.ok()["user"].clone();
    assert_eq!((&user["username"], &user["is_admin"]), (&json!("eve"), &json!(false)));
    let taken = server.post("root", "users/create", create).await;
    assert_eq!((taken.status, taken.body["error_code"].as_str()), (400, Some("RESOURCE_ALREADY_EXISTS")));
    let short = server.post("root", "users/create", json!({ "username": "x", "password": "short" })).await;
    assert_eq!(short.status, 400);

    let patch = async |by: &str, call: &str, body: Value| {
        server.call(by, Method::PATCH, &format!("2.0/mlflow/users/{call}"), body).await
    };
    let new = "battery staple";
    let alone = json!({ "username": "eve", "password": new });
    assert_eq!(patch("eve", "update-password", alone.clone()).await.status, 400, "the current one is asked for");
    assert_eq!(patch("ann", "update-password", alone).await.status, 403);
    let both = json!({ "username": "eve", "password": new, "current_password": PASSWORD });
    patch("eve", "update-password", both).await.ok();
    let current = "/api/2.0/mlflow/users/current";
    assert_eq!(server.raw("eve", Method::GET, current, b"").await.status, 401, "the old one ends at once");
    let known = server.signed(&basic("eve", new), Method::GET, current, Vec::new()).await.ok();
    assert_eq!((&known["user"]["username"], &known["is_basic_auth"]), (&json!("eve"), &json!(true)));

    assert_eq!(server.get("ann", "2.0/mlflow/users/get?username=eve").await.status, 403);
    assert_eq!(server.get("ann", "2.0/mlflow/users/list").await.status, 403);
    patch("root", "update-admin", json!({ "username": "ann", "is_admin": true })).await.ok();
    let listed = server.get("ann", "2.0/mlflow/users/list").await.ok();
    assert_eq!(listed["users"].as_array().unwrap().len(), 4);
    let delete = async |user: &str| {
        server.call("root", Method::DELETE, "2.0/mlflow/users/delete", json!({ "username": user })).await.status
    };
    assert_eq!((delete("root").await, delete("eve").await, delete("eve").await), (400, 200, 404));
    let own = server.call("root", Method::DELETE, "2.0/mlflow/users/delete", json!({ "username": "root" })).await;
    assert_eq!(own.body["error_code"], "BAD_REQUEST");
}

#[tokio::test]
async fn a_clock_that_is_set_back_locks_nobody_out_for_longer() {
    let server = Server::new().await;
    let current = "/ajax-api/2.0/mlflow/users/current";
    let attempt =
        async |password: &str| server.signed(&basic("bob", password), Method::GET, current, Vec::new()).await.status;
    for _ in 0..3 {
        assert_eq!(attempt("a wrong horse").await, 401);
    }
    server.clock.set(Timestamp::from_millis(-1_000_000_000));
    assert_eq!(attempt("a wrong horse").await, 429, "and lets nobody guess");
    server.clock.advance(std::time::Duration::from_secs(301));
    assert_eq!(attempt(PASSWORD).await, 200);
}

#[tokio::test]
async fn tokens_open_for_their_user_until_they_expire() {
    let server = Server::new().await;
    let made = server.post("ann", "users/tokens/create", json!({ "label": "ci", "expires_in_seconds": 60 })).await.ok();
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let current = "/ajax-api/2.0/mlflow/users/current";
    let known = server.signed(&bearer, Method::GET, current, Vec::new()).await.ok();
    assert_eq!(known["user"]["username"], "ann");
    let listed = server.get("ann", "2.0/mlflow/users/tokens/list").await.ok();
    assert_eq!(listed["tokens"], json!([made["token_info"]]), "the token itself is shown once");
    assert_eq!(server.post("bob", "users/tokens/create", json!({ "username": "ann" })).await.status, 403);
    server.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(server.signed(&bearer, Method::GET, current, Vec::new()).await.status, 401);
    let lasting = server.post("ann", "users/tokens/create", json!({})).await.ok();
    let bearer = format!("Bearer {}", lasting["token"].as_str().unwrap());
    server.signed(&bearer, Method::GET, current, Vec::new()).await.ok();
    let gone = json!({ "token_id": lasting["token_info"]["id"] });
    server.call("ann", Method::DELETE, "2.0/mlflow/users/tokens/delete", gone).await.ok();
    assert_eq!(server.signed(&bearer, Method::GET, current, Vec::new()).await.status, 401);
}

#[tokio::test]
async fn roles_and_both_forms_of_permissions_are_served() {
    let server = Server::with(AuthSettings { default_permission: Permission::NoPermissions, ..settings() }).await;
    let (id, _) = server.run_of("ann", "e").await;
    let role = json!({ "name": "team", "workspace": "default", "description": "d" });
    let post = async |path: &str, body: Value| {
        server.call("root", Method::POST, &format!("3.0/mlflow/{path}"), body).await.ok()
    };
    assert_eq!(server.call("ann", Method::POST, "3.0/mlflow/roles/create", role.clone()).await.status, 403);
    let role = post("roles/create", role).await["role"].clone();
    assert_eq!(role["permissions"], json!([]));
    let grant =
        json!({ "role_id": role["id"], "resource_type": "experiment", "resource_pattern": "*", "permission": "READ" });
    let grant = post("roles/permissions/add", grant).await["role_permission"].clone();
    post("roles/assign", json!({ "username": "bob", "role_id": role["id"] })).await;
    let seen = format!("2.0/mlflow/experiments/get?experiment_id={id}");
    server.get("bob", &seen).await.ok();
    let effective = format!("3.0/mlflow/users/permissions/get?username=bob&resource_type=experiment&resource_id={id}");
    assert_eq!(server.get("bob", &effective).await.ok(), json!({ "allowed": false, "permission": "READ" }));
    let update = json!({ "role_permission_id": grant["id"], "permission": "EDIT" });
    server.call("root", Method::PATCH, "3.0/mlflow/roles/permissions/update", update).await.ok();
    assert_eq!(server.get("bob", &effective).await.ok(), json!({ "allowed": true, "permission": "EDIT" }));
    server.call("root", Method::DELETE, "3.0/mlflow/roles/delete", json!({ "role_id": role["id"] })).await.ok();
    assert_eq!(server.get("bob", &seen).await.status, 403);

    let body = |permission: &str| json!({ "experiment_id": id, "username": "bob", "permission": permission });
    let older = "experiments/permissions";
    let made = server.post("ann", &format!("{older}/create"), body("READ")).await.ok();
    assert_eq!(made["experiment_permission"]["permission"], "READ");
    assert_eq!(server.post("ann", &format!("{older}/create"), body("READ")).await.status, 400);
    server.get("bob", &seen).await.ok();
    server.call("ann", Method::PATCH, &format!("2.0/mlflow/{older}/update"), body("EDIT")).await.ok();
    let query = format!("2.0/mlflow/{older}/get?experiment_id={id}&username=bob");
    assert_eq!(server.get("ann", &query).await.ok()["experiment_permission"]["permission"], "EDIT");
    assert_eq!(server.get("bob", &query).await.status, 403);
    server.call("ann", Method::DELETE, &format!("2.0/mlflow/{older}/delete"), body("EDIT")).await.ok();
    assert_eq!((server.get("bob", &seen).await.status, server.get("ann", &query).await.status), (403, 404));
    assert_eq!(server.grant("root", "bob", "starship", "x", "READ").await.status, 400);
    // MLflow has these calls no more: who only asks whether they are there hears that they are not.
    let calls = [(Method::POST, "create"), (Method::GET, "get"), (Method::PATCH, "update"), (Method::DELETE, "delete")];
    for (method, call) in calls {
        for family in ["experiments", "registered-models"] {
            let request =
                Request::builder().method(&method).uri(format!("/api/2.0/mlflow/{family}/permissions/{call}"));
            let request = request.header("authorization", basic("root", PASSWORD)).body(Body::empty()).unwrap();
            assert_eq!(server.send(request).await.status, 404, "{method} {family} {call}");
        }
    }
}

#[tokio::test]
async fn runs_whose_experiment_is_not_known_are_looked_up_together() {
    let server = Server::new().await;
    let (id, _) = server.run_of("ann", "e").await;
    let store = tracking(Arc::clone(&server.meta.meta)).await;
    let experiment: ExperimentId = id.parse().unwrap();
    let mut runs = Vec::new();
    for _ in 0..30 {
        runs.push(store.create_run(CreateRun::new(experiment)).await.unwrap().id.to_string());
    }
    let count = async |method: Method, uri: &str, body: &Value, want: u16| {
        let before = server.meta.other.load(SeqCst);
        assert_eq!(server.raw("bob", method, uri, body.to_string().as_bytes()).await.status, want, "{uri}");
        server.meta.other.load(SeqCst) - before
    };
    let get = |path: &str| format!("/api/2.0/mlflow/{path}");
    let sampled: String = runs.iter().map(|run| format!("&run_ids={run}")).collect();
    let sampled = get(&format!("metrics/get-history-bulk-interval?metric_key=m{sampled}"));
    let first = count(Method::GET, &sampled, &Value::Null, 200).await;
    assert_eq!(first - count(Method::GET, &sampled, &Value::Null, 200).await, 1, "all homes are one query");

    let fresh = store.create_run(CreateRun::new(experiment)).await.unwrap();
    let one = get(&format!("runs/get?run_id={}", fresh.id));
    let first = count(Method::GET, &one, &Value::Null, 200).await;
    assert_eq!(first, count(Method::GET, &one, &Value::Null, 200).await, "a run is read once");

    for _ in 0..30 {
        store.create_run(CreateRun::new(experiment)).await.unwrap();
    }
    let search = json!({ "experiment_ids": [id] });
    let first = count(Method::POST, &get("runs/search"), &search, 200).await;
    let second = count(Method::POST, &get("runs/search"), &search, 200).await;
    assert_eq!(first - second, 1, "a page is known when it is read, and its runs are kept");

    let deep = format!("{FILES}/{id}/models/m-1/artifacts/a/b/c/d/e/f");
    assert_eq!(count(Method::GET, &deep, &Value::Null, 404).await, 1, "every name in a path is one query");
}

/// Lets the role `reader` read.
#[derive(Debug)]
struct Readers;

#[async_trait]
impl Authorizer for Readers {
    async fn authorize(&self, principal: &Principal, action: Action, _: &Resource) -> Result<()> {
        let reads = action == Action::Read && principal.roles.iter().any(|role| role == "reader");
        if reads { Ok(()) } else { Err(Error::permission_denied("readers read")) }
    }
}

async fn plain(change: impl Fn(MlflowServer) -> MlflowServer) -> Router {
    let meta = in_memory().await;
    let (tracking, registry) = (tracking(Arc::clone(&meta)).await, registry(meta).await);
    change(MlflowServer::new(Arc::new(tracking), Arc::new(registry), ArtifactStore::in_memory())).router()
}

#[tokio::test]
async fn a_principal_of_an_outer_layer_is_believed() {
    let behind: AuthBuilder = Auth::behind(Arc::new(Readers));
    let auth = behind.build().unwrap();
    let router = plain(|server| server.with_auth(auth.clone())).await;
    let status = async |principal: Option<Principal>, path: &str| {
        let mut request = Request::get(format!("/api/2.0/mlflow/{path}")).body(Body::empty()).unwrap();
        if let Some(principal) = principal {
            request.extensions_mut().insert(principal);
        }
        router.clone().oneshot(request).await.unwrap().status().as_u16()
    };
    let reader = Principal::new("ann").with_role("reader");
    let experiment = "experiments/get?experiment_id=0";
    assert_eq!(status(None, experiment).await, 401);
    assert_eq!(status(Some(Principal::new("eve")), experiment).await, 403);
    assert_eq!(status(Some(reader.clone()), experiment).await, 200);
    assert_eq!(status(Some(reader.clone()), "users/list").await, 400, "users are kept outside");
    assert_eq!(status(Some(reader), "webhooks/list").await, 403, "what is not guarded is for administrators");
}

#[tokio::test]
async fn a_role_from_outside_makes_an_administrator_only_where_the_settings_name_it() {
    let status = async |admin_role: Option<&str>, role: &str| {
        let settings = AuthSettings { admin_role: admin_role.map(str::to_owned), ..settings() };
        let auth = Auth::behind(Arc::new(Readers)).with_settings(settings).build().unwrap();
        let mut request = Request::get("/api/2.0/mlflow/webhooks/list").body(Body::empty()).unwrap();
        request.extensions_mut().insert(Principal::new("ann").with_role(role));
        plain(|server| server.with_auth(auth.clone())).await.oneshot(request).await.unwrap().status().as_u16()
    };
    // An administrator learns that this server has no webhooks.
    for (named, role, want) in
        [(None, "admin", 403), (Some("ml-ops"), "admin", 403), (Some("ml-ops"), "ml-ops", 501), (None, "", 403)]
    {
        assert_eq!(status(named, role).await, want, "{named:?} {role}");
    }
}

#[tokio::test]
async fn users_and_grants_are_asked_for_as_often_as_it_takes() {
    let server = Server::new().await;
    let (id, run) = server.run_of("ann", "e").await;
    let mut experiments = vec![id];
    for n in 0..8 {
        server.post("ann", "registered-models/create", json!({ "name": format!("m{n}") })).await.ok();
        experiments.push(server.run_of("ann", &format!("e{n}")).await.0);
    }
    let made = server.post("bob", "users/tokens/create", json!({})).await.ok();
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let count = async |header: &str, method: Method, path: &str, body: Value| {
        let before = server.meta.access.load(SeqCst);
        let uri = format!("/api/2.0/mlflow/{path}");
        server.signed(header, method, &uri, body.to_string().into_bytes()).await.ok();
        server.meta.access.load(SeqCst) - before
    };
    // One query for who asks, and one more for a token; one for what they may do, however many things it is about.
    let (get, search) = (format!("runs/get?run_id={run}"), json!({ "experiment_ids": experiments }));
    let bob = basic("bob", PASSWORD);
    for (header, want) in [(&bob, 2), (&bearer, 3)] {
        assert_eq!(count(header, Method::GET, &get, Value::Null).await, want);
        assert_eq!(count(header, Method::POST, "runs/search", search.clone()).await, want);
        assert_eq!(count(header, Method::GET, "registered-models/search", Value::Null).await, want);
    }
    assert_eq!(count(&basic("root", PASSWORD), Method::POST, "runs/search", search).await, 1);
}

#[tokio::test]
async fn other_names_and_pages_are_kept_out() {
    let router =
        plain(|server| server.with_allowed_hosts(["mlflow.corp"]).with_allowed_origins(["https://app.corp"])).await;
    let send = async |method: &str, uri: &str, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
    };
    let get = "/api/2.0/mlflow/experiments/get?experiment_id=0";
    for (host, want) in [("127.0.0.1:5000", 200), ("mlflow.corp", 200), ("rebound.evil.example:5000", 403)] {
        let answer = send("GET", get, &[("host", host)]).await;
        assert_eq!(answer.status().as_u16(), want, "{host}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers()["x-frame-options"], "SAMEORIGIN");
    }
    assert_eq!(send("GET", "/health", &[("host", "anything")]).await.status(), 200);
    let origin = [("host", "mlflow.corp"), ("origin", "https://app.corp")];
    let read = send("GET", get, &origin).await;
    assert_eq!(read.headers()["access-control-allow-origin"], "https://app.corp");
    let asked = [origin[0], origin[1], ("access-control-request-method", "POST")];
    let asked = send("OPTIONS", "/api/2.0/mlflow/runs/create", &asked).await;
    assert_eq!((asked.status().as_u16(), asked.headers().contains_key("access-control-allow-methods")), (204, true));
    let foreign = send("GET", get, &[("host", "mlflow.corp"), ("origin", "https://evil.example")]).await;
    assert!(!foreign.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_server_at_work_sends_the_next_request_away() {
    let limits = ServerLimits { requests_max: 1, ..ServerLimits::default() };
    let router = plain(|server| server.with_limits(limits.clone()).unwrap()).await;
    let send = async |method: &str, uri: &str, body: &'static str| {
        let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    };
    let api = "/api/2.0/mlflow";
    let made = send("POST", &format!("{api}/runs/create"), "{\"experiment_id\": \"0\"}").await.into_body();
    let made: Value = serde_json::from_slice(&to_bytes(made, usize::MAX).await.unwrap()).unwrap();
    let run = made["run"]["info"]["run_id"].as_str().unwrap();
    let file = format!("{FILES}/0/{run}/artifacts/f");
    assert_eq!(send("PUT", &file, "0123456789").await.status(), 200);
    let get = format!("{api}/runs/get?run_id={run}");
    for long in [
        file,
        format!("/get-artifact?run_uuid={run}&path=f"),
        format!("{api}/metrics/get-history?run_id={run}&metric_key=m"),
        format!("{api}/runs/search"),
    ] {
        let method = if long.ends_with("search") { "POST" } else { "GET" };
        let answer = send(method, &long, "{\"experiment_ids\": [\"0\"]}").await;
        assert_eq!(answer.status(), 200, "{long}");
        let refused = send("GET", &get, "").await;
        let asked = refused.headers()["retry-after"].to_str().unwrap().to_owned();
        assert_eq!((refused.status().as_u16(), asked.as_str()), (503, "1"), "{long}");
        let refused = to_bytes(refused.into_body(), usize::MAX).await.unwrap();
        let refused: Value = serde_json::from_slice(&refused).unwrap();
        assert_eq!(refused["error_code"], "TEMPORARILY_UNAVAILABLE");
        assert_eq!(send("GET", "/health", "").await.status(), 200);
        to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        assert_eq!(send("GET", &get, "").await.status(), 200, "{long}");
    }
}

#[tokio::test]
async fn what_the_parts_of_an_upload_are_is_said_in_time() {
    let router = plain(|server| server).await;
    tokio::time::pause();
    for call in ["create", "complete", "abort"] {
        let silent = Body::from_stream(futures::stream::pending::<std::result::Result<String, std::io::Error>>());
        let request = Request::post(format!("/api/2.0/mlflow-artifacts/mpu/{call}/x"));
        let request = request.header("content-type", "application/json").body(silent).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), 504, "{call}");
    }
}
