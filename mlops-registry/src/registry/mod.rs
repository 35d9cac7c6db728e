//! Registered models, their versions and aliases.
//!
//! [`ModelRegistry`] is the wide trait that a back end supplies. A version is immutable but for
//! its description and tags; what moves is the alias, and every move is kept.

mod change;
mod record;
mod sql;
mod store;

pub use change::{ChangeKind, ChangeSink, RegistryChange};
pub use record::{
    Actor, AliasMove, CreateModel, CreateVersion, ModelVersion, MoveAlias, RegisteredModel, VersionSource,
};
pub use sql::{SqlModelRegistry, SqlModelRegistryBuilder};
pub use store::{ModelRegistry, ModelRegistryExt};

/// MLflow keeps prompts as models and versions with this tag at `true`. To searches the tag is `false` on all others.
pub const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";
