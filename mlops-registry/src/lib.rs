//! Experiment tracking and the model registry, in a database file or PostgreSQL.
//!
//! | look for | in |
//! |---|---|
//! | experiments, runs, params, metrics, tags | [`tracking`]: [`Tracker`], [`Run`], [`TrackingStore`], [`SqlTrackingStore`] |
//! | runs without a reachable server, sent on later | [`tracking::offline`]: [`OfflineLogger`](tracking::offline::OfflineLogger) |
//! | watching a run while it goes on | [`tracking::tail`]: [`LiveTail`](tracking::tail::LiveTail) |
//! | what a run was made from, and doing it again | [`tracking::capsule`]: [`Capsule`](tracking::capsule::Capsule), [`reproduce`](tracking::capsule::reproduce()) |
//! | a trainer's progress as metrics of a run | [`tracking::autolog`]: [`AutoLog`](tracking::autolog::AutoLog) |
//! | processor, memory, disk and network as metrics of a run | `tracking::system`: `SystemMetrics` (feature `system-metrics`) |
//! | models that runs make and read | [`logged_models`]: [`LoggedModelStore`], [`SqlLoggedModelStore`] |
//! | files of runs on an object store | [`ArtifactStore`] |
//! | registered models, versions, aliases and who moved them | [`registry`]: [`ModelRegistry`], [`SqlModelRegistry`] |
//! | traces of applications: spans, previews, assessments | [`traces`]: [`TraceStore`], [`SqlTraceStore`] |
//! | datasets to evaluate applications with | [`evaluation`]: [`EvaluationStore`], [`SqlEvaluationStore`] |
//! | secrets, models, endpoints, budgets and guardrails of an AI gateway | `gateway` (feature `mlflow`): `GatewayStore`, `SqlGatewayStore` |
//! | telling other systems what changes in the registry | [`webhooks`]: [`SqlWebhookStore`](webhooks::SqlWebhookStore), [`WebhookWorker`](webhooks::WebhookWorker) |
//! | stages, trash, garbage collection, lineage of versions | [`registry`]: [`Stage`], [`Trash`], [`GarbageCollector`], [`lineage()`] |
//! | who agreed to which package, and what an alias asks for | [`approval`]: [`Approvals`], [`AliasPolicy`] |
//! | from staging to production, by digest | [`promotion`]: [`Promoter`] |
//! | models in one file | [`bundle`]: [`bundle::export`], [`bundle::import`] |
//! | users, roles, permissions | [`access`]: [`access::AccessStore`], [`access::Permissions`] |
//! | experiments, runs and models from MLflow or another store | [`import`]: [`import::Importer`] |
//! | runs and metric histories as Arrow and Parquet, runs side by side | [`export`]: [`export::runs`], [`export::history`], [`export::compare`] |
//! | filters such as `metrics.auc > 0.9 AND tags.team = 'risk'` | [`search`] |
//! | MLflow's REST API over them, as an axum router | `MlflowServer` (feature `mlflow`) |
//! | pages for people: runs, charts, comparisons, models | `ui` (feature `mlflow`), `MlflowServer::with_ui` |
//! | model cards, ML-BOM, data sheets, what changed between versions | [`documents`] |
//! | tracking on a remote MLflow server | `MlflowRemote` (feature `remote`) |
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
pub mod approval;
pub mod artifacts;
mod bound;
pub mod bundle;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod documents;
pub mod evaluation;
pub mod export;
#[cfg(feature = "mlflow")]
pub mod gateway;
mod id_source;
pub mod import;
pub mod limits;
mod linked;
pub mod logged_models;
#[cfg(feature = "mlflow")]
pub mod mlflow;
pub mod promotion;
pub mod registry;
#[cfg(feature = "remote")]
pub mod remote;
mod retry;
mod rewrap;
mod rows;
pub mod search;
mod sql_store;
pub mod traces;
pub mod tracking;
#[cfg(feature = "mlflow")]
pub mod ui;
pub mod webhooks;

pub use approval::{
    AliasPolicy, Approval, ApprovalFilter, ApprovalId, ApprovalState, ApprovalTarget, Approvals, Decide, Decision,
    MetricGate, RequestApproval,
};
pub use artifacts::{
    ArtifactCapabilities, ArtifactEntry, ArtifactRange, ArtifactReader, ArtifactStore, ResumableUpload, SignedDownload,
    SignedPart, SignedUpload,
};
pub use bundle::{Bundles, ImportModel, Imported, ModelRecord};
pub use evaluation::{
    CreateEvaluationDataset, EvaluationDataset, EvaluationRecord, EvaluationStore, SqlEvaluationStore,
};
pub use id_source::{IdSource, RandomIds};
pub use logged_models::{
    CreateLoggedModel, DatasetFilter, LoggedModel, LoggedModelId, LoggedModelOrder, LoggedModelSearch,
    LoggedModelStatus, LoggedModelStore, ModelMetric, ModelOutput, RunModels, SqlLoggedModelStore,
};
#[cfg(feature = "mlflow")]
pub use mlflow::MlflowServer;
pub use mlops_core::{ModelSource, RunLogger};
pub use promotion::{Environment, PromoteVersion, Promoted, Promoter};
pub use registry::{
    Actor, AliasMove, BlobSource, CollectGarbage, CreateModel, CreateVersion, GarbageCollector, GarbageReport,
    LineageGraph, ModelRegistry, ModelRegistryExt, ModelVersion, MoveAlias, MoveStage, Packages, Purge,
    RegisteredModel, SqlModelRegistry, Stage, Trash, VersionSource, lineage,
};
#[cfg(feature = "remote")]
pub use remote::{MlflowRemote, MlflowRemoteBuilder};
pub use rewrap::{KeyRing, Rewrapped};
pub use search::{Columns, Page, PageRequest, Search, SearchColumns, View};
pub use traces::{
    AnyValue, Assessment, AssessmentSource, AssessmentUpdate, AssessmentValue, CreateAssessment, Span, SqlTraceStore,
    TraceInfo, TraceSelection, TraceState, TraceStore,
};
pub use tracking::{
    Batch, CreateExperiment, CreateRun, DatasetInput, Experiment, ExperimentId, LoggedDataset, Run, RunHome, RunRecord,
    RunUpdate, SqlTrackingStore, Tracker, TrackingStore, TrackingStoreExt,
};
