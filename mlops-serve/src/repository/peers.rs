//! The other models of a repository, for a model that asks them.
//!
//! A handle keeps nothing alive: models hold it, and the repository holds the models.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, Weak},
};

use mlops_core::{Error, ModelName, Result, Version};

use super::{Entry, LoadedVersion, ModelRepository};

/// The models that are served, by name.
pub(super) type Entries = RwLock<BTreeMap<ModelName, Arc<Entry>>>;

/// The models that are served in one repository, for a model that is made of them.
///
/// ```
/// let repository = mlops_serve::ModelRepository::new();
/// let peers = repository.peers();
/// # drop(peers);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Peers(Weak<Entries>);

impl Peers {
    /// A version of a model as of now; the one in service when none is named. A named one that is not loaded any more may
    /// be `held` by who asks, and is then used until the model is unloaded.
    ///
    /// # Errors
    /// `Unavailable` while the model, or the version, is not in service: it may come.
    pub(crate) fn version(
        &self,
        model: &ModelName,
        version: Option<Version>,
        held: Option<&Arc<LoadedVersion>>,
    ) -> Result<Arc<LoadedVersion>> {
        let missing = |what: &str| Error::unavailable(format!("model \"{model}\" {what}")).with("model", model);
        let entries = self.0.upgrade().ok_or_else(|| missing("is gone with its repository"))?;
        let entry = entries.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned();
        let state = entry.ok_or_else(|| missing("is not served here"))?.state();
        let found = match version {
            Some(version) => state.versions.get(&version),
            None => state.champion(),
        };
        found.or(held.filter(|_| !state.unloaded)).cloned().ok_or_else(|| match (version, state.asleep) {
            (Some(version), _) => missing(&format!("has no loaded version {version}")),
            (None, true) => missing("sleeps to save memory"),
            (None, false) => missing("is not in service"),
        })
    }
}

impl PartialEq for Peers {
    /// Whether both are of one repository.
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl ModelRepository {
    /// A handle to the models of this repository, for an [`Ensemble`](crate::Ensemble) of them.
    #[must_use]
    pub fn peers(&self) -> Peers {
        Peers(Arc::downgrade(&self.entries))
    }
}
