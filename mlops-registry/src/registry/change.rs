//! What changes in a registry, told inside the transaction that changes it.
//!
//! Invariant: a sink writes into the same transaction, so that a change and what follows from it (a message to deliver, a
//! row to index) happen together or not at all. Facts for subscribers who may miss one go over the bus instead.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use mlops_core::{Alias, ModelName, Result, RunId, Version};
use mlops_store::Transaction;

/// A change of one model.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistryChange {
    /// The model.
    pub model: ModelName,
    /// Whether the model is a prompt, as MLflow keeps prompts.
    pub prompt: bool,
    /// What changes.
    pub kind: ChangeKind,
}

/// What changes.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeKind {
    /// The model is created.
    ModelCreated {
        /// Its tags.
        tags: BTreeMap<String, String>,
        /// What it is for.
        description: String,
    },
    /// A tag of the model is set, or removed when there is no value.
    ModelTag {
        /// The key.
        key: String,
        /// The value.
        value: Option<String>,
    },
    /// A version is registered.
    VersionCreated {
        /// Its number.
        version: Version,
        /// Where its bytes are, as a URI.
        source: String,
        /// The run that made it.
        run_id: Option<RunId>,
        /// Its tags.
        tags: BTreeMap<String, String>,
        /// What is special about it.
        description: String,
    },
    /// A tag of a version is set, or removed when there is no value.
    VersionTag {
        /// The version.
        version: Version,
        /// The key.
        key: String,
        /// The value.
        value: Option<String>,
    },
    /// An alias points elsewhere, or nowhere any more.
    Alias {
        /// The alias.
        alias: Alias,
        /// Where it points.
        to: Option<Version>,
    },
}

/// Is told of changes before they are committed.
#[async_trait]
pub trait ChangeSink: fmt::Debug + Send + Sync + 'static {
    /// Notes a change in its transaction.
    ///
    /// # Errors
    /// Whatever keeps it from noting; the change does not happen then.
    async fn append_in(&self, tx: &mut dyn Transaction, change: &RegistryChange) -> Result<()>;
}
