//! An online store that keeps the vectors of some features searchable: what is written through it is in their indexes
//! when the write returns.
//!
//! An index is built from the store's records by the first search. Writes that come meanwhile go into it, too: which of
//! two rows is newer does not depend on their order, and rows of one time go into store and index in one order. A write
//! and a building go on where whoever asked for them is dropped. Where it is not known what a write did, because it
//! failed, its indexes are dropped and built again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use mlops_core::{Error, FeatureRef, Result, Timestamp};
use tokio::{
    sync::{OnceCell, OwnedRwLockReadGuard, RwLock, oneshot},
    task::JoinSet,
};
use tracing::Instrument as _;

use super::VectorIndex;
use crate::online::{OnlineStore, ReadKeys, ResolvedView, ScanPage, WriteBatch};

/// Records of one page while an index is built.
const RECORDS_PER_PAGE: usize = 1_000;

#[derive(Debug)]
pub(crate) struct IndexedStore {
    store: Arc<dyn OnlineStore>,
    /// Most bytes of one index.
    vector_bytes_max: usize,
    /// By name of the online table, so that a write waits for none of another table.
    tables: Mutex<BTreeMap<Arc<str>, Arc<Table>>>,
}

/// The indexes of one online table.
type Slots = BTreeMap<FeatureRef, Arc<Slot>>;

#[derive(Debug, Default)]
struct Table {
    /// Held for reading by every write, so that an index is either there when a write begins or built after its end.
    slots: Arc<RwLock<Slots>>,
    /// Held by a write from before it is stored until it is in the indexes: of rows of one time the last one counts.
    order: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Slot {
    state: Arc<State>,
    /// Builds the index, and ends with the slot.
    building: Mutex<JoinSet<()>>,
}

#[derive(Debug)]
struct State {
    index: VectorIndex,
    built: OnceCell<()>,
    /// Whether there is, or was, a write of which it is not known what it did.
    doubtful: AtomicBool,
}

/// Makes the indexes of a write doubtful unless it comes to its end.
struct Doubt(Vec<Arc<State>>);

impl Drop for Doubt {
    fn drop(&mut self) {
        self.0.iter().for_each(|state| state.doubtful.store(true, Ordering::Release));
    }
}

impl IndexedStore {
    pub(crate) fn new(store: Arc<dyn OnlineStore>, vector_bytes_max: usize) -> Self {
        Self { store, vector_bytes_max, tables: Mutex::default() }
    }

    /// The index of `feature`, built if it is not.
    pub(crate) async fn index(&self, feature: &FeatureRef, view: &Arc<ResolvedView>) -> Result<VectorIndex> {
        let table = self.table(&view.online);
        let known = table.slots.read().await.get(feature).filter(|slot| !slot.state.is_doubtful()).cloned();
        let slot = match known {
            Some(slot) => slot,
            None => {
                let fresh = Arc::new(Slot::new(VectorIndex::new(feature, view, self.vector_bytes_max)?));
                let mut slots = table.slots.write().await;
                let slot = slots.entry(feature.clone()).or_insert_with(|| Arc::clone(&fresh));
                if slot.state.is_doubtful() {
                    *slot = fresh;
                }
                Arc::clone(slot)
            }
        };
        slot.build(&self.store).await?;
        Ok(slot.state.index.clone())
    }

    /// Forgets the index of `feature`, so that the next search builds it from what is stored by then.
    pub(crate) async fn forget(&self, feature: &FeatureRef, view: &ResolvedView) {
        self.table(&view.online).slots.write().await.remove(feature);
    }

    fn table(&self, name: &str) -> Arc<Table> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        match tables.get(name) {
            Some(table) => Arc::clone(table),
            None => Arc::clone(tables.entry(name.into()).or_default()),
        }
    }
}

impl Table {
    /// Writes into the store and into the indexes in `slots`.
    async fn write(&self, store: &dyn OnlineStore, slots: &Slots, batch: WriteBatch) -> Result<()> {
        let states: Vec<Arc<State>> = slots.values().map(|slot| Arc::clone(&slot.state)).collect();
        if states.is_empty() {
            return store.write(batch).await;
        }
        let _order = self.order.lock().await;
        let updates = batch.updates.clone();
        let mut doubt = Doubt(states.clone());
        store.write(batch).await?;
        in_background(move || states.iter().try_for_each(|state| state.index.apply(&updates))).await?;
        doubt.0.clear();
        Ok(())
    }
}

impl Slot {
    fn new(index: VectorIndex) -> Self {
        let state = State { index, built: OnceCell::new(), doubtful: AtomicBool::new(false) };
        Self { state: Arc::new(state), building: Mutex::default() }
    }

    /// Returns once the index is built, which goes on while the slot is there; of several only one builds.
    async fn build(&self, store: &Arc<dyn OnlineStore>) -> Result<()> {
        if self.state.built.initialized() {
            return Ok(());
        }
        let (told, outcome) = oneshot::channel();
        {
            let (state, store) = (Arc::clone(&self.state), Arc::clone(store));
            let mut building = self.building();
            while building.try_join_next().is_some() {}
            let work = async move {
                let built = state.built.get_or_try_init(|| build(store.as_ref(), &state.index)).await.copied();
                // Nobody listens where the search was dropped; the next one builds again what failed.
                let _ = told.send(built);
            };
            building.spawn(work.in_current_span());
        }
        outcome.await.map_err(|_| Error::internal("building an index of vectors panicked"))?
    }

    fn building(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Acquire)
    }
}

async fn build(store: &dyn OnlineStore, index: &VectorIndex) -> Result<()> {
    let (table, mut from) = (&index.view().online, None);
    loop {
        let ScanPage { records, next } = store.scan(table, from, RECORDS_PER_PAGE).await?;
        let work = {
            let index = index.clone();
            move || records.chunks(RECORDS_PER_PAGE).try_for_each(|records| index.load(records))
        };
        in_background(work).await?;
        from = next;
        if from.is_none() {
            return Ok(());
        }
    }
}

async fn in_background(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Error::internal("indexing vectors panicked"))?
}

#[async_trait]
impl OnlineStore for IndexedStore {
    async fn write(&self, batch: WriteBatch) -> Result<()> {
        let (store, table) = (Arc::clone(&self.store), self.table(&batch.table));
        let slots: OwnedRwLockReadGuard<Slots> = Arc::clone(&table.slots).read_owned().await;
        // A store may go on where whoever writes is dropped, so its indexes go on with it.
        let write = async move { table.write(store.as_ref(), &slots, batch).await };
        let write = tokio::spawn(write.in_current_span());
        write.await.map_err(|_| Error::internal("a write into the online store panicked"))?
    }

    async fn read(&self, reads: Vec<ReadKeys>) -> Result<Vec<Vec<Option<Bytes>>>> {
        self.store.read(reads).await
    }

    async fn scan(&self, table: &str, from: Option<Bytes>, records_max: usize) -> Result<ScanPage> {
        self.store.scan(table, from, records_max).await
    }

    async fn watermark(&self, table: &str) -> Result<Option<Timestamp>> {
        self.store.watermark(table).await
    }

    async fn flush(&self) -> Result<()> {
        self.store.flush().await
    }
}
