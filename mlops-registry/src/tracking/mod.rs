//! Experiments and their runs.
//!
//! [`TrackingStore`] is the wide trait that a back end supplies; a Rust program
//! logs through a [`Run`] of a [`Tracker`]. The semantics are MLflow's, so that the REST adapter stays thin.

pub mod autolog;
pub mod capsule;
pub mod downsample;
pub mod offline;
pub(crate) mod record;
pub mod sample;
pub mod segment;
mod sql;
mod store;
#[cfg(feature = "system-metrics")]
pub mod system;
pub mod tail;
mod tracker;

pub use record::{
    Batch, CreateExperiment, CreateRun, DatasetInput, Experiment, ExperimentId, LoggedDataset, RunHome, RunRecord,
    RunUpdate,
};
#[cfg(feature = "mlflow")]
pub(crate) use record::{check_param, check_point, check_tag};
pub use sql::{SqlTrackingStore, SqlTrackingStoreBuilder};
#[cfg(feature = "remote")]
pub(crate) use store::appended;
pub(crate) use store::run_tagged;
pub use store::{TrackingStore, TrackingStoreExt};
pub use tracker::{Run, Tracker};

/// The tag that mirrors a run's name.
pub const RUN_NAME_TAG: &str = "mlflow.runName";
/// The tag that names the parent of a nested run.
pub const PARENT_RUN_TAG: &str = "mlflow.parentRunId";
/// The tag of a dataset input that says what it was used for.
pub const DATASET_CONTEXT_TAG: &str = "mlflow.data.context";
