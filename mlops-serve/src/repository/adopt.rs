//! Models that come into the source while the server runs: a client that loads one by its name puts it among those
//! that are served.
//!
//! Invariant: a model that does not load is not kept, so that nothing a client asks for makes the server unready.

use std::sync::{Arc, PoisonError};

use mlops_core::{ErrorKind, ModelName, ModelRef, Result, Selector};

use super::{Entry, ModelConfig, ModelRepository, not_served};

impl ModelRepository {
    /// The entry of a model that is not served yet but that the source has, to be [dropped](Self::disown) again when it
    /// does not load.
    ///
    /// # Errors
    /// `NotFound` when the source has no such model, or there is none.
    pub(super) async fn adopt(&self, name: &ModelName) -> Result<Arc<Entry>> {
        let Some((source, _)) = &self.source else { return Err(not_served(name.as_str())) };
        let reference = ModelRef { name: name.clone(), selector: Selector::Latest };
        match source.resolve(&reference).await {
            Ok(_) => self.insert(ModelConfig::new(reference)),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(not_served(name.as_str())),
            Err(error) => Err(error),
        }
    }

    pub(super) fn disown(&self, name: &ModelName) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
