//! Everything between raw events and a monitored, governed, self-improving model, as crates that a
//! Rust service links in. No server to start: the default is files and one embedded database.
//!
//! This crate only re-exports; each part is a crate of its own and usable alone.
//!
//! | module | crate | gives you |
//! |---|---|---|
//! | [`core`] | `mlops-core` | errors, ids, signatures, events, clock, and the ports by which the parts meet |
//! | `store` | `mlops-store` | metadata database, transactions, migrations, blobs |
//! | `features` | `mlops-features` | ingestion, point-in-time joins, window aggregates, online features, Feast, DVC, lineage |
//! | `registry` | `mlops-registry` | experiment tracking, model registry, MLflow's REST API |
//! | `train` | `mlops-train` | trainers, checkpoints, search, validation, fairness, explanation, compression |
//! | `serve` | `mlops-serve` | model server that speaks Open Inference, canaries, hot reload |
//! | `monitor` | `mlops-monitor` | drift tests, quality checks, reports |
//! | `pipeline` | `mlops-pipeline` | durable DAGs, schedules, triggers |
//! | `governance` | `mlops-governance` | hash-chained audit log, access control |
//!
//! From a table to a served model that is watched, in one process:
//!
//! ```
//! # #[cfg(all(feature = "registry", feature = "train", feature = "serve", feature = "monitor"))]
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use std::sync::Arc;
//!
//! use mlops::{
//!     core::{Alias, ModelName, Timestamp, arrow_array::{ArrayRef, Float64Array, RecordBatch}},
//!     monitor::{Headline, Monitor, ProfileSettings, ReferenceProfile},
//!     registry::{CreateModel, CreateVersion, ModelRegistry as _, MoveAlias, SqlModelRegistry},
//!     serve::{InferOptions, ModelConfig, ModelRepository, Runtimes, Server},
//!     store::{BlobStore, SqliteMetaStore},
//!     train::{FitContext, GbdtTrainer, Params, TableDataset, TrainedModel as _, Trainer as _, flavors, load_package},
//! };
//!
//! // Train: is a payment above 80 a fraud?
//! let amounts: Vec<f64> = (0..1_000).map(|i| f64::from(i % 100)).collect();
//! let frauds: Vec<f64> = amounts.iter().map(|&amount| f64::from(amount > 80.0)).collect();
//! let column = |values: Vec<f64>| Arc::new(Float64Array::from(values)) as ArrayRef;
//! let table = RecordBatch::try_from_iter([("amount", column(amounts)), ("fraud", column(frauds))])?;
//! let inputs = table.project(&[0])?;
//! let data = TableDataset::classification(table, "fraud").build()?;
//! let model = GbdtTrainer.fit(&data, &Params::new(), &FitContext::new(7))?;
//!
//! // Register, with what the inputs looked like.
//! let profile = ReferenceProfile::from_batch(&inputs, &ProfileSettings::default())?;
//! let package = model.to_package()?.with_file("profile.json", profile.to_bytes()?);
//! let meta = Arc::new(SqliteMetaStore::in_memory().await?);
//! let registry = Arc::new(SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await?);
//! let (fraud, champion) = (ModelName::new("fraud")?, Alias::new("champion")?);
//! registry.create_model(&fraud, CreateModel::default()).await?;
//! let first = registry.create_version(&fraud, &package, CreateVersion::default()).await?;
//! registry.set_alias(&fraud, &champion, first.version, MoveAlias::default()).await?;
//!
//! // Serve what the alias points at; `sync` again after it moves.
//! let runtimes = Runtimes::new().with_flavors(flavors(), load_package);
//! let repository = Arc::new(ModelRepository::with_source(registry, runtimes));
//! repository.add(ModelConfig::new("fraud@champion".parse()?))?;
//! repository.sync().await.into_result()?;
//! let server = Server::builder(repository).build()?;
//! let payments = RecordBatch::try_from_iter([("amount", column(vec![90.0; 500]))])?;
//! let reply = server.infer(&fraud, payments.clone(), InferOptions::default()).await?;
//! assert_eq!((reply.version.0, reply.outputs.num_rows()), (1, 500));
//!
//! // Watch: these payments are not what the model learnt from.
//! let report = Monitor::builder(profile).build()?.observe(&payments, Timestamp::from_micros(0));
//! assert_eq!(report.verdict(), Headline::Drift);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! The program `examples/lifecycle` wires all of them; `examples/embed_in_axum.rs` adds features, a
//! model and drift monitoring to an existing backend.

pub use mlops_core as core;
#[cfg(feature = "features")]
pub use mlops_features as features;
#[cfg(feature = "governance")]
pub use mlops_governance as governance;
#[cfg(feature = "monitor")]
pub use mlops_monitor as monitor;
#[cfg(feature = "pipeline")]
pub use mlops_pipeline as pipeline;
#[cfg(feature = "registry")]
pub use mlops_registry as registry;
#[cfg(feature = "serve")]
pub use mlops_serve as serve;
#[cfg(any(feature = "registry", feature = "pipeline", feature = "governance"))]
pub use mlops_store as store;
#[cfg(feature = "train")]
pub use mlops_train as train;

pub use mlops_core::{Error, ErrorKind, Result};
