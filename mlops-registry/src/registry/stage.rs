//! Stages of versions: what MLflow had before aliases, and its clients still ask for.
//!
//! Invariant: a stage is kept in a tag of the version that only [`crate::ModelRegistry::transition_stage`] writes. For
//! compatibility alone; what serves is named by an alias.

use std::fmt;

use mlops_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::record::{Actor, ModelVersion};

/// The tag in which the stage of a version is kept.
pub const STAGE_TAG: &str = "mlops.mlflow.stage";

/// What a version is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Stage {
    /// Nothing yet.
    #[default]
    None,
    /// Being tried.
    Staging,
    /// In use.
    Production,
    /// No longer in use.
    Archived,
}

impl Stage {
    /// All stages.
    pub const ALL: [Self; 4] = [Self::None, Self::Staging, Self::Production, Self::Archived];

    /// Its name as MLflow writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Staging => "Staging",
            Self::Production => "Production",
            Self::Archived => "Archived",
        }
    }

    /// The stage of that name, in any case.
    ///
    /// # Errors
    /// `InvalidArgument` naming the four.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|stage| stage.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            Error::invalid_argument(format!(
                "Invalid Model Version stage: {text}. Value must be one of None, Staging, Production, Archived."
            ))
        })
    }

    /// The stage of a version; [`Stage::None`] when it was never moved.
    #[must_use]
    pub fn of(version: &ModelVersion) -> Self {
        version.tags.get(STAGE_TAG).and_then(|text| Self::parse(text).ok()).unwrap_or_default()
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How to move a version to a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MoveStage {
    /// Archive the other versions that are in the stage; for Staging and Production only.
    pub archive_existing: bool,
    /// Who does it.
    pub actor: Actor,
}

/// Refuses the tag that only a transition may write.
pub(crate) fn refuse_stage_tag<'a>(mut keys: impl Iterator<Item = &'a str>) -> Result<()> {
    if keys.any(|key| key == STAGE_TAG) {
        return Err(Error::invalid_argument(format!(
            "tag {STAGE_TAG} is kept for stages; use model-versions/transition-stage"
        )));
    }
    Ok(())
}
