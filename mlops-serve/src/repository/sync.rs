//! Bringing loaded versions in line with what the references mean now.
//!
//! Order for each model: resolve, fetch, load, warm up, swap, let the old one drain. A failure at any step
//! leaves the old version in service and is reported.

use std::sync::Arc;

use mlops_core::{Error, ErrorKind, ModelName, ModelRef, ModelVersionId, Result, ResultExt, Retry, Selector, Version};

use super::{Batching, Entry, LoadedVersion, ModelRepository, Refused, Wish, budget::Room};

/// How requests share predictions with the version that goes into service.
type Settle<'a> = &'a (dyn Fn(&LoadedVersion) -> Result<Option<Batching>> + Send + Sync);

/// What a synchronisation did.
#[derive(Debug, Default)]
#[must_use]
pub struct SyncReport {
    /// Versions that went into service.
    pub swapped: Vec<(ModelName, Version)>,
    /// Models that kept their old version, or none, and why.
    pub failed: Vec<(ModelName, Error)>,
}

impl SyncReport {
    /// Nothing when no model failed, else the first failure.
    ///
    /// # Errors
    /// The first of [`SyncReport::failed`].
    pub fn into_result(self) -> Result<Vec<(ModelName, Version)>> {
        match self.failed.into_iter().next() {
            Some((name, error)) => Err(error).context(format!("model \"{name}\"")),
            None => Ok(self.swapped),
        }
    }
}

impl ModelRepository {
    /// Resolves every model's reference and swaps in versions that changed. Models registered by hand, and those that
    /// were unloaded, stay as they are. Cheap when nothing changed: one `resolve` per model. A package that could not be
    /// loaded is not tried again until it changes, or [`ModelRepository::load`] is called, unless that depends on other
    /// models or servers ([`Runtime::depends_on_others`](crate::Runtime::depends_on_others)).
    pub async fn sync(&self) -> SyncReport {
        let _one_at_a_time = self.sync_lock.lock().await;
        let mut report = SyncReport::default();
        let mut pending = self.entries();
        loop {
            let (swapped, mut waiting) = (report.swapped.len(), Vec::new());
            for entry in pending {
                let state = entry.state();
                let by_hand = state.champion().is_some_and(|champion| champion.digest.is_none());
                if self.source.is_none() || by_hand || state.unloaded || state.asleep {
                    continue;
                }
                let room = if state.champion().is_some() { Room::Made } else { Room::Free };
                let failed = report.failed.len();
                self.sync_entry(&entry, room, None, &mut report).await;
                let waits = report.failed.get(failed).is_some_and(|(_, error)| error.kind() == ErrorKind::Unavailable);
                if waits {
                    waiting.push(entry);
                }
            }
            // What asks other models may go into service once they are; each turn puts at least one there.
            if waiting.is_empty() || report.swapped.len() == swapped {
                return report;
            }
            report.failed.retain(|(name, _)| !waiting.iter().any(|entry| entry.config.name == *name));
            pending = waiting;
        }
    }

    /// Loads or reloads one model, also one that was unloaded or came into the source since, and puts it into service.
    ///
    /// # Errors
    /// `NotFound` for a name that is neither served nor in the source, else what kept the version from loading; an old
    /// version stays in service, and a model that was not served before is not served then. `AlreadyExists` when the
    /// application put another in its place meanwhile.
    pub async fn load(&self, name: &ModelName) -> Result<()> {
        self.load_with(name, None).await
    }

    /// The same; until it is loaded again its requests share predictions as wished.
    ///
    /// # Errors
    /// As [`ModelRepository::load`], and what a version refuses of the wish; what is in service stays as it was then.
    pub(crate) async fn load_with(&self, name: &ModelName, wish: Option<&Wish>) -> Result<()> {
        let _one_at_a_time = self.sync_lock.lock().await;
        if let Ok(served) = self.entry(name.as_str()) {
            return self.load_entry(&served, wish).await;
        }
        let found = self.found(name).await?;
        self.load_entry(&found, wish).await?;
        self.insert(found).map(drop)
    }

    async fn load_entry(&self, entry: &Entry, wish: Option<&Wish>) -> Result<()> {
        let (unloaded, known) = (entry.state().unloaded, known_version(entry, wish)?);
        let settle = |version: &LoadedVersion| match known {
            Some(batching) => Ok(batching),
            None => wish.map(|wish| wish(entry, version)).transpose(),
        };
        let loaded = self.load_settled(entry, &settle).await;
        if loaded.is_err() && wish.is_some() {
            // The next synchronisation would load it whatever was wished.
            entry.update(|state| state.unloaded |= unloaded);
        }
        loaded
    }

    async fn load_settled(&self, entry: &Entry, settle: Settle<'_>) -> Result<()> {
        let state = entry.state();
        if let Some((newest, version)) = state.versions.iter().rev().find(|(_, loaded)| loaded.digest.is_none()) {
            let batching = settle(version)?;
            entry.update(|state| {
                state.unloaded = false;
                state.default.get_or_insert(*newest);
                state.batching = batching;
            });
            return Ok(());
        }
        drop(state);
        entry.update(|state| {
            state.unloaded = false;
            state.failed = None;
        });
        let mut report = SyncReport::default();
        self.sync_entry(entry, Room::Made, Some(settle), &mut report).await;
        report.into_result().map(drop)
    }

    /// Loads a model that was put to sleep, unless another caller did or it was unloaded meanwhile.
    ///
    /// # Errors
    /// What keeps it from loading.
    pub(super) async fn load_sleeping(&self, entry: &Entry) -> Result<()> {
        let _one_at_a_time = self.sync_lock.lock().await;
        if !entry.state().asleep {
            return Ok(());
        }
        let mut report = SyncReport::default();
        self.sync_entry(entry, Room::Made, None, &mut report).await;
        report.into_result().map(drop)
    }

    /// Makes sure that a version is loaded, beside the one in service.
    ///
    /// # Errors
    /// `NotFound` when it is neither loaded nor in the source; what kept it from loading.
    pub(crate) async fn ensure_version(&self, entry: &Entry, version: Version) -> Result<Arc<LoadedVersion>> {
        let _one_at_a_time = self.sync_lock.lock().await;
        if let Some(loaded) = entry.state().versions.get(&version) {
            return Ok(Arc::clone(loaded));
        }
        let Some((source, _)) = &self.source else {
            return Err(Error::not_found(format!("model \"{}\" has no loaded version {version}", entry.config.name)));
        };
        let name = entry.config.reference.name.clone();
        let id = source.resolve(&ModelRef { name, selector: Selector::Version(version) }).await?;
        let loaded = self.fetch_and_load(entry, &id, Room::Beside).await?;
        loaded.ok_or_else(|| Error::internal(format!("no room was made for version {version}")))
    }

    async fn sync_entry(&self, entry: &Entry, room: Room, settle: Option<Settle<'_>>, report: &mut SyncReport) {
        let name = entry.config.name.clone();
        match self.resolve_and_swap(entry, room, settle).await {
            Ok(Some(version)) => {
                tracing::info!(model = %name, version = %version, "model version in service");
                report.swapped.push((name, version));
            }
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(model = %name, error = %error.chain(), "model not updated");
                entry.update(|state| state.reason = Some(error.to_string()));
                report.failed.push((name, error));
            }
        }
    }

    /// Without `settle`, requests share predictions as before.
    async fn resolve_and_swap(&self, entry: &Entry, room: Room, settle: Option<Settle<'_>>) -> Result<Option<Version>> {
        let Some((source, _)) = &self.source else {
            return Err(Error::failed_precondition("the repository has no source"));
        };
        let id = source.resolve(&entry.config.reference).await?;
        let state = entry.state();
        let same = |loaded: &LoadedVersion| loaded.version == id.version && loaded.digest == Some(id.digest);
        if let Some(champion) = state.champion().filter(|champion| same(champion)) {
            let batching = settle.map_or(Ok(state.batching), |settle| settle(champion))?;
            if state.reason.is_some() || state.batching != batching {
                entry.update(|state| (state.reason, state.batching) = (None, batching));
            }
            return Ok(None);
        }
        let loaded = match state.versions.get(&id.version).filter(|loaded| same(loaded)) {
            Some(loaded) => Arc::clone(loaded),
            None => match self.fetch_and_load(entry, &id, room).await? {
                Some(loaded) => loaded,
                None => {
                    entry.update(|state| state.asleep = true);
                    return Ok(None);
                }
            },
        };
        let batching = settle.map_or(Ok(state.batching), |settle| settle(&loaded))?;
        entry.update(|state| {
            state.asleep = false;
            state.batching = batching;
            state.versions.insert(id.version, loaded);
            state.default = Some(id.version);
            state.reason = None;
            state.settle_rollout();
            state.retire();
        });
        Ok(Some(id.version))
    }

    /// None when there is no room for it, and none was to be made.
    async fn fetch_and_load(
        &self,
        entry: &Entry,
        id: &ModelVersionId,
        room: Room,
    ) -> Result<Option<Arc<LoadedVersion>>> {
        let Some((source, runtimes)) = &self.source else {
            return Err(Error::failed_precondition("the repository has no source"));
        };
        let (version, digest) = (id.version, id.digest);
        let state = entry.state();
        if let Some((.., refused)) = state.failed.as_ref().filter(|(v, d, _)| (*v, *d) == (version, digest)) {
            return Err(refused.clone().into_error());
        }
        let package = source.fetch(id).await?;
        let (runtimes, peers, config) = (runtimes.clone(), self.peers(), entry.config.clone());
        let package_bytes: u64 = package.files().map(|(_, bytes)| bytes.len() as u64).sum();
        if !self.make_room(entry, version, package_bytes, room).await? {
            return Ok(None);
        }
        let depends = runtimes.depends_on_others(&package.manifest.flavor);
        let work = move || {
            let model = runtimes.load(&package, &peers)?;
            let platform = package.manifest.flavor.replace('.', "_");
            let lookup = config.features.as_ref();
            let mut loaded = LoadedVersion::new(version, Some(digest), platform, model, lookup, false)?;
            loaded.warm_up().context(format!("warming up version {version}"))?;
            if loaded.bytes == 0 {
                loaded.bytes = package_bytes;
            }
            Ok(Arc::new(loaded))
        };
        let loaded = tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            Err(Error::internal(format!("loading version {version} panicked")).with_source(error))
        });
        let failed = loaded.as_ref().err().filter(|error| !depends && error.retry() == Retry::Never);
        let failed = failed.map(|error| (version, digest, Refused::of(error)));
        entry.update(|state| state.failed = failed);
        let loaded = loaded?;
        // Only now its size is known.
        let fits = self.make_room(entry, version, loaded.bytes, room).await?;
        Ok(fits.then_some(loaded))
    }
}

/// How requests are to share predictions, where a loaded version can tell: a wish that it refuses changes nothing.
fn known_version(entry: &Entry, wish: Option<&Wish>) -> Result<Option<Option<Batching>>> {
    let Some(wish) = wish else { return Ok(Some(None)) };
    let state = entry.state();
    let described = state.champion().or_else(|| state.versions.values().next_back());
    described.map(|version| wish(entry, version).map(Some)).transpose()
}
