//! Models that come into the source while the server runs: a client that loads one by its name puts it among those
//! that are served.
//!
//! Invariant: a model is among them only once it is loaded, so that nothing a client asks for, and then fails to load or
//! does not wait for, makes the server unready.

use std::sync::Arc;

use mlops_core::{ErrorKind, ModelName, ModelRef, Result, Selector};

use super::{Entry, ModelConfig, ModelRepository, not_served};

impl ModelRepository {
    /// An entry for a model that is not served yet but that the source has, to be [inserted](Self::insert) when it is
    /// loaded.
    ///
    /// # Errors
    /// `NotFound` when the source has no such model, or there is none.
    pub(super) async fn found(&self, name: &ModelName) -> Result<Arc<Entry>> {
        let Some((source, _)) = &self.source else { return Err(not_served(name.as_str())) };
        let reference = ModelRef { name: name.clone(), selector: Selector::Latest };
        match source.resolve(&reference).await {
            Ok(_) => Ok(Arc::new(Entry::new(ModelConfig::new(reference)))),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(not_served(name.as_str())),
            Err(error) => Err(error),
        }
    }
}
