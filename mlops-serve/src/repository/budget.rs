//! How much memory loaded models may take, and who makes room.
//!
//! A model from the source that nobody asked for lately is put to sleep: its version is taken out of service, requests in
//! flight are answered, and the next request brings back what the reference then means. Invariants: after a load, what
//! is resident fits the budget (while one loads, both lie in memory); models that were registered by hand, or are part
//! of a rollout, are never put to sleep; one load at a time, so many requests for a sleeping model load it once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mlops_core::{Error, Result, Version};

use super::{Entry, EntryState, LoadedVersion, ModelRepository};
use crate::model::ServedModel;

/// How long requests in flight may hold on to a version that was put to sleep before another one has to go too.
const DRAIN: Duration = Duration::from_secs(10);
/// How often it is looked whether they ended.
const DRAIN_LOOK_EVERY: Duration = Duration::from_millis(2);

/// How deep the models that a model asks are looked at.
const NESTED_MAX: usize = 4;
/// Most models that are loaded for one request beside the one it names.
const WOKEN_MAX: usize = 32;

/// What may be done to have room for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Others may be put to sleep: somebody asked for the model. It takes the place of the version in service.
    Made,
    /// The same, for a version beside the one in service.
    Beside,
    /// Only what is free, for a model that nobody asked for yet.
    Free,
}

/// The bound, and who used what last.
#[derive(Debug, Default)]
pub(super) struct Budget {
    bytes: Option<u64>,
    uses: AtomicU64,
}

impl Budget {
    pub(super) fn of(bytes: u64) -> Self {
        Self { bytes: Some(bytes), uses: AtomicU64::new(0) }
    }
}

impl ModelRepository {
    /// Bounds the memory of loaded models, as [`Model::memory_bytes`](mlops_core::Model::memory_bytes) tells it (for those
    /// that do not, the size of the package). A load that would exceed it puts the models to sleep that were not asked
    /// for the longest; each is loaded again when it is asked for. A model that does not fit beside what must stay is
    /// refused with `ResourceExhausted`. Without a budget everything stays loaded.
    #[must_use]
    pub fn with_memory_budget(mut self, bytes: u64) -> Self {
        self.budget = Budget::of(bytes);
        self
    }

    /// What loaded models take, those that are being drained included.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.entries().iter().map(|entry| entry.state().memory_bytes()).sum()
    }

    /// Notes that a model is asked for, and the models that it asks; the first of them that sleeps.
    pub(crate) fn touch(&self, name: &str) -> Option<Arc<Entry>> {
        self.budget.bytes?;
        self.touch_below(name, NESTED_MAX)
    }

    fn touch_below(&self, name: &str, depth: usize) -> Option<Arc<Entry>> {
        let entry = self.entry(name).ok()?;
        entry.used.store(self.budget.uses.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        let state = entry.state();
        if state.asleep {
            return Some(entry);
        }
        match state.champion().map(|champion| &champion.model) {
            Some(ServedModel::Ensemble(ensemble)) if depth > 0 => {
                ensemble.asks().find_map(|model| self.touch_below(model.as_str(), depth - 1))
            }
            _ => None,
        }
    }

    /// Loads `first`, and every other model that `name` asks and that sleeps.
    ///
    /// # Errors
    /// What keeps one from loading.
    pub(crate) async fn wake_all(self: &Arc<Self>, name: &str, first: Arc<Entry>) -> Result<()> {
        self.wake(first).await?;
        // Where not all of them fit together, waking one puts another to sleep; the prediction then says so.
        for _ in 0..WOKEN_MAX {
            let Some(next) = self.touch(name) else { break };
            self.wake(next).await?;
        }
        Ok(())
    }

    /// Loads a model that sleeps.
    ///
    /// # Errors
    /// What keeps it from loading.
    pub(crate) async fn wake(self: &Arc<Self>, entry: Arc<Entry>) -> Result<()> {
        // A caller that goes away does not take the load with it: others wait for the same.
        let repository = Arc::clone(self);
        let load = tokio::spawn(async move { repository.load_sleeping(&entry).await });
        load.await.unwrap_or_else(|error| Err(Error::internal("loading the model panicked").with_source(error)))
    }

    /// Makes room for `needed` bytes of a version of `entry`, beside what stays. Whether there is room.
    ///
    /// # Errors
    /// `ResourceExhausted` when there can be none.
    pub(super) async fn make_room(&self, entry: &Entry, version: Version, needed: u64, room: Room) -> Result<bool> {
        let Some(budget) = self.budget.bytes else { return Ok(true) };
        let name = &entry.config.name;
        let exhausted = |why: String| {
            let text = format!("model \"{name}\" version {version} takes {needed} bytes; {why}");
            Error::resource_exhausted(text).with("model", name).with("version", version)
        };
        if needed > budget {
            return Err(exhausted(format!("the memory budget is {budget}")));
        }
        loop {
            let replaced = if room == Room::Beside { 0 } else { entry.state().replaceable_bytes() };
            let taken = self.memory_bytes().saturating_sub(replaced);
            if taken.saturating_add(needed) <= budget {
                return Ok(true);
            }
            if room == Room::Free {
                return Ok(false);
            }
            let Some(victim) = self.least_recently_used(entry) else {
                return Err(exhausted(format!(
                    "of the memory budget of {budget} bytes {taken} are taken by what must stay"
                )));
            };
            tracing::info!(model = %victim.config.name, for_model = %name, "model put to sleep to save memory");
            victim.sleep().await;
        }
    }

    /// The model to put to sleep: one without requests in flight if there is one, of those the one that nobody asked for the
    /// longest.
    fn least_recently_used(&self, but: &Entry) -> Option<Arc<Entry>> {
        let others = self.entries().into_iter().filter(|entry| entry.config.name != but.config.name);
        let rank = |entry: &Arc<Entry>| {
            let state = entry.state();
            let champion = state.champion().filter(|_| state.may_sleep())?;
            // The present state holds one.
            let busy = Arc::strong_count(champion) > 1;
            Some((busy, entry.used.load(Ordering::Relaxed)))
        };
        let ranked = others.filter_map(|entry| Some((rank(&entry)?, entry)));
        ranked.min_by_key(|(rank, _)| *rank).map(|(_, entry)| entry)
    }
}

impl Entry {
    /// Takes the model out of service until it is asked for, and lets the requests in flight end.
    async fn sleep(&self) {
        self.update(|state| {
            state.asleep = true;
            state.default = None;
            state.retire();
        });
        let drained = async {
            while self.state().is_draining() {
                tokio::time::sleep(DRAIN_LOOK_EVERY).await;
            }
        };
        // Whoever holds on longer keeps the memory, which still counts as taken.
        let _ = tokio::time::timeout(DRAIN, drained).await;
    }
}

impl EntryState {
    fn may_sleep(&self) -> bool {
        self.rollout.is_none() && self.versions.values().all(|loaded| !loaded.pinned && loaded.digest.is_some())
    }

    /// What another version in service would set free.
    fn replaceable_bytes(&self) -> u64 {
        self.champion().filter(|loaded| !loaded.pinned).map_or(0, |loaded| loaded.bytes)
    }

    fn memory_bytes(&self) -> u64 {
        let draining: Vec<Arc<LoadedVersion>> = self.draining.iter().filter_map(|(_, old)| old.upgrade()).collect();
        self.versions.values().chain(&draining).map(|loaded| loaded.bytes).sum()
    }

    fn is_draining(&self) -> bool {
        self.draining.iter().any(|(_, old)| old.strong_count() > 0)
    }
}
