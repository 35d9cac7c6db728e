//! Everything between raw events and a monitored, governed, self-improving model, as crates that a
//! Rust service links in. No server to start: the default is files and one embedded database.
//!
//! This crate only re-exports; each part is a crate of its own and usable alone.
//!
//! | module | crate | gives you |
//! |---|---|---|
//! | [`core`] | `mlops-core` | errors, ids, signatures, events, clock, and the ports by which the parts meet |
//! | `store` | `mlops-store` | metadata database, transactions, migrations, blobs |
//! | `features` | `mlops-features` | ingestion, point-in-time joins, window aggregates, online features |
//! | `registry` | `mlops-registry` | experiment tracking, model registry, MLflow's REST API |
//! | `train` | `mlops-train` | trainers, search, cross-validation, gates |
//! | `serve` | `mlops-serve` | model server that speaks Open Inference, canaries, hot reload |
//! | `monitor` | `mlops-monitor` | drift tests, quality checks, reports |
//! | `pipeline` | `mlops-pipeline` | durable DAGs, schedules, triggers |
//! | `governance` | `mlops-governance` | hash-chained audit log, access control |
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
