//! The models a server has loaded, and the one place where they change.
//!
//! Invariant: readers see a whole [`EntryState`] or the one before it, never a mix: every change builds a new state
//! and swaps it in. A new version is loaded and warmed up before it is visible; an old one lives until its last
//! request is answered.

mod adopt;
mod bare;
mod budget;
mod config;
mod counters;
mod directory;
mod peers;
mod refused;
mod sync;
mod version;
mod watcher;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, Weak, atomic::AtomicU64},
};

use mlops_core::{Digest, Error, Model, ModelName, ModelRef, ModelSource, Result, Selector, Version};

pub use config::ModelConfig;
pub(crate) use config::{Batching, Wish};
pub(crate) use counters::{Counters, Duty, Rejection};
pub use directory::DirectorySource;
use peers::Entries;
pub use peers::Peers;
use refused::Refused;
pub use sync::SyncReport;
pub(crate) use version::{LoadedVersion, predict_rows};
pub use watcher::Watcher;

use crate::{
    ensemble::Ensemble,
    model::{ServedModel, TensorModel},
    rollout::{Phase, Rollout},
    runtime::Runtimes,
    server::ActiveRollout,
};

/// One served model.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) config: ModelConfig,
    state: RwLock<Arc<EntryState>>,
    /// The number of its last use among those of all models.
    used: AtomicU64,
}

/// What a request needs to know of a model, as of one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct EntryState {
    pub(crate) default: Option<Version>,
    pub(crate) versions: BTreeMap<Version, Arc<LoadedVersion>>,
    pub(crate) rollout: Option<Arc<ActiveRollout>>,
    /// Why the wanted version is not the one in service.
    pub(crate) reason: Option<String>,
    /// A version that could not be loaded, with its digest: the same package fails the same way.
    failed: Option<(Version, Digest, Refused)>,
    /// What the client that loaded it said instead of the configuration.
    batching: Option<Batching>,
    /// Taken out of service by a client or operator; `sync` leaves it alone.
    pub(crate) unloaded: bool,
    /// Taken out of service to save memory, until it is asked for.
    pub(crate) asleep: bool,
    draining: Vec<(Version, Weak<LoadedVersion>)>,
}

impl EntryState {
    /// The version that answers unless a rollout or the request says otherwise.
    pub(crate) fn champion(&self) -> Option<&Arc<LoadedVersion>> {
        self.default.and_then(|version| self.versions.get(&version))
    }

    /// Drops versions that nothing refers to any more.
    fn retire(&mut self) {
        let active = self.rollout.as_ref().filter(|active| active.rollout.is_active());
        let on_trial = |version: &Version| active.is_some_and(|active| active.rollout.candidates.contains(version));
        let keep = |version: &Version, loaded: &Arc<LoadedVersion>| {
            loaded.pinned || self.default == Some(*version) || on_trial(version)
        };
        let gone: Vec<_> = self.versions.iter().filter(|(v, loaded)| !keep(v, loaded)).map(|(v, _)| *v).collect();
        for version in gone {
            self.remove(version);
        }
    }

    fn remove(&mut self, version: Version) {
        self.draining.retain(|(_, old)| old.strong_count() > 0);
        if let Some(loaded) = self.versions.remove(&version) {
            self.draining.push((version, Arc::downgrade(&loaded)));
        }
    }
}

impl Entry {
    fn new(config: ModelConfig) -> Self {
        Self { config, state: RwLock::default(), used: AtomicU64::new(0) }
    }

    pub(crate) fn state(&self) -> Arc<EntryState> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How requests share predictions in this state.
    pub(crate) fn batching(&self, state: &EntryState) -> Batching {
        state.batching.unwrap_or_else(|| self.config.batching())
    }

    /// Swaps in the state that `change` makes of the current one.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut EntryState) -> T) -> T {
        let mut slot = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = EntryState::clone(&slot);
        let outcome = change(&mut next);
        *slot = Arc::new(next);
        outcome
    }
}

/// A line of the repository index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelStatus {
    /// Served name.
    pub name: ModelName,
    /// Version; none when nothing was ever loaded.
    pub version: Option<Version>,
    /// `READY`, `UNAVAILABLE` or `UNLOADING`, in Triton's words.
    pub state: &'static str,
    /// Why it is not ready, or why a newer version is not in its place.
    pub reason: Option<String>,
}

/// The served models by name.
///
/// ```
/// use std::sync::Arc;
/// use mlops_core::{DataType, Signature, TensorSpec, Version};
/// use mlops_serve::{ClosureModel, ModelRepository};
///
/// let column = TensorSpec::column("x", DataType::Int64);
/// let model = ClosureModel::new(Signature::new([column.clone()], [column])?, |batch| Ok(batch.clone()));
/// let repository = ModelRepository::new();
/// repository.register(&"echo".parse()?, Version(1), Arc::new(model))?;
/// assert_eq!(repository.index()[0].state, "READY");
/// # Ok::<(), mlops_core::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct ModelRepository {
    source: Option<(Arc<dyn ModelSource>, Runtimes)>,
    entries: Arc<Entries>,
    /// One synchronisation at a time; it awaits the source, so the lock is an async one.
    sync_lock: tokio::sync::Mutex<()>,
    budget: budget::Budget,
}

impl ModelRepository {
    /// A repository that holds what is registered by hand.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A repository that also loads from `source`, with the loaders of `runtimes`.
    #[must_use]
    pub fn with_source(source: Arc<dyn ModelSource>, runtimes: Runtimes) -> Self {
        Self { source: Some((source, runtimes)), ..Self::default() }
    }

    /// Serves a model from the source; [`ModelRepository::sync`] loads it.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken, `FailedPrecondition` without a source.
    pub fn add(&self, config: ModelConfig) -> Result<()> {
        if self.source.is_none() {
            return Err(Error::failed_precondition(format!(
                "model \"{}\" cannot be resolved: the repository has no source",
                config.name
            )));
        }
        self.insert(Entry::new(config)).map(drop)
    }

    /// Serves a model that is at hand. The first version of a name goes into service at once; a later one is loaded
    /// beside it, for a rollout or [`ModelRepository::set_default`]. Call [`ModelRepository::configure`] before,
    /// to add features or limits.
    ///
    /// # Errors
    /// `AlreadyExists` when the version is loaded already; `FailedPrecondition` when features do not fit the model;
    /// the error of the warm-up prediction.
    pub fn register(&self, name: &ModelName, version: Version, model: Arc<dyn Model>) -> Result<()> {
        self.register_served(name, version, ServedModel::Rows(model), "mlops_rust".into())
    }

    /// Serves a model on raw tensors, like [`ModelRepository::register`].
    ///
    /// # Errors
    /// `AlreadyExists` when the version is loaded already.
    pub fn register_tensors(&self, name: &ModelName, version: Version, model: Arc<dyn TensorModel>) -> Result<()> {
        self.register_served(name, version, ServedModel::Tensors(model), "mlops_rust".into())
    }

    /// Serves a graph of models, like [`ModelRepository::register`].
    ///
    /// # Errors
    /// As [`ModelRepository::register`].
    pub fn register_ensemble(&self, name: &ModelName, version: Version, ensemble: Arc<Ensemble>) -> Result<()> {
        self.register_served(name, version, ServedModel::Ensemble(ensemble), "ensemble".into())
    }

    /// Serves a model of another server, like [`ModelRepository::register`].
    ///
    /// # Errors
    /// As [`ModelRepository::register`].
    #[cfg(feature = "remote")]
    pub fn register_remote(&self, name: &ModelName, version: Version, model: Arc<crate::RemoteModel>) -> Result<()> {
        self.register_served(name, version, ServedModel::Remote(model), "remote".into())
    }

    /// Declares a name with its configuration, for models that are registered by hand.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken.
    pub fn configure(&self, config: ModelConfig) -> Result<()> {
        self.insert(Entry::new(config)).map(drop)
    }

    /// Puts a model among those that are served.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken.
    fn insert(&self, entry: impl Into<Arc<Entry>>) -> Result<Arc<Entry>> {
        let entry = entry.into();
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let name = &entry.config.name;
        if entries.contains_key(name) {
            return Err(Error::already_exists(format!("model \"{name}\" is served already")));
        }
        entries.insert(name.clone(), Arc::clone(&entry));
        Ok(entry)
    }

    fn register_served(&self, name: &ModelName, version: Version, model: ServedModel, platform: String) -> Result<()> {
        let entry = match self.entry(name.as_str()) {
            Ok(entry) => entry,
            Err(_) => {
                let reference = ModelRef { name: name.clone(), selector: Selector::Latest };
                self.insert(Entry::new(ModelConfig::new(reference)))?
            }
        };
        let lookup = entry.config.features.as_ref();
        let loaded = Arc::new(LoadedVersion::new(version, None, platform, model, lookup, true)?);
        loaded.warm_up()?;
        entry.update(|state| {
            if state.versions.contains_key(&version) {
                return Err(Error::already_exists(format!("model \"{name}\" version {version} is loaded already")));
            }
            state.versions.insert(version, loaded);
            state.default.get_or_insert(version);
            Ok(())
        })
    }

    /// Puts a loaded version into service; requests in flight finish on the old one.
    ///
    /// # Errors
    /// `NotFound` when model or version is not loaded.
    pub fn set_default(&self, name: &ModelName, version: Version) -> Result<()> {
        self.entry(name.as_str())?.update(|state| {
            if !state.versions.contains_key(&version) {
                return Err(Error::not_found(format!("model \"{name}\" has no loaded version {version}")));
            }
            state.default = Some(version);
            state.unloaded = false;
            state.settle_rollout();
            state.retire();
            Ok(())
        })
    }

    /// Takes a model out of service; requests in flight are answered. Registered models stay loaded, so that
    /// [`ModelRepository::load`] can bring them back.
    ///
    /// # Errors
    /// `NotFound` for an unknown name.
    pub fn unload(&self, name: &ModelName) -> Result<()> {
        self.entry(name.as_str())?.update(|state| {
            state.unloaded = true;
            state.asleep = false;
            state.default = None;
            state.rollout = None;
            state.retire();
        });
        Ok(())
    }

    /// The names that are served, in order.
    #[must_use]
    pub fn names(&self) -> Vec<ModelName> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// The name of the one model that is served; how many are served when there is not one.
    pub(crate) fn only(&self) -> std::result::Result<ModelName, usize> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        match entries.first_key_value() {
            Some((name, _)) if entries.len() == 1 => Ok(name.clone()),
            _ => Err(entries.len()),
        }
    }

    /// Every version of every model with its state.
    #[must_use]
    pub fn index(&self) -> Vec<ModelStatus> {
        let mut lines = Vec::new();
        for entry in self.entries() {
            let (state, name) = (entry.state(), &entry.config.name);
            let line = |version, word, reason| ModelStatus { name: name.clone(), version, state: word, reason };
            for version in state.versions.keys() {
                let in_service = !state.unloaded && state.default.is_some();
                let word = if in_service { "READY" } else { "UNAVAILABLE" };
                let reason = if in_service { state.reason.clone() } else { Some("unloaded".into()) };
                lines.push(line(Some(*version), word, reason));
            }
            for (version, _) in state.draining.iter().filter(|(_, old)| old.strong_count() > 0) {
                lines.push(line(Some(*version), "UNLOADING", None));
            }
            if state.versions.is_empty() {
                let why = if state.asleep { "sleeps until it is asked for" } else { "not loaded" };
                let reason = state.reason.clone().unwrap_or_else(|| why.into());
                lines.push(line(None, "UNAVAILABLE", Some(reason)));
            }
        }
        lines
    }

    /// Whether every model that should be in service is.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.entries().iter().all(|entry| {
            let state = entry.state();
            state.unloaded || state.asleep || state.default.is_some()
        })
    }

    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn entry(&self, name: &str) -> Result<Arc<Entry>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(name);
        entry.cloned().ok_or_else(|| not_served(name))
    }

    /// The rollout of a model, to store or show.
    #[must_use]
    pub fn rollout(&self, name: &ModelName) -> Option<Rollout> {
        let entry = self.entry(name.as_str()).ok()?;
        entry.state().rollout.as_ref().map(|active| active.snapshot())
    }
}

/// A name that nothing is served under. Clients of Triton know it by the first words of the text.
pub(crate) fn not_served(name: &str) -> Error {
    Error::not_found(format!("Request for unknown model: {name:?} is not served here"))
}

impl EntryState {
    /// Ends a rollout once a candidate is the default, and one that was promoted once any other version is.
    fn settle_rollout(&mut self) {
        let Some(in_service) = self.default else { return };
        let settled = |rollout: &Rollout| {
            let promoted = matches!(rollout.phase, Phase::Promoted { .. });
            rollout.candidates.contains(&in_service) || (promoted && in_service != rollout.champion)
        };
        if self.rollout.as_ref().is_some_and(|active| settled(&active.rollout)) {
            self.rollout = None;
        }
    }
}
