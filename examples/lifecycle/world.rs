//! The application: every part of the SDK, wired by hand as a service would.
//!
//! Everything durable lies in the home directory: `meta.db` (tracking, registry, journal, audit),
//! `blobs/` (model packages), `features/` (Delta tables), `online/` (redb, one file a run, can be
//! deleted at any time).

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use mlops::{
    core::{
        Alias, InProcessBus, ModelName, ModelPackage, ModelRef, ModelVersionId, Principal, Result, ResultExt as _,
        Timestamp, Version,
    },
    features::{Durability, FeatureStore, PredictionLog, PredictionLogSettings, RedbOnlineStore},
    governance::{AccessPolicy, AuditLog},
    pipeline::{CancellationToken, Dag, RunReport, Runner, SqlJournal},
    registry::{
        Actor, CreateModel, ModelRegistry as _, ModelRegistryExt as _, ModelSource as _, SqlModelRegistry,
        SqlTrackingStore,
    },
    serve::{FeatureLookup, ModelConfig, ModelRepository, Runtimes, Server},
    store::{BlobStore, Home, SqliteMetaStore},
    train::{flavors, load_package},
};
use mlops_core::testing::ManualClock;
use serde_json::Value;
use tokio::{net::TcpListener, sync::OnceCell, task::JoinHandle};

use crate::{
    console::Console,
    stream::Stream,
    traffic::{AS_OF, Client},
    training::FrameCache,
    views::Definitions,
};

/// The alias that the server follows.
pub const CHAMPION: &str = "champion";

/// All parts, ready to work.
pub struct World {
    pub stream: Arc<Stream>,
    pub definitions: Definitions,
    pub model: ModelName,
    pub champion: Alias,
    pub seed: u64,
    pub trials: usize,
    /// Threads for cross-validation.
    pub threads: NonZeroUsize,
    /// The time of the replay; alias moves and audit rows carry it.
    pub clock: Arc<ManualClock>,
    pub features: Arc<FeatureStore>,
    pub registry: Arc<SqlModelRegistry>,
    pub tracking: Arc<SqlTrackingStore>,
    pub audit: Arc<AuditLog>,
    pub journal: Arc<SqlJournal>,
    pub runner: Runner,
    pub bus: Arc<InProcessBus>,
    pub stop: CancellationToken,
    pub console: Console,
    pub frames: FrameCache,
    predictions: OnceCell<Arc<PredictionLog>>,
    predictions_dir: String,
    server: Mutex<Option<Running>>,
    port: u16,
}

/// A model server on loopback and a client for it.
#[derive(Debug)]
struct Running {
    server: Server,
    client: Arc<Client>,
    shutdown: CancellationToken,
    task: JoinHandle<Result<()>>,
}

/// What the caller decides.
pub struct WorldOptions {
    pub seed: u64,
    pub trials: usize,
    pub port: u16,
    pub stop: CancellationToken,
    pub console: Console,
}

impl World {
    /// Opens or creates everything below `home` for run number `campaign`.
    pub async fn open(
        home: &Home,
        meta: Arc<SqliteMetaStore>,
        stream: Stream,
        campaign: u64,
        options: WorldOptions,
    ) -> Result<Self> {
        let definitions = Definitions::new(&stream)?;
        let clock = Arc::new(ManualClock::at(stream.start()));
        let bus = Arc::new(InProcessBus::default());
        let audit = Arc::new(AuditLog::open(Arc::clone(&meta) as _).await?);
        let model = ModelName::new(&stream.name)?;
        let registry = SqlModelRegistry::builder(Arc::clone(&meta) as _, BlobStore::local(&home.join("blobs"))?)
            .with_clock(Arc::clone(&clock) as _)
            .with_bus(Arc::clone(&bus) as _)
            .with_audit(Arc::clone(&audit) as _)
            .with_authorizer(Arc::new(policy()?))
            .build()
            .await?;
        registry.ensure_model(&model, CreateModel { actor: actor(), ..CreateModel::default() }).await?;
        let tracking =
            SqlTrackingStore::builder(Arc::clone(&meta) as _).with_clock(Arc::clone(&clock) as _).build().await?;
        let journal = Arc::new(SqlJournal::open(meta as _).await?);
        // Nobody else works on this home: it is locked. So leases of a run that was killed are ours.
        let runner = Runner::builder(Arc::clone(&journal) as _)
            .with_owner("lifecycle")
            .with_bus(Arc::clone(&bus) as _)
            .build()?;
        let features = open_features(home, &definitions, campaign, Arc::clone(&bus)).await?;
        Ok(Self {
            model,
            champion: Alias::new(CHAMPION)?,
            seed: options.seed,
            trials: options.trials,
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            clock,
            features: Arc::new(features),
            predictions: OnceCell::new(),
            predictions_dir: home.join("predictions").display().to_string(),
            registry: Arc::new(registry),
            tracking: Arc::new(tracking),
            audit,
            journal,
            runner,
            bus,
            stop: options.stop,
            console: options.console,
            frames: FrameCache::default(),
            server: Mutex::new(None),
            port: options.port,
            definitions,
            stream: Arc::new(stream),
        })
    }

    /// Runs or resumes a DAG; a failed task becomes the error, Ctrl-C becomes `Cancelled`.
    pub async fn run(&self, dag: &Dag, key: &str, params: Value) -> Result<RunReport> {
        let report = self.runner.run_until(dag, key, params, &self.stop).await?;
        if report.succeeded() {
            return Ok(report);
        }
        if self.stop.is_cancelled() {
            return Err(mlops::Error::cancelled("stopped; run the same command to continue"));
        }
        let failures: Vec<_> = report.failures().map(|(task, reason)| format!("{task}: {reason}")).collect();
        Err(mlops::Error::failed_precondition(format!("{key} failed: {}", failures.join("; "))))
    }

    /// Where the champion alias points.
    pub async fn champion_version(&self) -> Result<Version> {
        self.registry.alias(&self.model, &self.champion).await
    }

    /// The package of a version.
    pub async fn package(&self, version: Version) -> Result<ModelPackage> {
        let reference = ModelRef { name: self.model.clone(), selector: mlops::core::Selector::Version(version) };
        let id: ModelVersionId = self.registry.resolve(&reference).await?;
        self.registry.fetch(&id).await
    }

    /// The log of answered predictions; its columns are those of the champion's signature.
    pub async fn predictions(&self) -> Result<Arc<PredictionLog>> {
        let open = || async {
            let signature = self.package(self.champion_version().await?).await?.manifest.signature;
            let settings = PredictionLogSettings { buffer_rows_max: 1_000_000, ..PredictionLogSettings::default() };
            let (inputs, outputs) = (signature.input_schema(), signature.output_schema());
            let clock = Arc::clone(&self.clock) as _;
            PredictionLog::open(&self.predictions_dir, inputs, outputs, clock, settings).await.map(Arc::new)
        };
        self.predictions.get_or_try_init(open).await.map(Arc::clone)
    }

    /// The server and its client; the first call starts them on loopback.
    pub async fn serving(&self) -> Result<(Server, Arc<Client>)> {
        if let Some(running) = self.server.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            return Ok((running.server.clone(), Arc::clone(&running.client)));
        }
        let running = self.start_server().await?;
        let handles = (running.server.clone(), Arc::clone(&running.client));
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(handles)
    }

    async fn start_server(&self) -> Result<Running> {
        let runtimes = Runtimes::new().with_flavors(flavors(), load_package);
        let repository = Arc::new(ModelRepository::with_source(Arc::clone(&self.registry) as _, runtimes));
        let reference: ModelRef = format!("{}@{CHAMPION}", self.model).parse()?;
        let lookup = FeatureLookup::new(
            Arc::new(self.features.reader()),
            self.definitions.service.features(),
            self.definitions.keys.clone(),
        )
        .with_as_of(AS_OF);
        repository.add(ModelConfig::new(reference).with_features(lookup))?;
        repository.sync().await.into_result()?;
        let server = Server::builder(repository)
            .with_predictions(self.predictions().await? as _)
            .with_events(Arc::clone(&self.bus) as _)
            .build()?;
        let listener = listen(self.port).await?;
        let address = listener
            .local_addr()
            .map_err(|error| mlops::Error::unavailable("the listener has no address").with_source(error))?;
        let mut inputs = Definitions::raw_inputs(&self.stream);
        inputs.extend(self.stream.entities.iter().cloned());
        let client = Arc::new(Client::new(address, &self.model, inputs)?);
        let shutdown = CancellationToken::new();
        let told = shutdown.clone();
        let task = tokio::spawn(server.clone().serve(listener, async move { told.cancelled().await }));
        Ok(Running { server, client, shutdown, task })
    }

    /// Stops the server after the requests in flight are answered.
    pub async fn close(&self) -> Result<()> {
        let running = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(running) = running else { return Ok(()) };
        running.shutdown.cancel();
        drop(running.client);
        running.task.await.map_err(|error| mlops::Error::internal("the server panicked").with_source(error))?
    }

    /// Brings the online store up to `until` (exclusive) from the tables.
    pub async fn catch_up(&self, until: Timestamp) -> Result<()> {
        let last = Timestamp::from_micros(until.as_micros() - 1);
        for view in &self.definitions.views {
            self.features.materializer().run(view.name(), last).await?;
        }
        Ok(())
    }
}

/// Who acts in this program.
pub fn actor() -> Actor {
    Actor(Principal::new("lifecycle").with_role("pipeline"))
}

/// The pipeline may train, register and promote models and nothing else.
fn policy() -> Result<AccessPolicy> {
    use mlops::core::Action;
    AccessPolicy::builder().allow("pipeline", [Action::Read, Action::Write, Action::Promote], "model", "*").build()
}

async fn open_features(
    home: &Home,
    definitions: &Definitions,
    campaign: u64,
    bus: Arc<InProcessBus>,
) -> Result<FeatureStore> {
    let online_dir = home.join("online");
    std::fs::create_dir_all(&online_dir)
        .map_err(|error| mlops::Error::unavailable(format!("{} cannot be created: {error}", online_dir.display())))?;
    // Durable only where a segment of traffic ends: a segment that is sent again must meet the store as it was at
    // its start, for it answers about the present alone.
    let settings = mlops::features::online::RedbSettings {
        durability: Durability::Relaxed,
        relaxed_writes_max: u32::MAX,
        ..Default::default()
    };
    let online = RedbOnlineStore::open(online_dir.join(format!("run-{campaign}.redb")), settings)?;
    let mut builder = FeatureStore::builder(home.join("features").display().to_string())
        .with_bus(bus)
        .with_online(Arc::new(online))
        .with_table(&definitions.events, Arc::clone(&definitions.events_schema))
        .with_table(&definitions.labels, Arc::clone(&definitions.labels_schema))
        .with_service(definitions.service.clone());
    for view in &definitions.views {
        builder = builder.with_view(view.clone());
    }
    builder.build().await
}

async fn listen(port: u16) -> Result<TcpListener> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    TcpListener::bind(address)
        .await
        .map_err(|error| {
            mlops::Error::failed_precondition(format!(
                "port {port} on 127.0.0.1 cannot be used: {error}; choose another with --port, or 0 for a free one"
            ))
        })
        .context("starting the model server")
}
