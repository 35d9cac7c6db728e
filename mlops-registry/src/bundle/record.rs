//! A registered model as one value: what a bundle and the trash hold of it.

use std::collections::BTreeSet;

use mlops_core::{Digest, Error, Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    limits::{DESCRIPTION_MAX, IDEMPOTENCY_KEY_MAX, LOCATION_MAX, check_alias, check_kept_tags, check_length},
    registry::{AliasMove, ModelVersion, RegisteredModel},
};

/// Highest version number of a record: what a JSON number holds in every language.
pub const VERSION_NUMBER_MAX: u64 = 1 << 53;

/// A registered model with its versions and the moves of its aliases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// The model.
    pub model: RegisteredModel,
    /// Its versions, lowest first.
    pub versions: Vec<VersionRecord>,
    /// The moves of its aliases, oldest first.
    pub moves: Vec<AliasMove>,
}

/// A version with what its row alone knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRecord {
    /// The version.
    pub version: ModelVersion,
    /// The key it was registered under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Who deleted it and when; none while it is not deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
}

/// Who deleted something, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deletion {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: String,
}

impl ModelRecord {
    /// The packages of its versions, each once.
    #[must_use]
    pub fn packages(&self) -> BTreeSet<Digest> {
        self.versions.iter().filter_map(|record| record.version.source.digest()).collect()
    }

    /// Checks what came from outside as the calls that write would.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is wrong.
    pub fn check(&self) -> Result<()> {
        let name = &self.model.name;
        let wrong = |what: String| Err(Error::invalid_argument(format!("record of model \"{name}\": {what}")));
        check_length("description", &self.model.description, DESCRIPTION_MAX)?;
        check_kept_tags(&self.model.tags)?;
        if self.model.last_version > VERSION_NUMBER_MAX {
            return wrong(format!("last version {} is over {VERSION_NUMBER_MAX}", self.model.last_version));
        }
        let mut above = 0;
        for record in &self.versions {
            let number = record.version.version.0;
            if record.version.model != *name {
                return wrong(format!("version {number} is of model \"{}\"", record.version.model));
            }
            if number <= above || number > self.model.last_version {
                return wrong(format!("version {number} does not come between {above} and the last version"));
            }
            above = number;
            record.check()?;
        }
        for (alias, version) in &self.model.aliases {
            check_alias(alias)?;
            let live = |record: &VersionRecord| record.version.version == *version && record.deletion.is_none();
            if !self.versions.iter().any(live) {
                return wrong(format!("alias \"{alias}\" points at version {version}, which is not there"));
            }
        }
        match self.moves.iter().find(|step| step.model != *name) {
            Some(step) => wrong(format!("a move is of model \"{}\"", step.model)),
            None => Ok(()),
        }
    }
}

impl VersionRecord {
    fn check(&self) -> Result<()> {
        let version = &self.version;
        check_length("description", &version.description, DESCRIPTION_MAX)?;
        check_length("run_link", &version.run_link, LOCATION_MAX)?;
        check_length("source", &version.source.to_uri(), LOCATION_MAX)?;
        check_length("idempotency_key", self.idempotency_key.as_deref().unwrap_or_default(), IDEMPOTENCY_KEY_MAX)?;
        check_kept_tags(&version.tags)
    }
}
