//! Experiments, runs and models from elsewhere: MLflow's file store, SQLite database and server, Weights & Biases, or any
//! tracking store.
//!
//! An [`Importer`] reads an [`ImportSource`] and writes to the stores of this crate or to any other [`TrackingStore`].
//! Invariant: what was imported carries the tag [`IMPORTED_FROM_TAG`], so repeating an import changes nothing and one that
//! broke off goes on. What cannot be read is in the [`ImportReport`] and does not stop the rest.
//!
//! Ids are new here but for those of traces, and the times at which experiments, models and versions were made are those
//! of the import; runs and traces keep their own times. What is deleted in the source is deleted here, again by each import, if the import made it.
//!
//! [`TrackingStore`]: crate::TrackingStore

mod importer;
mod kind;
mod local;
mod logged;
#[cfg(feature = "remote")]
mod mlflow_api;
mod mlflow_files;
mod mlflow_sqlite;
mod models;
mod report;
mod source;
mod store;
mod traces;
mod wandb;
mod yaml;

pub use importer::{IMPORTED_FILES_TAG, IMPORTED_FROM_TAG, IMPORTED_TAG, ImportOptions, Importer};
#[cfg(feature = "remote")]
pub use mlflow_api::MlflowApi;
pub use mlflow_files::MlflowFiles;
pub use mlflow_sqlite::MlflowSqlite;
pub use report::{ImportCounts, ImportNote, ImportReport, NOTES_MAX};
pub use source::{FilePieces, ImportSource, SourceFile, SourceTrace};
pub use store::StoreSource;
pub use wandb::WandbRuns;
