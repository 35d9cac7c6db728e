//! Registered models, their versions and aliases.
//!
//! [`ModelRegistry`] is the wide trait that a back end supplies. A version is immutable but for
//! its description and tags; what moves is the alias, and every move is kept. What not every back
//! end can do has a trait of its own: [`Packages`], [`Trash`], [`GarbageCollector`].

mod change;
pub(crate) mod garbage;
pub(crate) mod lineage;
pub(crate) mod package;
mod record;
mod sql;
mod stage;
mod store;
mod trash;

pub use change::{ChangeKind, ChangeSink, RegistryChange};
pub use garbage::{BlobCount, CollectGarbage, GarbageCollector, GarbageReport};
pub use lineage::{LineageEdge, LineageGraph, LineageKind, LineageNode, LineageRelation, lineage};
pub use package::{BlobSource, MANIFEST_BYTES_MAX, MANIFEST_FILE, Packages, Received, download};
pub use record::{
    Actor, AliasMove, CreateModel, CreateVersion, ModelVersion, MoveAlias, RegisteredModel, VersionSource,
};
pub use sql::{SqlModelRegistry, SqlModelRegistryBuilder};
pub use stage::{MoveStage, STAGE_TAG, Stage};
pub use store::{ModelRegistry, ModelRegistryExt};
pub use trash::{DeletedModel, DeletedVersion, Purge, Purged, Trash, TrashId};

/// MLflow keeps prompts as models and versions with this tag at `true`. To searches the tag is `false` on all others.
pub const PROMPT_TAG: &str = "mlflow.prompt.is_prompt";
