//! Which model and version a request means, from the words of its path.

use mlops_core::{Error, ModelName, Result, Version};

/// A segment that is no number of ours names a version that does not exist.
pub(crate) fn parse_version(text: &str) -> Result<Version> {
    text.parse().map_err(|_| Error::not_found(format!("there is no model version {text:?}")))
}

/// A name that cannot be one names nothing.
pub(crate) fn known_model(model: &str) -> Result<ModelName> {
    model.parse().map_err(|_| Error::not_found(format!("model {model:?} is not served here")))
}
