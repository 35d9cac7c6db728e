//! Stages as MLflow's answers show them.

use crate::{ModelVersion, Stage};

/// The newest version of every stage that is asked for, by stage; `versions` come newest first.
pub(super) fn newest_of(versions: &[ModelVersion], stages: &[Stage]) -> Vec<ModelVersion> {
    let newest = |stage: &Stage| versions.iter().find(|version| Stage::of(version) == *stage).cloned();
    stages.iter().filter_map(newest).collect()
}
