//! Experiment tracking and the model registry, in a database file or PostgreSQL.
//!
//! | look for | in |
//! |---|---|
//! | experiments, runs, params, metrics, tags | [`tracking`]: [`Tracker`], [`Run`], [`TrackingStore`], [`SqlTrackingStore`] |
//! | files of runs on an object store | [`ArtifactStore`] |
//! | registered models, versions, aliases and who moved them | [`registry`]: [`ModelRegistry`], [`SqlModelRegistry`] |
//! | users, roles, permissions | [`access`]: [`access::AccessStore`], [`access::Permissions`] |
//! | filters such as `metrics.auc > 0.9 AND tags.team = 'risk'` | [`search`] |
//! | MLflow's REST API over them, as an axum router | `MlflowServer` (feature `mlflow`) |
//! | limits of names and values | [`limits`] |
//! | the promises every back end keeps, as tests | `conformance` (feature `conformance`) |
//!
//! ```
//! use std::sync::Arc;
//! use mlops_core::{Alias, DataType, ModelName, ModelPackage, Signature, TensorSpec};
//! use mlops_registry::{
//!     CreateModel, CreateVersion, ModelRegistry, ModelSource, MoveAlias, SqlModelRegistry,
//! };
//! use mlops_store::{BlobStore, SqliteMetaStore};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let meta = Arc::new(SqliteMetaStore::in_memory().await?);
//! let registry = SqlModelRegistry::builder(meta, BlobStore::in_memory()).build().await?;
//!
//! let fraud = ModelName::new("fraud")?;
//! registry.create_model(&fraud, CreateModel::default()).await?;
//! let signature = Signature::new([], [TensorSpec::column("score", DataType::Float64)])?;
//! let package = ModelPackage::new("constant", signature).with_file("model.json", "{\"value\":0.5}");
//! let first = registry.create_version(&fraud, &package, CreateVersion::default()).await?;
//! assert_eq!(first.version.0, 1);
//!
//! let champion = Alias::new("champion")?;
//! registry.set_alias(&fraud, &champion, first.version, MoveAlias::default()).await?;
//! let found = registry.resolve(&"fraud@champion".parse()?).await?;
//! assert_eq!(registry.fetch(&found).await?, package);
//! # Ok::<(), mlops_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! Guarantees: a version or alias move that was acknowledged survives the death of the process;
//! version numbers are 1, 2, 3... without gaps under any number of writers; a repeated
//! registration with the same idempotency key gives the same version; an alias move or deletion
//! is in the audit log exactly when it happened.

pub mod access;
pub mod artifacts;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod id_source;
pub mod limits;
#[cfg(feature = "mlflow")]
pub mod mlflow;
pub mod registry;
mod retry;
pub mod search;
pub mod tracking;

pub use artifacts::{
    ArtifactCapabilities, ArtifactEntry, ArtifactRange, ArtifactReader, ArtifactStore, ResumableUpload, SignedDownload,
    SignedPart, SignedUpload,
};
pub use id_source::{IdSource, RandomIds};
#[cfg(feature = "mlflow")]
pub use mlflow::MlflowServer;
pub use mlops_core::{ModelSource, RunLogger};
pub use registry::{
    Actor, AliasMove, CreateModel, CreateVersion, ModelRegistry, ModelRegistryExt, ModelVersion, MoveAlias,
    RegisteredModel, SqlModelRegistry, VersionSource,
};
pub use search::{Page, PageRequest, Search, View};
pub use tracking::{
    Batch, CreateExperiment, CreateRun, DatasetInput, Experiment, ExperimentId, LoggedDataset, Run, RunRecord,
    RunUpdate, SqlTrackingStore, Tracker, TrackingStore, TrackingStoreExt,
};
