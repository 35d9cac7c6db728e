//! The traits by which sibling crates meet without knowing each other.
//!
//! Each is dyn-safe, narrow, and its method docs are the contract that every implementation keeps.
//! `Arc<T>` implements whatever `T` does.

mod auth;
mod bus;
mod check;
mod features;
mod keys;
mod label;
mod lineage;
mod model;
mod prediction;
mod run;

pub use auth::{Action, AuditEntry, AuditSink, Authorizer, Principal, Resource};
pub use bus::{EventBus, EventFilter, EventHandler, InProcessBus};
pub use check::{BatchCheck, CheckFailure, CheckOutcome};
pub use features::FeatureReader;
pub use keys::KeyProvider;
pub use label::{LabelBatch, LabelReceipt, LabelSink};
pub use lineage::{Dataset, LineageEvent, LineageSink, LineageState};
pub use model::{Model, ModelSource, ModelVersionId};
pub use prediction::{Delivery, PredictionBatch, PredictionSink};
pub use run::{Metric, RunLogger, RunStatus};
