//! What is registered: plain data, as stored.

use std::collections::BTreeMap;

use mlops_core::{Alias, Digest, ModelName, Principal, RunId, Timestamp, Version};
use serde::{Deserialize, Serialize};

/// Who performs a write. The default is the principal `local` without roles: the program itself.
///
/// ```
/// use mlops_core::Principal;
/// use mlops_registry::Actor;
///
/// assert_eq!(Actor::default().0.name, "local");
/// assert_eq!(Actor::from(Principal::new("ann")).0.name, "ann");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(pub Principal);

impl Default for Actor {
    fn default() -> Self {
        Self(Principal::new("local"))
    }
}

impl From<Principal> for Actor {
    fn from(principal: Principal) -> Self {
        Self(principal)
    }
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        Self(principal.clone())
    }
}

/// A name under which versions of one model are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredModel {
    /// Its name.
    pub name: ModelName,
    /// What it is for; empty when nobody said.
    pub description: String,
    /// When it was created, in whole milliseconds.
    pub created: Timestamp,
    /// When it, a version or an alias last changed, in whole milliseconds.
    pub updated: Timestamp,
    /// The highest version number given out, deleted ones included; zero when there is none.
    pub last_version: u64,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Aliases and where they point.
    pub aliases: BTreeMap<Alias, Version>,
}

/// How to create a registered model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateModel {
    /// What it is for.
    pub description: String,
    /// First tags.
    pub tags: BTreeMap<String, String>,
    /// Who does it.
    pub actor: Actor,
}

/// Where the bytes of a version are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionSource {
    /// A package in the registry's own blob store, by digest.
    Package(Digest),
    /// A URI that the registry only remembers, as MLflow clients register them.
    Uri(String),
}

impl VersionSource {
    /// The source as text: the URI, or `mlops-package:<digest>`.
    #[must_use]
    pub fn to_uri(&self) -> String {
        match self {
            Self::Package(digest) => format!("mlops-package:{digest}"),
            Self::Uri(uri) => uri.clone(),
        }
    }

    /// The digest of the package, when it is one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Package(digest) => Some(*digest),
            Self::Uri(_) => None,
        }
    }
}

/// One version of a registered model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// The model.
    pub model: ModelName,
    /// Its number.
    pub version: Version,
    /// Where its bytes are.
    pub source: VersionSource,
    /// The run that made it.
    pub run_id: Option<RunId>,
    /// Link to the run for people; empty when nobody gave one.
    pub run_link: String,
    /// What is special about it; empty when nobody said.
    pub description: String,
    /// Who registered it.
    pub created_by: String,
    /// When it was registered, in whole milliseconds.
    pub created: Timestamp,
    /// When its description or tags last changed, in whole milliseconds.
    pub updated: Timestamp,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Aliases that point at it.
    pub aliases: Vec<Alias>,
}

/// How to register a version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CreateVersion {
    /// The run that made it; absent: the one in the package's manifest.
    pub run_id: Option<RunId>,
    /// Link to the run for people.
    pub run_link: String,
    /// What is special about it.
    pub description: String,
    /// First tags.
    pub tags: BTreeMap<String, String>,
    /// The caller's name for this registration: a second call with the same key and source gives
    /// the version of the first, so a retry after a crash registers nothing twice.
    pub idempotency_key: Option<String>,
    /// Who does it.
    pub actor: Actor,
}

/// How to move or delete an alias.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MoveAlias {
    /// Where the alias must point now for the move to happen: `None` does not care, `Some(None)`
    /// demands that it does not exist.
    pub expected: Option<Option<Version>>,
    /// Why, for the history and the audit log.
    pub reason: String,
    /// Who does it.
    pub actor: Actor,
}

/// One move of an alias, as kept for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AliasMove {
    /// The model, under its present name.
    pub model: ModelName,
    /// The alias.
    pub alias: Alias,
    /// Where it pointed.
    pub from: Option<Version>,
    /// Where it points since; none when it was deleted.
    pub to: Option<Version>,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Why; empty when nobody said.
    pub reason: String,
}
