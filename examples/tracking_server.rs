//! An MLflow tracking server and model registry in one program: one database file and one directory.
//!
//! ```text
//! cargo run --example tracking_server -- --home tracking --port 5000
//! export MLFLOW_TRACKING_URI=http://127.0.0.1:5000   # then use the mlflow client as ever
//! ```
//!
//! The same address has pages for people. It asks nobody who they are. With `--admin NAME` it does: the first start makes that user with the password in
//! `MLFLOW_AUTH_ADMIN_PASSWORD`, who manages the others by MLflow's `AuthServiceClient`.
//!
//! The secrets of the AI gateway's configuration and of webhooks are sealed under the passphrase in
//! `MLFLOW_CRYPTO_KEK_PASSPHRASE`, or else under the key in the file `gateway.key` of the home directory, which the first
//! start makes. A start with the key of before as well (`--former-key`, or `MLFLOW_CRYPTO_KEK_PASSPHRASE_FORMER`) brings them
//! under the key of now; one that was killed meanwhile is given again.
//!
//! Ctrl-C or a termination signal ends it after the last answer.

#[path = "tracking_server/keys.rs"]
mod keys;
#[path = "common/program.rs"]
mod program;
#[path = "common/stop_signal.rs"]
mod stop_signal;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use axum::serve::ListenerExt as _;
use clap::Parser;
use mlops::{
    Error, Result,
    registry::{
        ArtifactStore, MlflowServer, SqlEvaluationStore, SqlLoggedModelStore, SqlModelRegistry, SqlTraceStore,
        SqlTrackingStore,
        access::SqlAccessStore,
        gateway::SqlGatewayStore,
        mlflow::Auth,
        tracking::tail::{LiveTail, TailSettings},
        webhooks::{HttpWebhookSender, SqlWebhookStore, WebhookSettings, WebhookTargets, WebhookWorker},
    },
    store::{BlobStore, Home, MetaStore, SqliteMetaStore, SqliteSettings},
};
use tokio::{net::TcpListener, runtime::Builder};
use url::Url;

use self::{keys::SealingKeys, program::end, stop_signal::stop_signal};

/// Threads for the database and files: more would wait for the same disk, and each keeps memory of its own.
const BLOCKING_THREADS: usize = 4;
/// Connections to PostgreSQL at most.
#[cfg(feature = "postgres")]
const CONNECTIONS_MAX: u32 = 16;

/// The variable by which secrets may send requests to private addresses, as with MLflow's own server.
const PRIVATE_PROVIDERS: &str = "MLFLOW_GATEWAY_API_BASE_ALLOW_PRIVATE_IPS";

/// The variable with a regular expression for the sources of model versions, as with MLflow's own server.
const SOURCE_PATTERN: &str = "MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX";

/// The variable by which webhooks to private addresses are allowed, as with MLflow's own server.
const PRIVATE_TARGETS: &str = "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS";

/// Serves MLflow's REST API.
#[derive(Debug, Parser)]
#[command(name = "tracking_server")]
struct Options {
    /// Directory of the database and the files; created when absent.
    #[arg(long, value_name = "DIR")]
    home: PathBuf,
    /// Port on this machine; 0 takes a free one.
    #[arg(long, value_name = "P", default_value_t = 5000)]
    port: u16,
    /// Keeps the rows here instead, such as postgres://user@host/name.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Keeps the files here instead: a URL such as file:///srv/artifacts, or a path.
    #[arg(long, value_name = "URL")]
    artifacts: Option<String>,
    /// Where clients put the files of new experiments: through this server unless given, else a URL such as
    /// s3://bucket/mlflow or a directory of this machine, which is then as one of --local-artifacts.
    #[arg(long, value_name = "URL")]
    default_artifact_root: Option<String>,
    /// Another directory of this machine in which clients may keep the files of an experiment; may be repeated. Whoever
    /// can write there can make this server read and write whatever its user can, by a link put in its way: name only
    /// directories of people you trust with that.
    #[arg(long, value_name = "DIR")]
    local_artifacts: Vec<PathBuf>,
    /// An option of the store of the files, such as aws_endpoint=http://127.0.0.1:9000; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    artifact_option: Vec<String>,
    /// Asks everybody who they are; the first user has this name.
    #[arg(long, value_name = "NAME")]
    admin: Option<String>,
    /// Another name by which the server may be asked, such as mlflow.example.com; may be repeated.
    #[arg(long, value_name = "HOST")]
    allowed_host: Vec<String>,
    /// The key file of before: secrets that are under its key are brought under the key of now.
    #[arg(long, value_name = "FILE")]
    former_key: Option<PathBuf>,
}

fn main() -> ExitCode {
    end(Builder::new_multi_thread().max_blocking_threads(BLOCKING_THREADS), run(&Options::parse()))
}

async fn run(options: &Options) -> Result<()> {
    let home = Home::open(&options.home)?;
    let meta = open_database(options, &home).await?;
    let files = match &options.artifacts {
        Some(url) => match directory(url)? {
            Some(directory) => ArtifactStore::local(&directory)?,
            None => ArtifactStore::from_url_with(url, &artifact_options(options)?)?,
        },
        None => ArtifactStore::local(&home.join("artifacts"))?,
    };
    let mut names = options.allowed_host.iter().filter(|host| !host.starts_with('*'));
    let files = names.try_fold(files, |files, host| files.with_server(&format!("http://{host}")))?;
    let root = options.default_artifact_root.as_deref();
    let shared = root.map(directory).transpose()?.flatten();
    let mut tracking = SqlTrackingStore::builder(Arc::clone(&meta));
    if let Some(root) = root {
        tracking = tracking.with_artifact_root(artifact_root(root)?);
    }
    let tracking = tracking.build().await?;
    let models = SqlLoggedModelStore::builder(Arc::clone(&meta), Arc::new(tracking.clone())).build().await?;
    let registry = SqlModelRegistry::builder(Arc::clone(&meta), BlobStore::local(&home.join("blobs"))?);
    let keys = SealingKeys::read(&home, options.former_key.as_deref())?;
    let (hooks, worker) = webhooks(Arc::clone(&meta), &keys).await?;
    let gateway = gateway(Arc::clone(&meta), &keys).await?;
    keys.rewrap(&gateway, &hooks).await?;
    let registry = registry.with_changes(hooks);
    let traces = SqlTraceStore::builder(Arc::clone(&meta)).build().await?;
    let evaluation = SqlEvaluationStore::builder(Arc::clone(&meta)).build().await?;
    let registry = Arc::new(registry.build().await?);
    let live = LiveTail::new(Arc::new(tracking), TailSettings::default())?;
    let mut server = MlflowServer::new(Arc::new(live.clone()), Arc::<SqlModelRegistry>::clone(&registry), files)
        .with_ui()
        .with_packages(registry)
        .with_allowed_hosts(&options.allowed_host)
        .with_logged_models(Arc::new(models))
        .with_traces(Arc::new(traces))
        .with_evaluation(Arc::new(evaluation))
        .with_gateway(Arc::new(gateway))
        .with_tail(live.clone());
    if let Some(pattern) = variable(SOURCE_PATTERN) {
        server = server.with_source_pattern(&pattern)?;
    }
    for directory in shared.iter().chain(&options.local_artifacts) {
        server = server.with_local_directory(directory)?;
    }
    if let Some(admin) = &options.admin {
        server = server.with_auth(open_auth(admin, meta).await?);
    }
    let worker = Arc::new(worker);
    let running = Arc::clone(&worker);
    tokio::spawn(async move { running.run(stop_signal()).await });
    let server = server.with_webhooks(worker);
    let service = server.router().into_make_service_with_connect_info::<SocketAddr>();

    let listener = TcpListener::bind(("127.0.0.1", options.port)).await.map_err(|error| {
        Error::unavailable(format!("cannot listen on port {}; choose another --port", options.port)).with_source(error)
    })?;
    let address =
        listener.local_addr().map_err(|error| Error::unavailable("the socket has no address").with_source(error))?;
    println!("http://{address}");
    let stop = async move {
        stop_signal().await;
        live.close();
    };
    let listener = listener.tap_io(|stream| {
        // An answer in several pieces need not wait for the client to confirm the first. It is only slower without.
        drop(stream.set_nodelay(true));
    });
    let served = axum::serve(listener, service).with_graceful_shutdown(stop).await;
    served.map_err(|error| Error::unavailable("the server ended").with_source(error))
}

/// Webhooks, and who delivers to them; to `https` with the feature `webhooks-https`. Private addresses, this machine among
/// them, are refused unless `MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS` is `true` or `1`, as with MLflow's own server.
async fn webhooks(meta: Arc<dyn MetaStore>, keys: &SealingKeys) -> Result<(Arc<SqlWebhookStore>, WebhookWorker)> {
    let private = flag(PRIVATE_TARGETS)?;
    let targets = WebhookTargets { http: true, private };
    let store =
        SqlWebhookStore::builder(meta).with_targets(targets).with_keys(Arc::clone(&keys.provider), &keys.key_id);
    let store = Arc::new(store.with_unnamed_key(&keys.former_id).build().await?);
    let sender = Arc::new(HttpWebhookSender::new(targets)?);
    let worker = WebhookWorker::new(Arc::<SqlWebhookStore>::clone(&store), sender, WebhookSettings::default())?;
    Ok((store, worker))
}

/// What an AI gateway is configured by.
async fn gateway(meta: Arc<dyn MetaStore>, keys: &SealingKeys) -> Result<SqlGatewayStore> {
    let private = flag(PRIVATE_PROVIDERS)?;
    let targets = WebhookTargets { http: private, private };
    let builder = SqlGatewayStore::builder_with_keys(meta, Arc::clone(&keys.provider), &keys.key_id);
    builder.with_targets(targets).build().await
}

/// A variable of the environment that says something.
#[allow(clippy::disallowed_methods, reason = "a program reads its environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A truth value as MLflow writes it in the environment.
fn flag(name: &str) -> Result<bool> {
    let Some(value) = variable(name) else { return Ok(false) };
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid_argument(format!("{name} is {value:?}; it must be true, false, 1 or 0"))),
    }
}

/// Users in the same database; the password of the first is in the environment, out of the list of processes.
async fn open_auth(admin: &str, meta: Arc<dyn MetaStore>) -> Result<Auth> {
    let auth = Auth::with_users(Arc::new(SqlAccessStore::open(meta).await?)).build()?;
    let password = variable("MLFLOW_AUTH_ADMIN_PASSWORD").unwrap_or_default();
    auth.ensure_admin(admin, &password).await?;
    Ok(auth)
}

fn artifact_options(options: &Options) -> Result<Vec<(String, String)>> {
    let pair = |text: &String| {
        let (key, value) = text.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    };
    let pairs: Option<Vec<_>> = options.artifact_option.iter().map(pair).collect();
    pairs.ok_or_else(|| Error::invalid_argument("--artifact-option is written KEY=VALUE"))
}

/// The directory that a path or a `file:` URL means; none for other URLs.
fn directory(place: &str) -> Result<Option<PathBuf>> {
    let url = match Url::parse(place) {
        Ok(url) if url.scheme() == "file" => url,
        Ok(_) => return Ok(None),
        Err(_) => return Ok(Some(PathBuf::from(place))),
    };
    // A relative path would be taken from the root, and what follows `?` or `#` left out.
    let whole = place[url.scheme().len()..].starts_with(":/") && url.query().is_none() && url.fragment().is_none();
    let path = url.to_file_path().ok().filter(|_| whole);
    let wrong = || {
        Error::invalid_argument(format!(
            "{place:?} names no directory of this machine; write a path, or file:///PATH with ? and # as %3F and %23"
        ))
    };
    path.ok_or_else(wrong).map(Some)
}

/// A root as clients have to be told it: absolute, so that it means the same in every directory.
fn artifact_root(root: &str) -> Result<String> {
    let Some(directory) = directory(root)? else { return Ok(root.to_owned()) };
    let wrong = || Error::invalid_argument(format!("--default-artifact-root {root:?} is no directory"));
    let absolute = std::path::absolute(directory).map_err(|error| wrong().with_source(error))?;
    Url::from_file_path(absolute).map(String::from).map_err(|()| wrong())
}

/// The database of the URL, else a file in the home directory.
async fn open_database(options: &Options, home: &Home) -> Result<Arc<dyn MetaStore>> {
    let sqlite = SqliteSettings::default();
    let Some(url) = &options.database_url else {
        return Ok(Arc::new(SqliteMetaStore::open(&home.join("meta.db"), sqlite).await?));
    };
    if let Some(path) = url.strip_prefix("sqlite://") {
        return Ok(Arc::new(SqliteMetaStore::open(Path::new(path), sqlite).await?));
    }
    #[cfg(feature = "postgres")]
    if url.starts_with("postgres") {
        return Ok(Arc::new(mlops::store::PostgresMetaStore::connect(url, CONNECTIONS_MAX).await?));
    }
    Err(Error::invalid_argument(format!(
        "--database-url {url:?} is not understood; write sqlite://PATH, or postgres://... with the feature `postgres`"
    )))
}
