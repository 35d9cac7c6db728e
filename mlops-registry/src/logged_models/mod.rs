//! Logged models: models that a run makes or reads, with params, tags and metrics of their own.
//!
//! A logged model belongs to an experiment and has a directory for its files; it becomes a version of a registered
//! model by registering `models:/<id>`. The semantics are MLflow 3's. It is not a registered model: it has no versions
//! and no aliases.

mod record;
mod sql;
mod store;

pub use record::{
    CreateLoggedModel, DatasetFilter, LoggedModel, LoggedModelId, LoggedModelOrder, LoggedModelSearch,
    LoggedModelStatus, ModelMetric, ModelOutput, RunModels,
};
pub(crate) use sql::{MIGRATIONS, add_points};
pub use sql::{SqlLoggedModelStore, SqlLoggedModelStoreBuilder};
pub use store::LoggedModelStore;

/// The tag of a logged model that lists the versions it was registered as, as JSON.
pub const REGISTRATIONS_TAG: &str = "mlflow.modelVersions";
