//! Which model and version a request means, from the words of its path.

use mlops_core::{Error, ModelName, Result, Version};

use crate::{repository::not_served, server::Server};

/// A segment that is no number of ours names a version that does not exist.
pub(crate) fn parse_version(text: &str) -> Result<Version> {
    text.parse().map_err(|_| Error::not_found(format!("there is no model version {text:?}")))
}

/// A name that cannot be one names nothing.
pub(crate) fn known_model(model: &str) -> Result<ModelName> {
    model.parse().map_err(|_| not_served(model))
}

/// The model of protocols whose paths name none: the one of the settings, else the only one there is.
///
/// # Errors
/// `InvalidArgument` when several models are served and the settings choose none; `Unavailable` when none is.
pub(crate) fn only_model(server: &Server) -> Result<String> {
    if let Some(model) = &server.inner.settings.protocols.default_model {
        return Ok(model.to_string());
    }
    match server.repository().only() {
        Ok(only) => Ok(only.to_string()),
        Err(0) => Err(Error::unavailable("no model is served here")),
        Err(_) => Err(Error::invalid_argument(
            "several models are served here and this path names none; set default_model, or call a path that does",
        )),
    }
}
