//! What this API keeps of versions in tags of theirs that clients do not see.

use std::collections::BTreeMap;

use mlops_core::{Error, Result};

use crate::{LoggedModelId, ModelVersion, registry::STAGE_TAG};

/// The tag that names the logged model of a version.
const MODEL_ID_TAG: &str = "mlops.mlflow.model_id";

/// Whether clients neither see nor write this tag.
pub(super) fn is_kept(tag: &str) -> bool {
    matches!(tag, STAGE_TAG | MODEL_ID_TAG)
}

/// Refuses a tag that only this API writes.
pub(super) fn refuse_kept<'a>(mut keys: impl Iterator<Item = &'a String>) -> Result<()> {
    match keys.find(|key| is_kept(key)) {
        Some(key) => Err(Error::invalid_argument(format!("tag {key} is kept by the server; choose another key"))),
        None => Ok(()),
    }
}

/// The logged model of a version.
pub(super) fn kept_model_id(version: &ModelVersion) -> Option<LoggedModelId> {
    version.tags.get(MODEL_ID_TAG)?.parse().ok()
}

/// Adds the logged model to the first tags of a version.
pub(super) fn keep_model_id(tags: &mut BTreeMap<String, String>, id: &LoggedModelId) {
    tags.insert(MODEL_ID_TAG.to_owned(), id.to_string());
}
