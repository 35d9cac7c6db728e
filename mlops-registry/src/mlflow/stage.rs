//! Stages of versions, which MLflow had before aliases and its clients still ask for.

use mlops_core::{Error, Result};

use crate::ModelVersion;

/// The tag of a version in which its stage is kept; clients do not see it.
pub(super) const STAGE_TAG: &str = "mlops.mlflow.stage";

/// What a version is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    None,
    Staging,
    Production,
    Archived,
}

impl Stage {
    pub(super) const ALL: [Self; 4] = [Self::None, Self::Staging, Self::Production, Self::Archived];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Staging => "Staging",
            Self::Production => "Production",
            Self::Archived => "Archived",
        }
    }

    /// The stage of that name, in any case.
    pub(super) fn parse(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|stage| stage.name().eq_ignore_ascii_case(text)).ok_or_else(|| {
            Error::invalid_argument(format!(
                "Invalid Model Version stage: {text}. Value must be one of None, Staging, Production, Archived."
            ))
        })
    }

    pub(super) fn of(version: &ModelVersion) -> Self {
        version.tags.get(STAGE_TAG).and_then(|text| Self::parse(text).ok()).unwrap_or(Self::None)
    }
}

/// The newest version of every stage that is asked for, by stage; `versions` come newest first.
pub(super) fn newest_of(versions: &[ModelVersion], stages: &[Stage]) -> Vec<ModelVersion> {
    let newest = |stage: &Stage| versions.iter().find(|version| Stage::of(version) == *stage).cloned();
    stages.iter().filter_map(newest).collect()
}
